"""A night shift at the console, over real daemons: a burst, a drain, the leader lost in a dialog, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import NodeState
from node.core.model import CANCELLED, COMPLETED
from tests.e2e.console_terminal import ConsoleTerminal
from tests.e2e.harness import Cluster, all_tasks, eventually, shell
from tests.e2e.test_console_drain import point_at
from tests.e2e.test_drain import running, until_node
from tests.e2e.test_operations import letters, needs
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e

ESCAPE = "\x1b"
DISK, NETWORK = 15, 8


async def ended_as(client: ClusterClient, ids: list[str], state: int) -> None:
    async def are() -> str:
        tasks = {task.id: task.state for task in await all_tasks(client)}
        return "yes" if {tasks.get(one) for one in ids} == {state} else ""

    await eventually(are, 120.0)


async def test_a_night_shift(make_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = make_cluster()
    disk, network = tmp_path / "disk", tmp_path / "network"
    async with cluster.client() as client:
        leader = await cluster.whole(client)
        console = ConsoleTerminal(cluster.console_environ(), (100, 30))
        try:
            console.until("● live")
            burst = await letters(client, [needs(disk, "disk") for _ in range(DISK)])
            lost = await letters(client, [needs(network, "network") for _ in range(NETWORK)])
            await triage(console, client, disk.touch, burst, lost)
            keeper = shell("sleep 1000", name="keeper")
            node, keeper.spec.constraints.target_node = (one for one in cluster.nodes if one != leader)
            kept = await running(client, keeper)
            await drain(console, client, cluster, node)
            await lose_the_leader(console, cluster, kept)
            await back(console, cluster, leader, node)
            console.type("Q")
            assert console.wait() == 0
        finally:
            console.close()


async def triage(
    console: ConsoleTerminal, client: ClusterClient, mend: Callable[[], None], burst: list[str], lost: list[str]
) -> None:
    """The larger cause is mended and retried, the other put away."""
    console.until(f"4 Dead letters {DISK + NETWORK}")
    console.type("4")
    console.until(lambda: "15 " in console.line_with("disk is broken") and "8 " in console.line_with("network is"))
    console.until(lambda: "disk is broken" in console.line_with("▌  "))
    mend()
    console.type("r")
    console.until(f"Type {DISK} to confirm")
    console.type(f"{DISK}y")
    console.until("u undo")
    await ended_as(client, burst, COMPLETED)
    console.until(lambda: "network is broken" in console.line_with("▌  ") and "1/1" in console.text)
    console.type("X")
    console.until("Why")
    console.type("moved away\r")
    console.until(f"Discard {NETWORK} letters")
    console.type("y")
    console.until("u undo")
    await ended_as(client, lost, CANCELLED)
    console.until(lambda: not console.line_with("network is"))


async def drain(console: ConsoleTerminal, client: ClusterClient, cluster: Cluster, node: str) -> None:
    console.type("1")
    console.until("▌1 Nodes 3/3")
    point_at(console, cluster, node)
    console.type("D")
    console.until("$ cortex drain")
    console.type("y")
    console.until("Empty after")
    await until_node(client, node, NodeState.NODE_STATE_DRAINED)
    console.type(ESCAPE)
    console.until(lambda: "drained" in console.row_of(node))


async def lose_the_leader(console: ConsoleTerminal, cluster: Cluster, kept: str) -> None:
    """What was shown in a dialog is carried out by the next leader, once."""
    async with cluster.client() as client:
        old = await cluster.leader(client)
        console.type("2")
        console.until(lambda: "keeper" in console.line_with("▌ "))
        console.type("K")
        console.until("do nothing")
        cluster.kill(old)
        new = await cluster.leader(client)
        assert new != old
        console.until(f"leader {new}")
        console.type("y")
        console.until(lambda: "do nothing" not in console.text)
        await ended_as(client, [kept], CANCELLED)
        console.until(lambda: "cancelled" in console.line_with("keeper"))


async def back(console: ConsoleTerminal, cluster: Cluster, old: str, node: str) -> None:
    cluster.start()
    async with cluster.client() as client:
        await cluster.whole(client)
        console.type("1")
        console.until("▌1 Nodes 3/3")
        console.until(lambda: "active" in console.row_of(old))
        point_at(console, cluster, node)
        console.type("C")
        console.until("do nothing")
        console.type("y")
        await until_node(client, node, NodeState.NODE_STATE_ACTIVE)
        console.until(lambda: "active" in console.row_of(node))
