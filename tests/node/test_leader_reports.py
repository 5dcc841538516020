"""What workers report: one entry for many, acknowledged when it is applied, and only once."""

from __future__ import annotations

import asyncio

from cortex.v1 import types_pb2, worker_pb2
from node.core.faults import Code, Fault
from node.core.model import ASSIGNED, COMPLETED, QUEUED
from tests.node.leader_kit import (
    Cluster,
    ended,
    machine_node,
    shell,
    started,
    virtual,
)


def test_repeated_and_late_reports_are_acknowledged_without_an_entry() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        (assignment,) = (await worker.next("assignments")).assignments.assignments
        await worker.report(1, started(assignment), ended(assignment))
        await worker.next("reports_ack")
        entries = len(cluster.replica.entries)
        await worker.report(1, started(assignment), ended(assignment))
        ack = (await worker.next("reports_ack")).reports_ack
        assert ack.number == 1
        assert [one.kind for one in ack.verdicts] == [worker_pb2.VERDICT_KIND_RECORDED]
        await worker.report(2, started(assignment))
        ack = (await worker.next("reports_ack")).reports_ack
        assert [one.kind for one in ack.verdicts] == [worker_pb2.VERDICT_KIND_KILL]
        assert len(cluster.replica.entries) == entries
        await cluster.stop()

    virtual(main)


def test_what_is_said_twice_is_proposed_once() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        (assignment,) = (await worker.next("assignments")).assignments.assignments
        cluster.replica.gate.clear()
        await worker.report(1, started(assignment), ended(assignment), started(assignment), ended(assignment))
        await worker.report(1, started(assignment), ended(assignment))
        await asyncio.sleep(1)
        cluster.replica.gate.set()
        await worker.next("reports_ack")
        assert cluster.replica.kinds()[-1] == ["task_started", "task_complete"]
        assert not await worker.quiet(1, "renewal_ack"), "one acknowledgement for a batch that came twice"
        await cluster.stop()

    virtual(main)


def test_nobody_reports_for_another_machine() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node("n1"))
        await cluster.submit(shell("t1"))
        (assignment,) = (await worker.next("assignments")).assignments.assignments
        stranger = await cluster.connect(machine_node("n2"))
        await stranger.report(1, ended(assignment))
        ack = (await stranger.next("reports_ack")).reports_ack
        assert [one.kind for one in ack.verdicts] == [worker_pb2.VERDICT_KIND_RECORDED]
        assert cluster.task("t1").state == ASSIGNED
        await cluster.stop()

    virtual(main)


def test_reports_of_all_sessions_share_an_entry_and_the_next_one_collects() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        workers = [await cluster.connect(machine_node(f"n{number}", slots=2)) for number in range(3)]
        await cluster.submit(*(shell(f"t{number}") for number in range(6)))
        given = [(await worker.next("assignments")).assignments.assignments for worker in workers]
        entries = len(cluster.replica.entries)
        cluster.replica.gate.clear()
        await workers[0].report(1, ended(given[0][0]))
        await asyncio.sleep(1)
        for worker, assignments in zip(workers, given, strict=True):
            await worker.report(2, ended(assignments[-1]))
        await asyncio.sleep(1)
        cluster.replica.gate.set()
        for worker in workers:
            await worker.next("reports_ack")
        assert [len(entry.commands) for entry in cluster.replica.entries[entries:]] == [1, 3]
        await cluster.stop()

    virtual(main)


def test_no_acknowledgement_before_the_entry_is_applied_nor_after_it_failed() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        (assignment,) = (await worker.next("assignments")).assignments.assignments
        cluster.replica.gate.clear()
        await worker.report(1, ended(assignment))
        assert not await worker.quiet(4)
        cluster.replica.fault = Fault(Code.NO_LEADER, "Not the leader.", "Ask another.")
        cluster.replica.gate.set()
        failed_s = asyncio.get_running_loop().time()
        # The worker sends it again in its next session.
        await worker.ended()
        assert asyncio.get_running_loop().time() - failed_s < 0.1
        assert cluster.task("t1").state == ASSIGNED
        await cluster.stop()

    virtual(main)


def test_reports_survive_an_overloaded_cluster() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        (assignment,) = (await worker.next("assignments")).assignments.assignments
        cluster.replica.fault = Fault(Code.OVERLOADED, "Too much.", "Wait.")
        await worker.report(1, ended(assignment))
        assert not await worker.quiet(2)
        cluster.replica.fault = None
        await worker.next("reports_ack")
        assert cluster.task("t1").state == COMPLETED
        await cluster.stop()

    virtual(main)


def test_an_end_that_apply_refuses_is_a_loss_and_not_forgotten() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        await cluster.submit(shell("t1"))
        (assignment,) = (await worker.next("assignments")).assignments.assignments
        # Nobody asked to cancel it, so apply does not take this end.
        await worker.report(1, ended(assignment, exit_code=None, cause=types_pb2.CAUSE_CANCEL))
        await worker.next("reports_ack")
        assert cluster.task("t1").losses == 1
        assert cluster.task("t1").fence != assignment.fence or cluster.task("t1").state == QUEUED
        await cluster.stop()

    virtual(main)
