"""A service by the command line: ready, over the death of its daemon, searched, cancelled."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import types_pb2
from tests.e2e.harness import Cluster
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e

PATIENCE_S = 120.0
SERVER = """
import socket, sys, time
sock = socket.create_server(("127.0.0.1", 0))
print("listening on http://127.0.0.1:%d" % sock.getsockname()[1], flush=True)
while True:
    connection, _ = sock.accept()
    print("somebody called", flush=True)
    connection.close()
"""


def cortex(cluster: Cluster, *words: str, code: int = 0) -> str:
    ran = cluster.cortex(*words, timeout_s=PATIENCE_S)
    assert ran.returncode == code, f"{ran.stdout!r} {ran.stderr!r}\n{cluster.logs()}"
    return (ran.stdout if code == 0 else ran.stderr).decode()


async def ready(client: ClusterClient, task_id: str) -> types_pb2.Task:
    async with asyncio.timeout(PATIENCE_S):
        async for reply in client.watch(0):
            for change in reply.changes:
                if change.task.id == task_id and change.task.ready_at_us:
                    return change.task
    raise AssertionError("the watch ended")


async def called(cluster: Cluster, task_id: str, address: str) -> list[dict[str, Any]]:
    """Call the service, and find what it says of that in its output."""
    host, port = address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not found:
            ran = await asyncio.to_thread(cluster.cortex, "logs", task_id, "--grep", "^somebody", "-i", "--json")
            found = [json.loads(line) for line in ran.stdout.splitlines()]
            assert ran.returncode == (0 if found else 1)
    return found


async def test_a_service_from_submit_to_cancel(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, voters=1, environment={"CORTEX_LEASE_MS": "10m"})
    cluster.start()
    try:
        async with cluster.client() as client:
            await cluster.leader(client)
            pattern = r"ready.pattern=listening on (?P<web>\S+)"
            words = ("submit", "--type", "service", "--kill-timeout", "10s", "--set", pattern)
            task_id = cortex(cluster, *words, "--", "python3", "-c", SERVER).strip()
            task = await ready(client, task_id)
            (endpoint,) = task.endpoints
            shown = json.loads(cortex(cluster, "task", task_id, "--json"))
            assert shown["endpoints"] == {"web": endpoint.value}
            assert shown["ready_at"]
            assert f"web {endpoint.value}" in cortex(cluster, "tasks")
            cluster.kill("n1")
            cluster.start("n1")
            await cluster.leader(client)
            assert [line["line"] for line in await called(cluster, task_id, endpoint.value)] == [2]
            ended = json.loads(cortex(cluster, "cancel", "--wait", task_id, "--json"))
            assert ended
            shown = json.loads(cortex(cluster, "task", task_id, "--json"))
            assert (shown["state"], shown["signal"], shown["run"], shown["attempt"]) == ("cancelled", 15, 1, 0)
            assert [event["type"] for event in shown["events"]].count("ready") == 1
            kept = json.loads(cortex(cluster, "logs", task_id, "--list", "--json"))["outputs"]
            assert [(each["node"], each["keeping"], each["fence"]) for each in kept] == [("n1", "kept", task.fence)]
    finally:
        cluster.close()
