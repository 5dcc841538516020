"""What a leader does when the nodes that a task waits for leave: it tries where the task failed, at once."""

from __future__ import annotations

import asyncio

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1.log_pb2 import Command, NodeCordon
from node.core.model import ASSIGNED, QUEUED
from tests.node.leader_kit import Cluster, WorkerEnd, ended, machine_node, shell, virtual


async def excluded(cluster: Cluster) -> tuple[WorkerEnd, WorkerEnd]:
    """Task t1 could not be started on n1, and n2 has no slot for it."""
    first = await cluster.connect(machine_node("n1", slots=1))
    await cluster.submit(shell("t1"))
    given = (await first.next("assignments")).assignments.assignments[0]
    second = await cluster.connect(machine_node("n2", slots=1, incarnation="i2"))
    await cluster.submit(shell("full", constraints={"target_node": "n2"}))
    await second.next("assignments")
    await first.report(1, ended(given, exit_code=None, cause=t.CAUSE_CANNOT_START))
    await cluster.until(lambda: cluster.task("t1").state == QUEUED)
    await asyncio.sleep(5)
    assert cluster.task("t1").state == QUEUED, "it waits for n2"
    verdicts = {verdict.node: verdict for verdict in cluster.leadership.why(cluster.task("t1"))}
    assert verdicts["n1"].reason == "could not start the command before"
    assert verdicts["n1"].flip == "cordon n2: with no other node to ask it is tried on n1 again"
    return first, second


@pytest.mark.parametrize("how", ["cordoned", "lost"])
def test_it_is_tried_again_where_it_failed(how: str) -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        first, second = await excluded(cluster)
        renewals = asyncio.ensure_future(first.keep_renewing(()))
        if how == "cordoned":
            await cluster.replica.execute([Command(node_cordon=NodeCordon(id="n2", cordoned=True))])
        else:
            await second.break_off()
        await cluster.until(lambda: cluster.task("t1").state == ASSIGNED)
        assert cluster.task("t1").node == "n1"
        assert "no other node could be asked" in cluster.task("t1").placement.reason
        renewals.cancel()
        await cluster.stop()

    virtual(main)
