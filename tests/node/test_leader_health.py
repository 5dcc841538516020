"""Heartbeats: who is online, and how old what is known of it is."""

from __future__ import annotations

import asyncio

from cortex.v1 import worker_pb2
from tests.node.leader_kit import (
    Cluster,
    machine_node,
    resources,
    sample,
    virtual,
)


def test_a_silent_node_goes_offline_and_comes_back() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        await asyncio.sleep(40)
        worker = await cluster.connect(machine_node())
        heard_s = asyncio.get_running_loop().time()
        await cluster.until(lambda: not cluster.replica.state.nodes["n1"].online)
        assert 14.9 < asyncio.get_running_loop().time() - heard_s < 15.2
        await worker.ended()
        await cluster.connect(machine_node())
        assert cluster.replica.state.nodes["n1"].online
        await cluster.stop()

    virtual(main)


def test_a_beating_node_stays_online_without_entries() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        for _ in range(12):
            await worker.next("heartbeat")
            await worker.send(heartbeat=worker_pb2.Heartbeat())
        assert cluster.replica.kinds() == [["node_join"]]
        await cluster.stop()

    virtual(main)


def test_a_new_leader_waits_a_lease_before_it_calls_a_node_offline() -> None:
    async def main() -> None:
        first = Cluster().begin()
        await first.connect(machine_node())
        second = first.successor()
        begun_s = asyncio.get_running_loop().time()
        await second.until(lambda: not second.replica.state.nodes["n1"].online)
        assert 29.9 < asyncio.get_running_loop().time() - begun_s < 30.2
        await second.stop()

    virtual(main)


def test_a_sample_is_shown_with_its_age() -> None:
    async def main() -> None:
        cluster = Cluster().begin()
        worker = await cluster.connect(machine_node())
        (view,) = cluster.leadership.node_views()
        assert (view.age_us, view.scored) == (-1, False)
        await worker.send(sample=sample())
        await asyncio.sleep(3)
        (view,) = cluster.leadership.node_views()
        assert view.resources == resources()
        assert 2_900_000 < view.age_us < 3_100_000
        assert set(cluster.leadership.samples) == {"n1"}
        await cluster.stop()

    virtual(main)
