"""`cortexd repair`: it tells what is damaged, and mends it without cutting what was committed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.harness import Cluster, Node, eventually
from tests.e2e.recovery_kit import PATIENCE_S, SMALL, checked, ended_tasks, has_all, snapshots_of_all, votes_again

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]


def flip(file: Path, place: int) -> None:
    """Change one bit."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def repair(cluster: Cluster, node: Node, *more: str) -> tuple[str, ...]:
    return ("repair", "--data", str(node.data), "--id", node.id, "--secret-file", str(cluster.secret), *more)


async def stopped_cluster(make_cluster: MakeCluster) -> tuple[Cluster, set[str]]:
    cluster = make_cluster(environment=SMALL)
    async with cluster.client() as client:
        await cluster.leader(client)
        ids = await ended_tasks(client, 30)
        await snapshots_of_all(list(cluster.nodes.values()), 1)
        await cluster.caught_up(client)
    return cluster, ids


async def test_a_whole_folder_needs_no_repair(make_cluster: MakeCluster) -> None:
    cluster, _ = await stopped_cluster(make_cluster)
    running = cluster.cortexd(*repair(cluster, cluster.nodes["n1"]))
    assert running.returncode == 1
    assert b"already runs" in running.stderr
    cluster.kill("n1")
    said = checked(cluster.cortexd(*repair(cluster, cluster.nodes["n1"])))
    assert "Nothing needs to be mended" in said


async def test_rows_that_are_not_what_their_digest_says(make_cluster: MakeCluster) -> None:
    cluster, ids = await stopped_cluster(make_cluster)
    node = cluster.nodes["n2"]
    cluster.kill("n2")
    with closing(sqlite3.connect(node.data / "state.sqlite")) as db:
        db.execute("UPDATE te_tasks SET name = 'another' WHERE id = (SELECT min(id) FROM te_tasks)")
        db.commit()
    said = checked(cluster.cortexd(*repair(cluster, node, "--yes")))
    assert "made anew" in said
    cluster.start("n2")
    await has_all(cluster, "n2", ids)


async def test_a_damaged_log_leaves_and_joins_again(make_cluster: MakeCluster) -> None:
    cluster, ids = await stopped_cluster(make_cluster)
    node, other = cluster.nodes["n3"], cluster.nodes["n1"]
    cluster.kill("n3")
    segment = max((node.data / "raft").glob("*.log"))
    flip(segment, 200)
    cluster.start("n3")
    assert node.process is not None
    assert node.process.wait(60) == 1
    assert "cortexd repair" in (node.data / "cortexd.log").read_text()
    alone = cluster.cortexd(*repair(cluster, node, "--yes"))
    assert alone.returncode == 2
    assert b"--join" in alone.stderr
    said = checked(cluster.cortexd(*repair(cluster, node, "--join", other.address), typed="n3\n"))
    assert "no voter any more" in said
    (aside,) = node.data.glob("aside-*")
    assert (aside / "raft" / segment.name).exists()
    async with cluster.client("n1", "n2") as client:

        async def left() -> str:
            status = await client.status()
            return "yes" if [voter.id for voter in status.voters] == ["n1", "n2"] else ""

        await eventually(left, PATIENCE_S)
        ids |= await ended_tasks(client, 10)
        node.join = "n1"
        cluster.start("n3")
        await votes_again(cluster, client, "n3")
        ids |= await ended_tasks(client, 10)
    await has_all(cluster, "n3", ids)
