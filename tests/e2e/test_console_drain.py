"""A drain in the console, over a real cluster: rehearsed, undone, refused for what came in between, carried out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cortex.v1.types_pb2 import NodeState
from tests.e2e.console_terminal import ConsoleTerminal
from tests.e2e.harness import Cluster
from tests.e2e.test_drain import drain, node_state, running, task_on, until_node

pytestmark = pytest.mark.e2e
ESCAPE = "\x1b"


def point_at(console: ConsoleTerminal, cluster: Cluster, node: str) -> None:
    """Put the cursor of the nodes on one of them."""
    console.type("g" + "j" * list(cluster.nodes).index(node))
    console.until(lambda: f" {node} " in console.line_with("▌ "))


async def stuck_task(cluster: Cluster, node: str) -> str:
    """A running task that nothing but `node` takes."""
    async with cluster.client() as client:
        return await running(client, task_on(node, "sleep 1000"))


async def state_of(cluster: Cluster, node: str) -> int:
    async with cluster.client() as client:
        return await node_state(client, node)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_a_drain_is_undone_then_refused_then_carried_out(
    make_cluster: Callable[..., Cluster], size: tuple[int, int]
) -> None:
    cluster = make_cluster()
    async with cluster.client() as client:
        leader = await cluster.whole(client)
    node = next(one for one in cluster.nodes if one != leader)
    first = await stuck_task(cluster, node)
    console = ConsoleTerminal(cluster.console_environ(), size)
    try:
        console.until("● live")
        point_at(console, cluster, node)
        console.type("D")
        console.until("$ cortex drain")
        assert "STUCK" in console.line_with("No other node takes it")
        assert "2 with it off: enough" in console.text
        console.type("y")
        console.until("Begins in")
        # At once: it begins in ten seconds, however slow this is.
        console.type("u")
        console.until("Undo")
        console.type("y")
        console.until("nothing has moved, and the node is as it was")
        assert await state_of(cluster, node) == NodeState.NODE_STATE_ACTIVE

        console.type(ESCAPE)
        console.until(lambda: f"▌   {node}" in console.text)
        console.type("D")
        console.until("$ cortex drain")
        shown = console.line_with("$ cortex drain")
        second = await stuck_task(cluster, node)
        console.type("y")
        console.until("The plan does not hold any more")
        console.until(lambda: "$ cortex drain" in console.text and console.line_with("$ cortex drain") != shown)
        assert await state_of(cluster, node) == NodeState.NODE_STATE_ACTIVE, "nothing was adapted"
        console.type("y")
        console.until(lambda: "Empty after" in console.text)
        assert await state_of(cluster, node) == NodeState.NODE_STATE_DRAINED
        async with cluster.client() as client:
            for task_id in (first, second):
                task = (await client.get_task(task_id)).task
                assert (task.attempt, task.losses, task.run) == (0, 0, 1)
        console.type("Q")
        assert console.wait() == 0
    finally:
        console.close()


async def test_the_leader_is_drained_and_leads_no_more(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster()
    async with cluster.client() as client:
        leader = await cluster.whole(client)
        console = ConsoleTerminal(cluster.console_environ(), (120, 40))
        try:
            console.until("● live")
            while True:
                point_at(console, cluster, leader)
                console.type("D")
                console.until("$ cortex drain")
                if "leadership is handed over" in console.text:
                    break
                # Another one leads by now.
                console.type(ESCAPE)
                console.until(lambda: "$ cortex drain" not in console.text)
                leader = await cluster.leader(client)
            console.type("y")
            console.until("Empty after")
            assert await cluster.leader(client) != leader
            await until_node(client, leader, NodeState.NODE_STATE_DRAINED)
            console.type("Q")
            assert console.wait() == 0
        finally:
            console.close()


async def test_a_drain_that_another_began_is_followed(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster()
    async with cluster.client() as client:
        leader = await cluster.whole(client)
        node = next(one for one in cluster.nodes if one != leader)
        await running(client, task_on(node, "sleep 1000", retryable=False))
        await drain(client, node, no_deadline=True, undo_window_ms=0)
        await until_node(client, node, NodeState.NODE_STATE_DRAINING)
        console = ConsoleTerminal(cluster.console_environ(), (120, 40))
        try:
            console.until("● live")
            point_at(console, cluster, node)
            console.type("D")
            console.until(f"drain of {node}")
            console.until("0 of 1 left it, 1 run there")
            console.type("C")
            console.until("Uncordon 1 node")
            console.type("y")
            console.until("Stopped: what has moved stays where it is")
            console.type("Q")
            assert console.wait() == 0
        finally:
            console.close()
