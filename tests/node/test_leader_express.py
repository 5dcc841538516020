"""Express: a task alone is placed by the entry that submits it, and only where a pass would do the same."""

from __future__ import annotations

import asyncio
from typing import Any

from cortex.v1 import log_pb2, types_pb2
from cortex.v1.log_pb2 import Command, NodeCordon
from cortex.v1.types_pb2 import Event
from node.core.model import ASSIGNED, COMPLETED, QUEUED
from tests.node.leader_kit import Cluster, ended, machine_node, shell, virtual


async def submitted(cluster: Cluster, task: log_pb2.TaskSubmit) -> log_pb2.Reply:
    """Submit as the call Submit does."""
    with cluster.leadership.placing(task) as more:
        return await cluster.replica.execute([Command(task_submit=task), *more])


def test_a_task_alone_is_submitted_and_placed_by_one_entry() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        entries = len(cluster.replica.entries)
        await submitted(cluster, shell("t1"))
        given = (await worker.next("assignments")).assignments.assignments[0]
        assert cluster.replica.kinds()[entries:] == [["task_submit", "task_assign"]]
        task = cluster.task("t1")
        assert (task.state, task.node, task.fence) == (ASSIGNED, "n1", task.created_index)
        assert task.placement.reason.startswith("Best score with a free slot")
        await worker.report(1, ended(given))
        await cluster.until(lambda: cluster.task("t1").state == COMPLETED)
        assert not await worker.quiet(1, "reports_ack", "renewal_ack")
        await cluster.stop()

    virtual(main)


def test_what_a_pass_would_judge_otherwise_takes_the_usual_way() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node(slots=2))
        keyed = shell("keyed")
        keyed.submit_key = "k"
        for task in (keyed, shell("locked", locks=["l"]), shell("far", constraints=_target("n2"))):
            with cluster.leadership.placing(task) as more:
                assert more == []
        await cluster.submit(shell("waits", constraints=_target("n2")))
        with cluster.leadership.placing(shell("behind")) as more:
            assert more == []
        await cluster.cancel("waits")
        with cluster.leadership.placing(shell("t1")) as more, cluster.leadership.placing(shell("t2")) as others:
            assert len(more) == 1
            assert others == []  # n1 is spoken for until the first entry is applied
        await submitted(cluster, shell("t1"))
        await submitted(cluster, shell("t2"))
        with cluster.leadership.placing(shell("t3")) as more:
            assert more == []  # no slot is free
        await worker.break_off()
        with cluster.leadership.placing(shell("t4")) as more:
            assert more == []
        await cluster.stop()

    virtual(main)


def test_a_placement_that_no_longer_holds_leaves_the_task_in_the_queue() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await cluster.connect(machine_node("n1", slots=8))
        with cluster.leadership.placing(shell("t1")) as more:
            assert more
            await cluster.replica.execute([Command(node_cordon=NodeCordon(id="n1", cordoned=True))])
            reply = await cluster.replica.execute([Command(task_submit=shell("t1")), *more])
        assert [one.accepted for one in reply.commands] == [True, False]
        assert cluster.task("t1").state == QUEUED
        other = await cluster.connect(machine_node("n2", incarnation="i2"))
        await other.next("assignments")
        assert cluster.task("t1").node == "n2"
        await cluster.stop()

    virtual(main)


def test_what_did_not_hold_leaves_no_trace_in_history() -> None:
    """For who submitted it nothing was refused: the task waits in the queue."""

    async def main() -> None:
        cluster = Cluster().begin()
        await cluster.connect(machine_node("n1", slots=8))
        with cluster.leadership.placing(shell("t1")) as more:
            await cluster.replica.execute([Command(node_cordon=NodeCordon(id="n1", cordoned=True))])
            await cluster.replica.execute([Command(task_submit=shell("t1")), *more])
        events = [row for row in cluster.replica.all_rows.values() if isinstance(row, Event)]
        assert [event.type for event in events if event.task == "t1"] == [types_pb2.EVENT_TYPE_SUBMITTED]
        await cluster.stop()

    virtual(main)


def test_a_pass_counts_what_is_on_its_way() -> None:
    """Else a task with a lock would wait on the node for the slot that is spoken for, and hold its lock."""

    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node(slots=1))
        with cluster.leadership.placing(shell("t1")) as more:
            assert more
            await cluster.submit(shell("locked", locks=["l"]))
            await asyncio.sleep(5)
            assert cluster.task("locked").state == QUEUED
            await cluster.replica.execute([Command(task_submit=shell("t1")), *more])
        given = (await worker.next("assignments")).assignments.assignments[0]
        await asyncio.sleep(5)
        assert (cluster.task("t1").state, cluster.task("locked").state) == (ASSIGNED, QUEUED)
        await worker.report(1, ended(given))
        await cluster.until(lambda: cluster.task("locked").state == ASSIGNED)
        await cluster.stop()

    virtual(main)


def test_a_slot_for_what_never_came_is_given_to_what_waits() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await cluster.connect(machine_node(slots=1))
        with cluster.leadership.placing(shell("t1")) as more:
            assert more
            await cluster.submit(shell("locked", locks=["l"]))
            await asyncio.sleep(5)
            assert cluster.task("locked").state == QUEUED
        await cluster.until(lambda: cluster.task("locked").state == ASSIGNED)
        await cluster.stop()

    virtual(main)


def test_without_duties_nothing_is_placed() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await cluster.connect(machine_node())
        await cluster.leadership.quiesce(60_000_000, 0)
        with cluster.leadership.placing(shell("t1")) as more:
            assert more == []
        cluster.depose()
        with cluster.leadership.placing(shell("t2")) as more:
            assert more == []
        await cluster.stop()

    virtual(main)


def _target(node: str) -> Any:
    return {"target_node": node}
