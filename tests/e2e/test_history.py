"""A short story on real daemons, looked at afterwards: as it was at each step, and what changed in between."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, eventually, shell, state_name
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("c"), voters=3)
    made.start()
    yield made
    made.close()


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[ClusterClient]:
    async with cluster.client() as opened:
        await cluster.whole(opened)
        yield opened


def ran(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    """The document that a verb prints."""
    done = said(cluster, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def said(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return cluster.cortex(*arguments)


async def another_node(client: ClusterClient, than: str) -> str:
    return next(view.node.id for view in (await client.list_nodes()).nodes if view.node.id != than)


async def in_state(client: ClusterClient, task_id: str, state: str) -> types_pb2.Task:
    async def reached() -> str:
        task = (await client.get_task(task_id)).task
        return task_id if state_name(task) == state else ""

    await eventually(reached)
    return (await client.get_task(task_id)).task


async def test_a_story_is_seen_at_each_of_its_moments_by_every_daemon(
    cluster: Cluster, client: ClusterClient
) -> None:
    task_id = (await client.submit(shell("sleep 600", name="story"))).id
    running = await in_state(client, task_id, "running")
    node = await another_node(client, running.node)
    before = (await client.set_setting("max_dead_letters", "77")).index
    cordoned = (await client.cordon(node, "for the story")).index
    await client.cancel([task_id], "enough")
    await in_state(client, task_id, "cancelled")
    again = (await client.submit(shell("true", name="later"))).index
    await cluster.caught_up(client)

    shown = ran(cluster, "task", task_id, "--at", str(before))
    assert (shown["state"], shown["exit_code"], shown["as_of"]["index"]) == ("running", None, before)
    assert shown["node"] == running.node
    moment = shown["as_of"]["at"]
    by_time = ran(cluster, "task", task_id, "--at", moment)
    assert (by_time["state"], by_time["as_of"]["at"]) == ("running", moment)
    listed = ran(cluster, "tasks", "--at", str(cordoned), "--state", "running")
    assert ([row["id"] for row in listed["tasks"]], listed["total"]) == ([task_id], 1)
    states = {row["id"]: row["state"] for row in ran(cluster, "nodes", "--at", str(before))["nodes"]}
    assert states[node] == "active"
    assert ran(cluster, "node", node, "--at", str(cordoned))["state"] == "cordoned"

    difference = ran(cluster, "diff", "--from", str(before), "--to", str(again))
    rows = {(row["table"], row["id"]): row["fields"] for row in difference["rows"]}
    assert rows["tasks", task_id] == {"state": {"before": "running", "after": "cancelled"}}
    assert rows["nodes", node]["state"] == {"before": "active", "after": "cordoned"}
    assert rows["nodes", node]["message"] == {"before": None, "after": "for the story"}
    assert (difference["from"]["index"], difference["to"]["index"]) == (before, again)

    wanted = cluster_pb2.Moment(index=cordoned)
    seen = set()
    for node_id in cluster.nodes:
        async with cluster.client(node_id) as one:
            one.min_index = again
            reply = await one.get_task(task_id, at=wanted)
            nodes = await one.list_nodes(at=wanted)
        past = reply.task.SerializeToString(deterministic=True)
        seen.add((past, b"".join(view.SerializeToString(deterministic=True) for view in nodes.nodes)))
    assert len(seen) == 1, "all daemons tell the same past"


async def test_a_new_leader_tells_the_same_past(cluster: Cluster, client: ClusterClient) -> None:
    task_id = (await client.submit(shell("true"))).id
    ended = await in_state(client, task_id, "completed")
    moment = cluster_pb2.Moment(index=ended.created_index)
    was = (await client.get_task(task_id, at=moment)).task
    leader = await cluster.leader(client)
    cluster.kill(leader)
    try:
        others = [node_id for node_id in cluster.nodes if node_id != leader]
        async with cluster.client(*others) as survivors:
            survivors.saw(client.min_index)
            await cluster.leader(survivors)
            assert (await survivors.get_task(task_id, at=moment)).task == was
    finally:
        cluster.start(leader)


async def test_what_is_not_known_is_refused_in_words(cluster: Cluster, client: ClusterClient) -> None:
    index = (await client.status()).applied
    for arguments, word, code in (
        (("tasks", "--at", str(index + 10**6)), b"later than now", 1),
        (("tasks", "--at", "23h"), b"oldest event that is kept", 1),
        (("tasks", "--at", "2200-01-01T00:00:00Z"), b"later than now", 1),
        (("tasks", "--at", "yesterday"), b"is no moment", 2),
        (("diff", "--from", "5m", "--to", "10m"), b"earlier", 2),
        (("events", "-f", "--at", "5"), b"exclude each other", 2),
        (("events", "--type", "nonsense"), b"submitted", 2),
        (("settings", "set", "events_kept_s", "0"), b"whole number", 1),
        (("settings", "get", "nonsense"), b"events_kept_s", 3),
    ):
        done = await asyncio.to_thread(said, cluster, *arguments)
        assert (done.returncode, word in done.stderr) == (code, True), (arguments, done.stderr)


async def test_settings_and_audit_on_the_command_line(cluster: Cluster, client: ClusterClient) -> None:
    changed = ran(cluster, "settings", "set", "max_ended_tasks", "1234")
    assert changed["ids"] == ["max_ended_tasks"]
    one = ran(cluster, "settings", "get", "max_ended_tasks")
    assert (one["value"], one["default"]) == (1234, 1_000_000)
    assert "oldest go first" in one["help"]
    assert {row["name"] for row in ran(cluster, "settings")["settings"]} >= {"profile", "lease_ms"}
    audit = ran(cluster, "events", "--audit", "--type", "setting_changed", "--limit", "1")["events"]
    assert [(row["operation"], row["detail"]) for row in audit] == [
        (changed["operation_id"], "max_ended_tasks: default -> 1234")
    ]
    assert audit[0]["actor"] == f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
    assert ran(cluster, "double-runs")["double_runs"] == []
