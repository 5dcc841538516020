"""A voter's disk hangs under load, and is replaced by an empty one: nothing waits or is lost, it votes again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.e2e.harness import Cluster, eventually
from tests.e2e.test_faults import LEASE, PATIENCE_S, Load, check_all, voters_up
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]


async def alarm_of(client: ClusterClient, node_id: str, begin: str) -> None:
    """Return when the cluster says so of that node; with an empty `begin`, when it says nothing."""

    async def told() -> str:
        alarms = {one.node: one.alarm for one in (await client.status()).alarms}
        found = alarms.get(node_id, "")
        return "yes" if (found.startswith(begin) if begin else not found) else ""

    await eventually(told, PATIENCE_S)


async def says(cluster: Cluster, node_id: str, words: str) -> None:
    """Return when a daemon's log has these words."""
    log = cluster.nodes[node_id].data / "cortexd.log"

    async def said() -> str:
        return "yes" if words in log.read_text() else ""

    await eventually(said, PATIENCE_S)


async def test_it_hangs_and_is_replaced_by_an_empty_one(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(voters=3, environment=dict(LEASE))
    node = cluster.nodes["n1"]
    async with cluster.client("n2", "n3") as client:
        await cluster.whole(client)
        # What it was given would end with its disk, and be missed for the length of a lease.
        await client.cordon("n1")
        cluster.kill("n1")
        cluster.environment["CORTEX_FAILPOINTS"] = "journal.sync.before=hang@40"
        cluster.start("n1")
        del cluster.environment["CORTEX_FAILPOINTS"]
        await voters_up(client, 3)
        load, stop = Load(client, "true", batch=1), asyncio.Event()
        loading = asyncio.create_task(load.run(stop))
        # Refused where its disk hangs already.
        await asyncio.to_thread(cluster.cortex, "leader", "transfer", "n1")
        await alarm_of(client, "n1", "Its disk hangs")
        assert (await client.status()).leader in ("n2", "n3")
        await load.more(10)

        assert node.process is not None
        node.process.terminate()
        await asyncio.to_thread(node.process.wait, PATIENCE_S)
        cluster.end_supervisor(node)
        node.data.rename(node.data.with_name("n1-lost"))
        cluster.start("n1")
        await says(cluster, "n1", "counts from here on")
        await alarm_of(client, "n1", "")
        # Without its vote there would be no majority now.
        lost = (await client.status()).leader
        cluster.kill(lost)
        async with cluster.client(*(cluster.nodes.keys() - {lost})) as left:
            assert await voters_up(left, 2) != lost
        await load.more(10)
        cluster.start(lost)
        await voters_up(client, 3)
        stop.set()
        await loading
        await check_all(cluster, client, load)
