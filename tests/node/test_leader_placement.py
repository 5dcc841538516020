"""Placement: what wakes it and what it bounds; and the two phases of a cancel."""

from __future__ import annotations

import asyncio

from cortex.v1 import types_pb2, worker_pb2
from cortex.v1.log_pb2 import Command, TaskCancel
from node.core.faults import Code, Fault
from node.core.model import ASSIGNED, CANCELLED, COMPLETED, DEAD_LETTER, QUEUED, RUNNING
from node.leader.deadlines import Deadlines
from tests.node.leader_kit import (
    Cluster,
    assignments,
    ended,
    held,
    machine_node,
    sample,
    shell,
    started,
    virtual,
)


def test_submit_and_assign_cost_one_entry_each_and_no_timer() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        before_s = asyncio.get_running_loop().time()
        entries = len(cluster.replica.entries)
        await cluster.submit(shell("t1"))
        await worker.next("assignments")
        assert cluster.replica.kinds()[entries:] == [["task_submit"], ["task_assign"]]
        # The stand-in replica takes a millisecond for an entry.
        assert asyncio.get_running_loop().time() - before_s < 0.0025
        await cluster.stop()

    virtual(main)


def test_a_burst_is_placed_by_one_entry_and_pushed_in_one_message() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node(slots=50))
        await cluster.submit(*(shell(f"t{number:02}") for number in range(50)))
        message = await worker.next("assignments")
        assert len(message.assignments.assignments) == 50
        assert cluster.replica.kinds()[-1] == ["task_assign"] * 50
        await cluster.stop()

    virtual(main)


def test_a_burst_beyond_one_entry_goes_on_at_once() -> None:
    async def main() -> None:
        cluster = Cluster(placements_per_entry=10).begin()
        worker = await cluster.connect(machine_node(slots=50))
        before_s = asyncio.get_running_loop().time()
        await cluster.submit(*(shell(f"t{number:02}") for number in range(25)))
        await assignments(worker, 25)
        assert asyncio.get_running_loop().time() - before_s < 0.01
        assert [len(kinds) for kinds in cluster.replica.kinds()[-3:]] == [10, 10, 5]
        await cluster.stop()

    virtual(main)


def test_large_specs_are_pushed_in_several_messages() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node(slots=20))
        fat = [
            types_pb2.EnvVar(name="FAT", value=b"x" * 100_000),
            types_pb2.EnvVar(name="MORE", value=b"y" * 100_000),
        ]
        await cluster.submit(*(shell(f"t{number:02}", env=fat) for number in range(20)))
        sizes: list[int] = []
        got = 0
        while got < 20:
            message = await worker.next("assignments")
            got += len(message.assignments.assignments)
            sizes.append(message.ByteSize())
        assert max(sizes) < 2 << 20
        await cluster.stop()

    virtual(main)


def test_no_pass_begins_while_the_last_ones_entry_is_on_its_way() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node(slots=2))
        submits = [Command(task_submit=shell(f"t{number}")) for number in range(4)]
        await cluster.replica.execute(submits[:2])
        cluster.replica.gate.clear()
        await asyncio.sleep(1)
        for _ in range(3):
            await worker.send(sample=sample())
            await asyncio.sleep(1)
        cluster.replica.gate.set()
        await cluster.replica.execute(submits[2:])
        given = await assignments(worker, 2)
        await asyncio.sleep(1)
        assert {one.task for one in given} == {"t0", "t1"}
        assert [cluster.task(f"t{number}").state for number in range(4)] == [ASSIGNED, ASSIGNED, QUEUED, QUEUED]
        await cluster.stop()

    virtual(main)


def test_a_placement_that_failed_is_planned_again() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        cluster.replica.gate.clear()
        submitting = asyncio.ensure_future(cluster.submit(shell("t1")))
        await asyncio.sleep(0.1)
        cluster.replica.gate.set()
        await submitting
        cluster.replica.fault = Fault(Code.OVERLOADED, "Too much.", "Wait.")
        await asyncio.sleep(1)
        assert cluster.task("t1").state == QUEUED
        cluster.replica.fault = None
        await assignments(worker, 1)
        await cluster.stop()

    virtual(main)


def test_a_node_without_a_session_gets_nothing() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        first = await cluster.connect(machine_node("n1"))
        await first.break_off()
        assert cluster.replica.state.nodes["n1"].online
        await cluster.submit(shell("t1"))
        await asyncio.sleep(1)
        assert cluster.task("t1").state == QUEUED
        second = await cluster.connect(machine_node("n2"))
        await assignments(second, 1)
        await cluster.stop()

    virtual(main)


def test_a_new_leader_places_what_the_last_one_left_queued() -> None:
    async def main() -> None:
        first = Cluster().begin()
        await first.submit(shell("t1"))
        second = first.successor()
        worker = await second.connect(machine_node())
        await assignments(worker, 1)
        await second.stop()

    virtual(main)


def test_a_retry_is_placed_when_it_is_due() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        policy = types_pb2.RetryPolicy(
            max_retries=1, backoff_ms=4_000, retryable=True, jitter=types_pb2.JITTER_NONE
        )
        await cluster.submit(shell("t1", retry=policy))
        (one,) = await assignments(worker, 1)
        await worker.report(1, ended(one, exit_code=1))
        await worker.next("reports_ack")
        failed_s = asyncio.get_running_loop().time()
        await assignments(worker, 1)
        assert 4.0 <= asyncio.get_running_loop().time() - failed_s < 4.1
        await cluster.stop()

    virtual(main)


def test_times_of_what_left_the_queue_before_are_forgotten() -> None:
    async def main() -> None:
        replica = Cluster().begin().replica
        deadlines = Deadlines(replica, slack=10)
        waits = ["t00", "t01"]
        for number in range(40):
            submit = shell(f"t{number:02}", queue_timeout_ms=86_400_000 - number)
            await replica.execute([Command(task_submit=submit)])
            deadlines.watch(replica.state.tasks[submit.id])
            deadlines.watch(replica.state.tasks[submit.id])
            if submit.id not in waits:
                await replica.execute([Command(task_cancel=TaskCancel(id=submit.id, reason="test"))])
        assert len(deadlines) <= 2 * len(waits) + 10 + 2
        end_us = replica.now_us() + 86_400_000_000
        assert sorted(task.id for task in deadlines.take(end_us, 10)) == waits
        assert deadlines.next_us() is None

    virtual(main)


def test_a_queue_timeout_ends_as_a_dead_letter() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await cluster.submit(shell("t1", queue_timeout_ms=7_000))
        submitted_s = asyncio.get_running_loop().time()
        await cluster.until(lambda: cluster.task("t1").state == DEAD_LETTER)
        assert 7.0 <= asyncio.get_running_loop().time() - submitted_s < 7.1
        assert cluster.task("t1").cause == types_pb2.CAUSE_QUEUE_TIMEOUT
        await cluster.stop()

    virtual(main)


def test_cancel_has_two_phases_while_a_task_runs() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        (one,) = await assignments(worker, 1)
        await worker.report(1, started(one))
        await worker.next("reports_ack")
        await cluster.cancel("t1")
        (stop,) = (await worker.next("stop")).stop.items
        assert (stop.task, stop.fence, stop.cause) == ("t1", one.fence, types_pb2.CAUSE_CANCEL)
        assert stop.kill_timeout_ms == one.spec.kill_timeout_ms
        assert cluster.task("t1").state == RUNNING
        # The session breaks before it is acknowledged: the next one says it again.
        await worker.break_off()
        worker = await cluster.connect(machine_node(), [held(one, worker_pb2.ATTEMPT_STATE_RUNNING)])
        await worker.next("stop")
        await worker.report(2, ended(one, exit_code=None, cause=types_pb2.CAUSE_CANCEL))
        # An end that its machine told needs no other stop.
        assert await worker.quiet(2, "renewal_ack") == [
            worker_pb2.LeaderMessage(reports_ack=worker_pb2.ReportsAck(number=2))
        ]
        assert cluster.task("t1").state == CANCELLED
        await cluster.stop()

    virtual(main)


def test_a_success_that_comes_first_wins_over_a_cancel() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        (one,) = await assignments(worker, 1)
        await cluster.cancel("t1")
        await worker.report(1, ended(one))
        await worker.next("reports_ack")
        assert cluster.task("t1").state == COMPLETED
        await cluster.stop()

    virtual(main)


def test_a_success_exit_is_a_success_whatever_cause_comes_with_it() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1", success_codes=[3]), shell("t2"))
        given = {one.task: one for one in await assignments(worker, 2)}
        no_success = ended(given["t2"], exit_code=4)
        no_success.ended.cause = types_pb2.CAUSE_UNSPECIFIED
        await worker.report(1, ended(given["t1"], exit_code=3, cause=types_pb2.CAUSE_EXIT), no_success)
        await worker.next("reports_ack")
        assert cluster.task("t1").state == COMPLETED
        assert cluster.task("t2").attempt == 1
        await cluster.stop()

    virtual(main)


def test_a_suspect_node_gets_nothing_new_until_it_is_heard() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await asyncio.sleep(11)
        await cluster.submit(shell("t1"))
        assert not await worker.quiet(2, "renewal_ack")
        await worker.send(heartbeat=worker_pb2.Heartbeat())
        await assignments(worker, 1)
        await cluster.stop()

    virtual(main)


def test_why_says_what_the_leader_knows_of_each_node() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        first = await cluster.connect(machine_node("n1"))
        await cluster.connect(machine_node("n2"))
        await first.break_off()
        await cluster.submit(shell("t1", constraints=types_pb2.Constraints(requires_gpu=True)))
        gone, poor = cluster.leadership.why(cluster.task("t1"))
        assert (gone.node, gone.eligible, poor.node, poor.eligible) == ("n1", False, "n2", False)
        assert "not connected" in gone.reason
        assert "GPU" in poor.reason
        await cluster.stop()

    virtual(main)


def test_a_score_is_shown_with_terms_that_sum_to_it() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await worker.send(sample=sample())
        await cluster.submit(shell("t1"))
        await assignments(worker, 1)
        (view,) = cluster.leadership.node_views()
        terms = view.terms
        assert view.scored
        assert terms.tasks == -5.0
        parts = (terms.cpu, terms.memory, terms.disk, terms.network, terms.gpu, terms.tasks, terms.gaming)
        assert abs(sum(parts) - view.score) < 1e-9
        assert (view.assigned, view.running) == (1, 0)
        await cluster.stop()

    virtual(main)
