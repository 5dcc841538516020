"""Voters that begin with a snapshot: at a start, after they were away, and when their rows are gone or damaged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import Cluster, Node, eventually
from tests.e2e.recovery_kit import PATIENCE_S, SMALL, ended_tasks, has_all, snapshots_of_all
from tests.e2e.test_faults import Load

pytestmark = pytest.mark.e2e
MakeCluster = Callable[..., Cluster]


def said(node: Node, event: str) -> int:
    """How often a daemon logged that."""
    return (node.data / "cortexd.log").read_text().count(f'"event": "{event}"')


def rows_of(node: Node) -> list[Path]:
    return sorted(node.data.glob("state.sqlite*"))


async def test_all_voters_start_from_snapshot_and_log(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(environment=SMALL)
    nodes = list(cluster.nodes.values())
    async with cluster.client() as client:
        await cluster.leader(client)
        ids = await ended_tasks(client, 40)
        await snapshots_of_all(nodes, 1)
        ids |= await ended_tasks(client, 10)
    cluster.kill()
    # One begins without rows, one with rows that are none.
    for file in rows_of(nodes[0]):
        file.unlink()
    for file in rows_of(nodes[1]):
        file.write_bytes(b"this was a database once" * 100)
    cluster.start()
    async with cluster.client() as client:
        await cluster.leader(client)
        ids |= await ended_tasks(client, 10)
    for node in nodes:
        await has_all(cluster, node.id, ids)
    # Once more where it fell so far behind that it was sent one.
    assert said(nodes[0], "the store begins with a snapshot") >= 1
    assert said(nodes[1], "the store begins with a snapshot") >= 1
    assert (nodes[1].data / "state.sqlite.aside").exists()


async def test_a_voter_that_was_away_is_sent_what_the_log_forgot(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(environment=SMALL)
    nodes = cluster.nodes
    over = asyncio.Event()
    async with cluster.client() as client:
        leader = await cluster.leader(client)
        away = next(node for node in nodes.values() if node.id != leader)
        others = [node for node in nodes.values() if node is not away]
        load = Load(client, "true")
        loading = asyncio.create_task(load.run(over))
        try:
            await load.more(20)
            cluster.kill(away.id)
            await load.more(20)
            # Behind a snapshot of what came since, the logs do not reach back to it any more.
            await snapshots_of_all(others, load.index + 20)
            cluster.start(away.id)

            async def installed() -> str:
                return "yes" if said(away, "begins anew") else ""

            await eventually(installed, PATIENCE_S)
            await load.more(20)
        finally:
            over.set()
            await loading
        await has_all(cluster, away.id, load.acknowledged)
        # It is a voter as before: with it and one other there is a majority.
        cluster.kill(next(node.id for node in others if node.id != leader))
        ids = await ended_tasks(client, 10)
        await has_all(cluster, away.id, ids | load.acknowledged)
    assert said(away, "the store begins with a snapshot") >= 1
