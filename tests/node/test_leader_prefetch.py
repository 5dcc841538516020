"""What nodes are given ahead of a free slot: how much, how often, and what is asked back."""

from __future__ import annotations

import asyncio

from cortex.v1 import types_pb2, worker_pb2
from cortex.v1.log_pb2 import Command, NodeCordon
from node.core.model import COMPLETED, QUEUED, RUNNING
from tests.node.leader_kit import (
    Cluster,
    WorkerEnd,
    assignments,
    ended,
    machine_node,
    recalled,
    sample,
    shell,
    started,
    virtual,
)


async def worked_up(cluster: Cluster, worker: WorkerEnd, tasks: int) -> None:
    """Let a worker complete tasks quickly, so that its pace allows a prefetch."""
    await cluster.submit(*(shell(f"warm{number:03}", priority=9) for number in range(tasks)))
    done = number = 0
    while done < tasks:
        given = (await worker.next("assignments")).assignments.assignments
        done += len(given)
        number += 1
        await worker.report(number, *(ended(one) for one in given))


def test_prefetch_grows_from_nothing_with_completions_and_is_bounded() -> None:
    async def main() -> None:
        cluster = Cluster(prefetch_limit=20).begin()
        worker = await cluster.connect(machine_node(slots=2))
        await cluster.submit(*(shell(f"t{number:03}") for number in range(300)))
        held_at_once: list[int] = []
        done = number = 0
        while done < 300:
            given = (await worker.next("assignments")).assignments.assignments
            held_at_once.append(len(cluster.replica.state.by_node["n1"]))
            done += len(given)
            number += 1
            await worker.report(number, *(ended(one) for one in given))
        assert held_at_once[0] == 2
        assert max(held_at_once) == 22
        # Idle for a while it begins anew.
        await asyncio.sleep(5)
        await cluster.submit(*(shell(f"u{number:03}") for number in range(300)))
        assert len(await assignments(worker, 1)) == 2
        await cluster.stop()

    virtual(main)


async def prefetched(cluster: Cluster, worker: WorkerEnd, priority: int = 2) -> list[worker_pb2.Assignment]:
    """Two tasks that run on n1, and some behind them."""
    await worked_up(cluster, worker, 40)
    await cluster.submit(*(shell(f"t{number:02}", priority=priority) for number in range(6)))
    await cluster.until(lambda: len(cluster.replica.state.by_node.get("n1", ())) == 6)
    given = [one for one in await assignments(worker, 6) if one.task.startswith("t")]
    await worker.report(900, *(started(one) for one in given[:2]))
    await cluster.until(lambda: cluster.task(given[1].task).state == RUNNING)
    return given


def test_a_free_slot_elsewhere_calls_prefetched_tasks_back() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node("n1", slots=2))
        given = await prefetched(cluster, worker)
        await asyncio.sleep(5)
        other = await cluster.connect(machine_node("n2", slots=2))
        recall = (await worker.next("recall")).recall
        # The youngest go: they would have waited the longest.
        assert set(recall.tasks) == {one.task for one in given[-2:]}
        assert set(recall.fences) == {given[-1].fence}
        await worker.report(901, *(recalled(one) for one in given[-2:]))
        moved = await assignments(other, 2)
        assert {one.task for one in moved} == set(recall.tasks)
        assert all(cluster.task(one.task).losses == one.attempt == 0 for one in moved)
        await cluster.stop()

    virtual(main)


def test_higher_priority_calls_one_prefetched_task_back_for_each_that_waits() -> None:
    async def main() -> None:
        cluster = Cluster(prefetch_limit=4).begin()
        worker = await cluster.connect(machine_node("n1", slots=2))
        given = await prefetched(cluster, worker)
        await cluster.submit(shell("urgent", priority=9))
        recall = (await worker.next("recall")).recall
        assert list(recall.tasks) == [given[-1].task]
        await worker.send(sample=sample())
        assert not await worker.quiet(0.2, "renewal_ack", "reports_ack"), "asked once"
        await worker.report(901, recalled(given[-1]))
        (urgent,) = await assignments(worker, 1)
        assert urgent.task == "urgent"
        await cluster.stop()

    virtual(main)


def test_two_that_wait_call_two_back() -> None:
    async def main() -> None:
        cluster = Cluster(prefetch_limit=4).begin()
        worker = await cluster.connect(machine_node("n1", slots=2))
        given = await prefetched(cluster, worker)
        await cluster.submit(shell("urgent1", priority=9), shell("urgent2", priority=8))
        recall = (await worker.next("recall")).recall
        assert list(recall.tasks) == [given[-1].task, given[-2].task]
        await cluster.stop()

    virtual(main)


def test_nothing_lower_starts_before_what_waits_for_the_next_slot() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node("n1", slots=2))
        given = await prefetched(cluster, worker)
        await cluster.submit(shell("peer", priority=9))
        await assignments(worker, 1)
        # The pace is forgotten, so nothing is prefetched any more.
        await asyncio.sleep(5)
        await cluster.submit(shell("urgent", priority=9))
        recall = (await worker.next("recall")).recall
        assert sorted(recall.tasks) == sorted(one.task for one in given[2:])
        await worker.report(901, *(recalled(one) for one in given[2:]))
        await worker.report(902, ended(given[0]), ended(given[1]))
        (urgent,) = await assignments(worker, 1)
        assert urgent.task == "urgent"
        assert not await worker.quiet(1, "renewal_ack", "reports_ack"), "nothing goes to and fro"
        await cluster.stop()

    virtual(main)


def test_what_needs_a_slot_of_its_own_is_not_starved_by_prefetching() -> None:
    async def main() -> None:
        cluster = Cluster(prefetch_limit=100).begin()
        worker = await cluster.connect(machine_node("n1"))
        working = asyncio.ensure_future(work(worker))
        await cluster.submit(*(shell(f"t{number:04}", priority=3) for number in range(3000)))
        await asyncio.sleep(0.6)
        own = shell("own", priority=4, requests=types_pb2.Requests(cpu_millis=100))
        await cluster.submit(own)
        # As urgent as it, but behind it, and they may be prefetched.
        await cluster.submit(*(shell(f"u{number:04}", priority=4) for number in range(1000)))
        await cluster.until(lambda: cluster.task("own").state != QUEUED)
        assert cluster.task("u0900").state == QUEUED
        # What was called back for it, or had to wait for it, goes on afterwards.
        await cluster.until(lambda: cluster.task("own").state == COMPLETED)
        await cluster.until(lambda: len(cluster.replica.state.by_node.get("n1", ())) > 50)
        working.cancel()
        await cluster.stop()

    virtual(main)


def test_what_a_lock_keeps_waiting_calls_nothing_back() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node("n1", slots=2))
        await prefetched(cluster, worker)
        other = await cluster.connect(machine_node("n2", slots=9))
        there = types_pb2.Constraints(target_node="n2")
        await cluster.submit(shell("holder", locks=["db"], priority=9, constraints=there))
        await cluster.submit(*(shell(f"full{number}", priority=9, constraints=there) for number in range(8)))
        await assignments(other, 9)
        await cluster.submit(shell("next", locks=["db"], priority=9))
        assert not await worker.quiet(0.2, "renewal_ack", "reports_ack")
        await cluster.stop()

    virtual(main)


def test_equal_priority_calls_nothing_back() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node("n1", slots=2))
        await prefetched(cluster, worker, priority=5)
        await asyncio.sleep(5)
        await cluster.submit(shell("more", priority=5))
        assert not await worker.quiet(3, "renewal_ack", "reports_ack")
        await cluster.stop()

    virtual(main)


def test_cordon_calls_back_what_has_not_started() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node("n1", slots=2))
        given = await prefetched(cluster, worker)
        await cluster.replica.execute([Command(node_cordon=NodeCordon(id="n1", cordoned=True))])
        recall = (await worker.next("recall")).recall
        assert sorted(recall.tasks) == sorted(one.task for one in given[2:])
        # What had started meanwhile stays, the others come back and wait.
        await worker.report(901, started(given[2]), *(recalled(one) for one in given[3:]))
        await worker.next("reports_ack")
        states = [cluster.task(one.task).state for one in given]
        assert states == [RUNNING] * 3 + [QUEUED] * 3
        await cluster.stop()

    virtual(main)


def entry_times(cluster: Cluster, kind: str) -> list[float]:
    """Leader time, in seconds, of the entries that begin with a command of a kind."""
    return [
        entry.at_us / 1e6
        for entry, kinds in zip(cluster.replica.entries, cluster.replica.kinds(), strict=True)
        if kinds[0] == kind
    ]


async def work(worker: WorkerEnd) -> None:
    """One task a millisecond, in the order of a worker, reported one by one; gives back what it is asked for."""
    given: dict[str, worker_pb2.Assignment] = {}
    number = 0

    async def take() -> None:
        nonlocal number
        while True:
            message = await worker.next("assignments", "recall")
            given.update({one.task: one for one in message.assignments.assignments})
            back = [given.pop(task) for task in message.recall.tasks if task in given]
            if back:
                number += 1
                await worker.report(number, *(recalled(one) for one in back))

    taking = asyncio.ensure_future(take())
    try:
        while True:
            await asyncio.sleep(0.001)
            if given:
                first = min(given.values(), key=lambda one: (-one.priority, one.created_at_us, one.task))
                number += 1
                await worker.report(number, ended(given.pop(first.task)))
    finally:
        taking.cancel()


def test_busy_nodes_share_entries_and_prefetching_is_paced() -> None:
    async def main() -> None:
        cluster = Cluster(prefetch_limit=100).begin()
        workers = [await cluster.connect(machine_node(f"n{number}")) for number in range(3)]

        working = [asyncio.ensure_future(work(worker)) for worker in workers]
        await cluster.submit(*(shell(f"t{number:04}") for number in range(3000)))
        await asyncio.sleep(0.6)
        before_s = cluster.replica.now_us() / 1e6
        await asyncio.sleep(0.2)
        reports = [at_s for at_s in entry_times(cluster, "task_complete") if at_s > before_s]
        passes = [at_s for at_s in entry_times(cluster, "task_assign") if at_s > before_s]
        done = sum(task.state == COMPLETED for task in cluster.replica.state.tasks.values())
        assert done > 1000, "the pace is the workers' own"
        assert len(reports) <= 6
        assert 1 <= len(passes) <= 4
        shared = [at_s for at_s in passes if any(abs(at_s - report_s) < 0.0005 for report_s in reports)]
        assert shared, "proposed together, they share a commit"
        for task in working:
            task.cancel()
        await cluster.stop()

    virtual(main)


def test_a_slot_that_becomes_free_waits_for_nobody() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node(slots=1))
        await cluster.submit(*(shell(f"t{number}", locks=["one"]) for number in range(20)))
        begun_s = asyncio.get_running_loop().time()
        for number in range(20):
            (one,) = await assignments(worker, 1)
            await worker.report(number + 1, ended(one))
        # Two entries of a millisecond for each.
        assert asyncio.get_running_loop().time() - begun_s < 0.045
        await cluster.stop()

    virtual(main)
