"""Leases: who may renew them, when, and what happens to those that end."""

from __future__ import annotations

import asyncio

import pytest

from cortex.v1 import types_pb2, worker_pb2
from cortex.v1.log_pb2 import Command, TaskCancel, TaskRetry
from node.core.model import ASSIGNED, CANCELLED, QUEUED, RUNNING
from tests.node.leader_kit import Cluster, WorkerEnd, held, machine_node, shell, started, virtual


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def one_running(cluster: Cluster, **fields: object) -> tuple[WorkerEnd, worker_pb2.Assignment]:
    worker = await cluster.connect(machine_node())
    await cluster.submit(shell("t1", **fields))
    (assignment,) = (await worker.next("assignments")).assignments.assignments
    await worker.report(1, started(assignment))
    await worker.next("reports_ack")
    return worker, assignment


def test_a_lease_that_nobody_renews_ends_after_its_margin() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await one_running(cluster)
        given_s = now_s()
        await cluster.until(lambda: cluster.task("t1").state == QUEUED)
        assert 34.9 < now_s() - given_s < 35.1
        assert cluster.task("t1").losses == 1
        await cluster.stop()

    virtual(main)


def test_renewals_keep_a_lease_without_entries() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker, assignment = await one_running(cluster)
        entries = len(cluster.replica.entries)
        for number in range(1, 21):
            # The set is named once; later renewals refer to it by its version.
            await worker.renew(number, [assignment.fence] if number == 1 else ())
            ack = (await worker.next("renewal_ack")).renewal_ack
            while ack.number != number:
                ack = (await worker.next("renewal_ack")).renewal_ack
            assert ack.lease_ms == 30_000
            await asyncio.sleep(10)
        assert len(cluster.replica.entries) == entries
        renewed_s = now_s() - 10
        await cluster.until(lambda: cluster.task("t1").state == QUEUED)
        assert 34.9 < now_s() - renewed_s < 35.1
        await cluster.stop()

    virtual(main)


def test_a_lease_that_is_no_longer_named_counts_from_its_last_renewal() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker, assignment = await one_running(cluster)
        await asyncio.sleep(5)
        await worker.renew(1, [assignment.fence], version=1)
        named_s = now_s()
        await asyncio.sleep(10)
        renewing = asyncio.ensure_future(worker.keep_renewing([], version=2))
        await cluster.until(lambda: cluster.task("t1").state == QUEUED)
        assert 34.9 < now_s() - named_s < 35.1
        renewing.cancel()
        await cluster.stop()

    virtual(main)


def test_no_acknowledgement_without_a_confirmation_begun_after_the_renewal() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker, assignment = await one_running(cluster)
        cluster.replica.quorum.clear()
        before = cluster.replica.confirmations
        await worker.renew(1, [assignment.fence])
        await asyncio.sleep(1)
        assert cluster.replica.confirmations == before + 1
        # This one comes while a round is on its way: that round proves nothing about it.
        await worker.renew(2)
        assert not await worker.quiet(1)
        cluster.replica.quorum.set()
        assert (await worker.next("renewal_ack")).renewal_ack.number == 1
        assert (await worker.next("renewal_ack")).renewal_ack.number == 2
        assert cluster.replica.confirmations == before + 2
        await cluster.stop()

    virtual(main)


def test_many_renewals_share_one_confirmation() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        workers = [await cluster.connect(machine_node(f"n{number}")) for number in range(10)]
        await asyncio.sleep(1)
        before = cluster.replica.confirmations
        for worker in workers:
            await worker.renew(1)
        for worker in workers:
            while (await worker.next("renewal_ack")).renewal_ack.number != 1:
                pass
        assert cluster.replica.confirmations == before + 1
        await cluster.stop()

    virtual(main)


def test_a_deposed_leader_renews_nothing() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker, assignment = await one_running(cluster)
        # It does not know yet that another leads: only the quorum's silence tells.
        cluster.replica.quorum.clear()
        await worker.renew(1, [assignment.fence])
        await asyncio.sleep(3)
        cluster.replica.serving = False
        cluster.replica.quorum.set()
        assert not await worker.quiet(3)
        await cluster.stop()

    virtual(main)


def test_a_leader_that_was_cut_off_counts_from_the_last_confirmed_renewal() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker, assignment = await one_running(cluster)
        await worker.renew(1, [assignment.fence])
        renewed_s = now_s()
        await asyncio.sleep(1)
        cluster.replica.quorum.clear()
        renewing = asyncio.ensure_future(worker.keep_renewing([assignment.fence]))
        await cluster.until(lambda: cluster.task("t1").state == QUEUED)
        assert 34.9 < now_s() - renewed_s < 35.1
        renewing.cancel()
        await cluster.stop()

    virtual(main)


def test_hello_renews_what_it_lists_under_number_0() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker, assignment = await one_running(cluster)
        await asyncio.sleep(10)
        await worker.break_off()
        hello_s = now_s()
        worker = await cluster.connect(machine_node(), [held(assignment, worker_pb2.ATTEMPT_STATE_RUNNING)])
        assert (await worker.next("renewal_ack")).renewal_ack.number == 0
        await cluster.until(lambda: cluster.task("t1").state == QUEUED)
        assert 34.9 < now_s() - hello_s < 35.1
        await cluster.stop()

    virtual(main)


def test_a_shared_fence_does_not_keep_what_its_machine_has_no_more() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"), shell("t2"))
        given = {one.task: one for one in (await worker.next("assignments")).assignments.assignments}
        assert given["t1"].fence == given["t2"].fence
        await worker.report(1, *(started(one) for one in given.values()))
        await worker.next("reports_ack")
        await worker.break_off()
        hello_s = now_s()
        worker = await cluster.connect(machine_node(), [held(given["t1"], worker_pb2.ATTEMPT_STATE_RUNNING)])
        renewing = asyncio.ensure_future(worker.keep_renewing([given["t1"].fence]))
        await cluster.until(lambda: cluster.task("t2").fence != given["t2"].fence)
        assert 34.9 < now_s() - hello_s < 36
        assert cluster.task("t1").state == RUNNING
        renewing.cancel()
        await cluster.stop()

    virtual(main)


def test_what_is_sent_again_has_its_lease_from_that_hello_on() -> None:
    """The machine counts it from there, so it must not be given to another before."""

    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        await worker.next("assignments")
        given_s = now_s()
        await worker.break_off()
        await asyncio.sleep(given_s + 34 - now_s())
        worker = await cluster.connect(machine_node())
        hello_s = now_s()
        await worker.next("assignments")
        # Its next renewal is due in 10 s, and would name it.
        await cluster.until(lambda: cluster.task("t1").losses == 1)
        assert 34.9 < now_s() - hello_s < 35.1
        await cluster.stop()

    virtual(main)


def test_every_lease_gets_one_fresh_term_from_a_new_leader() -> None:
    async def main() -> None:
        first = Cluster().begin()
        await one_running(first)
        await asyncio.sleep(10)
        second = first.successor()
        begun_s = now_s()
        await second.until(lambda: second.task("t1").state == QUEUED)
        assert 34.9 < now_s() - begun_s < 35.1
        await second.stop()

    virtual(main)


def test_a_losing_entry_that_fails_is_tried_again() -> None:
    async def main() -> None:
        cluster = Cluster(lease_ms=3_000, retry_ms=500).begin()
        await one_running(cluster)
        cluster.replica.gate.clear()
        await asyncio.sleep(9)
        assert cluster.task("t1").state == RUNNING
        cluster.replica.gate.set()
        await cluster.until(lambda: cluster.task("t1").state == QUEUED)
        assert cluster.task("t1").losses == 1
        await cluster.stop()

    virtual(main)


def test_wait_has_its_own_lease_and_keeps_its_fence() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        _, assignment = await one_running(cluster, on_lost=types_pb2.ON_LOST_WAIT, wait_ms=60_000)
        assert assignment.lease_ms == 60_000
        given_s = now_s()
        await cluster.until(lambda: cluster.task("t1").lost_at_us > 0)
        assert 64.9 < now_s() - given_s < 65.1
        assert cluster.task("t1").state == RUNNING
        await asyncio.sleep(100)
        assert cluster.task("t1").fence == assignment.fence
        await cluster.stop()

    virtual(main)


@pytest.mark.parametrize("state", [worker_pb2.ATTEMPT_STATE_RUNNING])
def test_hold_is_marked_lost_and_found_again(state: worker_pb2.AttemptState.ValueType) -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker, assignment = await one_running(cluster, on_lost=types_pb2.ON_LOST_HOLD)
        assert assignment.lease_ms == 0, "its supervisor never ends it"
        await worker.break_off()
        await cluster.until(lambda: cluster.task("t1").lost_at_us > 0)
        worker = await cluster.connect(machine_node(), [held(assignment, state)])
        assert worker.welcome.verdicts[0].kind == worker_pb2.VERDICT_KIND_KEEP
        task = cluster.task("t1")
        assert (task.state, task.lost_at_us, task.fence) == (RUNNING, 0, assignment.fence)
        # Found again it has a lease again.
        await worker.break_off()
        await cluster.until(lambda: cluster.task("t1").lost_at_us > 0)
        await cluster.stop()

    virtual(main)


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (Command(task_cancel=TaskCancel(id="t1", reason="gone")), CANCELLED),
        (Command(task_retry=TaskRetry(id="t1")), QUEUED),
    ],
)
def test_a_burnt_fence_is_stopped_where_it_still_runs(command: Command, state: int) -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker, assignment = await one_running(cluster, on_lost=types_pb2.ON_LOST_HOLD)
        beating = asyncio.ensure_future(worker.keep_renewing([]))
        await cluster.until(lambda: cluster.task("t1").lost_at_us > 0)
        await cluster.replica.execute([command])
        (item,) = (await worker.next("stop")).stop.items
        assert (item.task, item.fence) == ("t1", assignment.fence)
        assert cluster.task("t1").state in (state, ASSIGNED)
        beating.cancel()
        await cluster.stop()

    virtual(main)
