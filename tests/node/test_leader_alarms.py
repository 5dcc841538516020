"""Alarms about commands that cannot be killed, on virtual time."""

from __future__ import annotations

from cortex.v1.types_pb2 import NodeState
from cortex.v1.worker_pb2 import Assignment, AttemptState, Report, Unkillable
from node.core.model import RUNNING
from tests.core.cluster import complete
from tests.node.leader_kit import Cluster, WorkerEnd, ended, held, machine_node, shell, started, virtual

REASON = "Process group 7 of the command outlived KILL by 60 s."


async def _alarmed(cluster: Cluster) -> tuple[WorkerEnd, Assignment]:
    """A worker whose one task cannot be killed, and that task's assignment."""
    worker = await cluster.connect(machine_node())
    await cluster.submit(shell("t1"))
    (given,) = (await worker.next("assignments")).assignments.assignments
    await worker.report(1, started(given))
    await cluster.until(lambda: cluster.task("t1").state == RUNNING)
    await worker.report(2, Report(unkillable=Unkillable(task="t1", fence=given.fence, reason=REASON)))
    await cluster.until(lambda: bool(cluster.replica.state.nodes["n1"].alarm))
    return worker, given


def test_a_command_that_cannot_be_killed_cordons_its_node_until_it_is_gone() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker, given = await _alarmed(cluster)
        node = cluster.replica.state.nodes["n1"]
        assert node.state == NodeState.NODE_STATE_CORDONED
        assert node.alarm == f"Task t1: {REASON}"
        await worker.report(3, ended(given))
        await cluster.until(lambda: not cluster.replica.state.nodes["n1"].alarm)
        assert cluster.replica.state.nodes["n1"].state == NodeState.NODE_STATE_CORDONED
        await cluster.stop()

    virtual(main)


def test_the_next_leader_ends_an_alarm_whose_task_left_meanwhile() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        _, given = await _alarmed(cluster)
        cluster.depose()
        cluster.replica.fault = None
        await cluster.replica.execute([complete("t1", given.fence)])
        assert cluster.replica.state.nodes["n1"].alarm
        after = cluster.successor()
        await after.until(lambda: not after.replica.state.nodes["n1"].alarm)
        await after.stop()

    virtual(main)


def test_a_worker_that_comes_back_to_an_alarm_costs_no_entry() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker, given = await _alarmed(cluster)
        await worker.break_off()
        entries = len(cluster.replica.entries)
        await cluster.connect(machine_node(), [held(given, AttemptState.ATTEMPT_STATE_RUNNING)])
        assert len(cluster.replica.entries) == entries
        await cluster.stop()

    virtual(main)
