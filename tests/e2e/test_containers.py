"""Containers by the command line: output, exit code, the death of a daemon, a cancel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex.v1 import types_pb2
from tests.e2e.harness import Cluster
from tests.node.container_kit import IMAGE, Real, real_engine
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e

PATIENCE_S = 120.0
CONTAINER = ("--type", "container", "--set", f"image={IMAGE}")


@pytest.fixture
def engine() -> Iterator[Real]:
    with real_engine() as made:
        yield made


async def reached(client: ClusterClient, task_id: str, state: types_pb2.TaskState.ValueType) -> types_pb2.Task:
    async with asyncio.timeout(PATIENCE_S):
        async for reply in client.watch(0):
            for change in reply.changes:
                if change.task.id == task_id and change.task.state == state:
                    return change.task
    raise AssertionError("the watch ended")


async def test_containers_from_submit_to_their_ends(engine: Real, tmp_path: Path) -> None:
    settings = json.dumps({"container": dict(engine.options)})
    cluster = Cluster(tmp_path / "c", voters=1, environment={"CORTEX_EXECUTOR": settings, "CORTEX_LEASE_MS": "10m"})
    cluster.start()
    try:
        async with cluster.client() as client:
            await cluster.leader(client)
            ran = await asyncio.to_thread(
                cluster.cortex, "submit", *CONTAINER, "--wait", "--", "sh", "-c", "echo hi; exit 7"
            )
            assert (ran.stdout, ran.returncode) == (b"hi\n", 7), cluster.logs()
            task_id = (
                cluster.cortex("submit", *CONTAINER, "--kill-timeout", "1s", "--", "sleep", "1000")
                .stdout.decode()
                .strip()
            )
            await reached(client, task_id, types_pb2.TASK_STATE_RUNNING)
            while f"cortex-{task_id}-" not in engine.call("ps"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            cluster.kill("n1")
            cluster.start()
            await cluster.leader(client)
            cluster.cortex("cancel", task_id)
            task = await reached(client, task_id, types_pb2.TASK_STATE_CANCELLED)
            assert engine.names() == []
            assert (task.attempt, task.losses, task.run) == (0, 0, 1)
    finally:
        cluster.close()
