"""Daemons whose log is in a real etcd."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import etcd_server
from tests.e2e.harness import Cluster, eventually, shell, state_name, wait_all_ended
from tests.e2e.test_cluster import results_per_run
from tests.e2e.test_membership import standbys
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


def on_etcd(etcd: EtcdServers) -> dict[str, str]:
    """The environment of daemons whose log is there."""
    return {"CORTEX_CONSENSUS": f"etcd://{','.join(etcd.endpoints)}?prefix=/cortex/test/"}


async def test_nothing_is_lost_when_the_leading_daemon_is_killed(
    make_cluster: MakeCluster, etcd: EtcdServers, tmp_path: Path
) -> None:
    cluster = make_cluster(voters=3, environment=on_etcd(etcd))
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
    cluster = make_cluster(voters=3, environment=on_etcd(etcd))
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


async def test_a_cluster_migrates_with_all_that_it_knows(
    make_cluster: MakeCluster, etcd: EtcdServers, tmp_path: Path
) -> None:
    cluster = make_cluster(voters=3)
    gate = tmp_path / "gate"
    async with cluster.client() as client:
        await cluster.leader(client)
        ended = (await client.submit(shell("echo ended"))).id
        await wait_all_ended(client, {ended}, timeout_s=60)
        waiting = (await client.submit(shell(f"until test -e {gate}; do sleep 0.1; done"))).id
        await cluster.caught_up(client)
        index = (await client.status()).index
    cluster.kill()
    saved = tmp_path / "cluster.snap"
    done = cortexd("snapshot", "save", str(saved), "--data", str(cluster.nodes["n1"].data), secret(cluster))
    assert done.returncode == 0, done.stderr
    environment = on_etcd(etcd)
    url = environment["CORTEX_CONSENSUS"]
    refused = cortexd("migrate", str(saved), "--to", url, secret(cluster), stdin=b"no\n")
    assert (refused.returncode, b"Nothing was changed" in refused.stderr) == (2, True)
    done = cortexd("migrate", str(saved), "--to", url, secret(cluster), stdin=b"migrate\n")
    assert done.returncode == 0, done.stderr
    assert b"recovery 1" in done.stdout
    again = cortexd("migrate", str(saved), "--to", url, secret(cluster), "--yes")
    assert (again.returncode, b"lives in etcd under" in again.stderr) == (1, True)
    cluster.environment = environment
    cluster.start()
    async with cluster.client() as client:
        await cluster.whole(client)
        assert (await client.status()).index > index + 10**9
        later = (await client.submit(shell("echo later"))).id
        gate.touch()
        tasks = await wait_all_ended(client, {ended, waiting, later}, timeout_s=120)
        assert {state_name(task) for task in tasks.values()} == {"completed"}, cluster.logs()
        assert (await client.get_task(ended)).task.result.stdout.head == b"ended\n"
        assert set((await results_per_run(client)).values()) == {1}


async def test_an_empty_etcd_in_the_place_of_the_log_is_refused(
    make_cluster: MakeCluster, etcd: EtcdServers
) -> None:
    cluster = make_cluster(voters=1)
    async with cluster.client() as client:
        await cluster.leader(client)
        task = (await client.submit(shell("true"))).id
        await wait_all_ended(client, {task}, timeout_s=60)
    cluster.kill()
    cluster.environment = on_etcd(etcd)
    cluster.start()
    process = cluster.nodes["n1"].process
    assert process is not None
    assert await asyncio.to_thread(process.wait, 60) == 1
    assert "The log in etcd is not the one that this daemon followed" in cluster.logs()


def cortexd(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "node.cli", *arguments], capture_output=True, timeout=60, check=False, input=stdin
    )


def secret(cluster: Cluster) -> str:
    return f"--secret-file={cluster.secret}"


async def test_voters_come_and_go_and_leadership_is_handed_over(
    make_cluster: MakeCluster, etcd: EtcdServers
) -> None:
    cluster = make_cluster(voters=3, environment=on_etcd(etcd))
    async with cluster.client() as client:
        leader = await cluster.leader(client)
        await cluster.whole(client)
        other = next(node for node in cluster.nodes if node != leader)
        done = cluster.cortex("voters", "remove", other, "--yes")
        assert done.returncode == 0, (done.stderr, cluster.logs())
        listed = json.loads(cluster.cortex("--json", "voters").stdout)
        assert sorted(voter["id"] for voter in listed["voters"]) == sorted(cluster.nodes.keys() - {other})
        done = cluster.cortex("voters", "add", other, "--wait")
        assert done.returncode == 0, (done.stderr, cluster.logs())
        done = cluster.cortex("leader", "transfer", other)
        assert (done.returncode, done.stdout.decode().strip()) == (0, other), (done.stderr, cluster.logs())
        task = (await client.submit(shell("echo hi"))).id
        tasks = await wait_all_ended(client, {task}, timeout_s=60)
        assert state_name(tasks[task]) == "completed", cluster.logs()


async def test_a_standby_is_added_leads_and_is_saved_from(
    make_cluster: MakeCluster, etcd: EtcdServers, tmp_path: Path
) -> None:
    cluster = make_cluster(voters=1, environment=on_etcd(etcd))
    async with cluster.client() as client:
        await cluster.leader(client)
        task = (await client.submit(shell("echo hi"))).id
        await wait_all_ended(client, {task}, timeout_s=60)
        await standbys(cluster, client, "s1")
        # It answers for the cluster, though nobody added it yet.
        async with cluster.client("s1") as there:
            assert state_name((await there.get_task(task)).task) == "completed"
        done = cluster.cortex("voters", "add", "s1", "--wait")
        assert done.returncode == 0, (done.stderr, cluster.logs())
        done = cluster.cortex("leader", "transfer", "s1")
        assert (done.returncode, done.stdout.decode().strip()) == (0, "s1"), (done.stderr, cluster.logs())
        # With etcd one that lives is enough.
        cluster.kill("n1")
        async with cluster.client("s1") as there:
            task = (await there.submit(shell("echo there"))).id
            await wait_all_ended(there, {task}, timeout_s=60)
        saved = tmp_path / "cluster.snap"
        done = cortexd("snapshot", "save", str(saved), "--data", str(cluster.nodes["s1"].data), secret(cluster))
        assert done.returncode == 0, done.stderr
        found = json.loads(cortexd("snapshot", "inspect", str(saved), "--json").stdout)
        assert [member["id"] for member in found["members"] if member["voter"]] == ["n1", "s1"]
        # A folder without a log of its own is no backup, and no voter's.
        stopped = ("--data", str(cluster.nodes["n1"].data), secret(cluster))
        for deed in (
            ("snapshot", "save", str(tmp_path / "x")),
            ("repair", "--id", "n1"),
            ("recover", "--id", "n1"),
        ):
            done = cortexd(*deed, *stopped)
            assert (done.returncode, b"is in etcd" in done.stderr) == (1, True), (deed, done)
        cluster.environment = {}
        cluster.start("n1")
        process = cluster.nodes["n1"].process
        assert process is not None
        assert await asyncio.to_thread(process.wait, 60) == 1
        assert "a log that is begun here would be another cluster's" in cluster.logs()
