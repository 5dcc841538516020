"""Daemons whose log is in a real etcd."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import etcd_server
from tests.e2e.harness import Cluster, eventually, shell, state_name, wait_all_ended
from tests.e2e.test_cluster import results_per_run
from tests.etcd_server import EtcdServers

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not etcd_server.installed(), reason=etcd_server.MISSING),
]
MakeCluster = Callable[..., Cluster]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServers]:
    servers = EtcdServers(tmp_path / "etcd", 3)
    try:
        servers.start()
        yield servers
    finally:
        servers.close()


def on_etcd(etcd: EtcdServers, **options: str) -> dict[str, object]:
    url = f"etcd://{','.join(etcd.endpoints)}?prefix=/cortex/test/"
    return {"environment": {"CORTEX_CONSENSUS": url, **options}}


async def test_nothing_is_lost_when_the_leading_daemon_is_killed(
    make_cluster: MakeCluster, etcd: EtcdServers, tmp_path: Path
) -> None:
    cluster = make_cluster(voters=3, **on_etcd(etcd))
    async with cluster.client() as client:
        leader = await cluster.leader(client)
        batch = tmp_path / "tasks.jsonl"
        batch.write_text("".join(json.dumps({"command": ["true"], "name": f"t{i}"}) + "\n" for i in range(300)))
        done = cluster.cortex("--json", "submit", "--file", str(batch))
        assert done.returncode == 0, done.stderr
        ids = set(json.loads(done.stdout)["ids"])
        assert len(ids) == 300
        cluster.kill(leader)
        assert await cluster.leader(client) != leader
        ids |= {(await client.submit(shell("echo after"))).id}
        cluster.start(leader)
        tasks = await wait_all_ended(client, ids, timeout_s=120)
        assert Counter(state_name(task) for task in tasks.values()) == {"completed": 301}, cluster.logs()
        assert set((await results_per_run(client)).values()) == {1}
        # The killed one has caught up, too.
        await cluster.caught_up(client)


async def test_the_cluster_outlives_etcds_leader_and_its_own_restart(
    make_cluster: MakeCluster, etcd: EtcdServers
) -> None:
    cluster = make_cluster(voters=3, **on_etcd(etcd))
    async with cluster.client() as client:
        await cluster.leader(client)
        first = (await client.submit(shell("echo first"))).id
        killed = etcd.leader()
        etcd.kill(killed)

        async def submitted() -> str:
            return (await client.submit(shell("echo second"))).id

        second = await eventually(submitted)
        etcd.start(killed)
        cluster.kill()
        cluster.start()
        await cluster.leader(client)
        tasks = await wait_all_ended(client, {first, second}, timeout_s=60)
        assert {state_name(task) for task in tasks.values()} == {"completed"}, cluster.logs()
