"""Backups that are restored, a majority that is lost, folders that are damaged: nothing acknowledged is gone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import Cluster, all_tasks, shell, state_name, wait_all_ended
from tui.client import ClusterClient

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]

STEP = 1_000_000_000
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


async def goes_on(cluster: Cluster, before: set[str]) -> None:
    """All tasks from before are there as they were, and new ones get indexes that were never used."""
    async with cluster.client() as client:
        await cluster.leader(client)
        found = {task.id: task for task in await all_tasks(client)}
        assert before <= found.keys()
        assert {state_name(found[task_id]) for task_id in before} == {"completed"}
        highest = max(found[task_id].fence for task_id in before)
        fresh = await ended_tasks(client, 10)
        made = [task for task in await all_tasks(client) if task.id in fresh]
        assert min(task.created_index for task in made) > STEP > highest
        assert min(task.fence for task in made) > STEP
        assert {state_name(task) for task in made} == {"completed"}


def other_cluster(tmp_path: Path, like: Cluster) -> Cluster:
    """One voter with the secret of another cluster, not started."""
    alone = Cluster(tmp_path / "restored", voters=1)
    alone.secret.write_text(like.secret.read_text())
    return alone


async def test_a_snapshot_is_saved_inspected_and_restored(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster()
    file, stopped = tmp_path / "backup.snap", tmp_path / "stopped.snap"
    secret = ("--secret-file", str(cluster.secret))
    async with cluster.client() as client:
        await cluster.leader(client)
        ids = await ended_tasks(client, 30)
        await cluster.caught_up(client)
    checked(cluster.cortexd("snapshot", "save", str(file), "--data", str(cluster.nodes["n2"].data)))
    content = json.loads(checked(cluster.cortexd("snapshot", "inspect", str(file), "--json")))
    assert content["verified"] is True
    assert content["tasks"] == {"completed": 30}
    assert content["rows"]["tasks"] == 30
    assert [member["id"] for member in content["members"]] == ["n1", "n2", "n3"]
    assert "30 completed" in checked(cluster.cortexd("snapshot", "inspect", str(file)))
    cluster.kill()
    checked(cluster.cortexd("snapshot", "save", str(stopped), "--data", str(cluster.nodes["n3"].data), *secret))
    again = json.loads(checked(cluster.cortexd("snapshot", "inspect", str(stopped), "--json")))
    assert again["tasks"] == {"completed": 30}

    alone = other_cluster(tmp_path, cluster)
    node = alone.nodes["n1"]
    secret = ("--secret-file", str(alone.secret))
    restore = ("snapshot", "restore", str(file), "--data", str(node.data), "--id", "n1", "--listen", node.address)
    try:
        said = checked(alone.cortexd(*restore, *secret))
        assert "recovery 1" in said
        refused = alone.cortexd(*restore, *secret)
        assert refused.returncode == 1
        assert b"is in use" in refused.stderr
        alone.start()
        await goes_on(alone, ids)
    finally:
        alone.close()


async def test_a_snapshot_with_one_changed_bit_is_refused(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(voters=1)
    file = tmp_path / "backup.snap"
    async with cluster.client() as client:
        await cluster.leader(client)
        await ended_tasks(client, 10)
    checked(cluster.cortexd("snapshot", "save", str(file), "--data", str(cluster.nodes["n1"].data)))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    refused = cluster.cortexd("snapshot", "inspect", str(file))
    assert refused.returncode == 2
    assert b"another hash" in refused.stderr


async def test_two_of_three_voters_are_lost_for_good(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(environment=SMALL)
    node = cluster.nodes["n3"]
    async with cluster.client() as client:
        await cluster.leader(client)
        ids = await ended_tasks(client, 40)
        await cluster.caught_up(client)
    cluster.kill()
    recover = ("recover", "--data", str(node.data), "--id", "n3", "--secret-file", str(cluster.secret))
    refused = cluster.cortexd(*recover, typed="n1\n")
    assert refused.returncode == 2
    assert b"Nothing was changed" in refused.stderr
    assert not list(node.data.glob("aside-*"))
    said = checked(cluster.cortexd(*recover, typed="n3\n"))
    assert "What may be lost" in said
    assert "surely committed" in said
    assert "recovery 1" in said
    (aside,) = node.data.glob("aside-*")
    assert (aside / "raft").is_dir()
    assert not list(node.data.glob("examined-*"))
    cluster.start("n3")
    await goes_on(cluster, ids)
    async with cluster.client("n3") as client:
        status = await client.status()
        assert [voter.id for voter in status.voters] == ["n3"]
        assert status.healthy
