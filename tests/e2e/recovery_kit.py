"""What tests of snapshots, recovery and repair share."""

from __future__ import annotations

import subprocess

from tests.e2e.harness import Cluster, Node, all_tasks, eventually, shell, state_name, wait_all_ended
from tui.link.client import ClusterClient

PATIENCE_S = 120.0
SMALL = {"CORTEX_SNAPSHOT_ENTRIES": "20"}


def checked(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode()


async def ended_tasks(client: ClusterClient, count: int) -> set[str]:
    """Tasks that were carried out, a few entries each."""
    ids: set[str] = set()
    for number in range(0, count, 10):
        reply = await client.submit_batch([shell("true", name=f"t{number + part}") for part in range(10)])
        ids.update(reply.ids)
    await wait_all_ended(client, ids, PATIENCE_S)
    return ids


def snapshot_index(node: Node) -> int:
    """Of the newest snapshot on a daemon's disk."""
    return max((int(file.stem) for file in (node.data / "snapshots").glob("*.snap")), default=0)


async def snapshots_of_all(nodes: list[Node], index: int) -> None:
    """Return when each of them has a snapshot of at least that entry."""

    async def there() -> str:
        return "yes" if all(snapshot_index(node) >= index for node in nodes) else ""

    await eventually(there, PATIENCE_S)


async def has_all(cluster: Cluster, node_id: str, ids: set[str]) -> None:
    """Return when this daemon shows all those tasks as ended."""
    async with cluster.client(node_id) as client:

        async def shown() -> str:
            found = {task.id: task for task in await all_tasks(client)}
            return "yes" if all(task in found and state_name(found[task]) == "completed" for task in ids) else ""

        await eventually(shown, PATIENCE_S)


async def votes_again(cluster: Cluster, client: ClusterClient, node_id: str) -> None:
    """Add a daemon that was started with --join, and wait until it votes."""

    async def joined() -> str:
        nodes = (await client.list_nodes()).nodes
        return "yes" if any(view.node.id == node_id and view.node.online for view in nodes) else ""

    async def voting() -> str:
        status = await client.status()
        return "yes" if node_id in [voter.id for voter in status.voters] else ""

    await eventually(joined, PATIENCE_S)
    added = cluster.cortex("voters", "add", node_id)
    assert added.returncode == 0, added.stderr.decode() + added.stdout.decode() + cluster.logs()
    await eventually(voting, PATIENCE_S)
