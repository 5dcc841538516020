"""Python tasks by the command line: how far they are, what they wrote, a crash, a cancel, a daemon that dies."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.harness import Cluster, eventually, state_name
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e

HANDLERS = """
import os, time
from node.pool import Cancelled, handler

@handler("paint")
def paint(context, go):
    print("begun")
    context.progress(3, 10, "sky")
    try:
        while not os.path.exists(go):
            time.sleep(0.01)
    except Cancelled:
        print("cleaned up")
        raise
    return {"colour": "blue"}

@handler("falter")
def falter(context):
    print("attempt", context.attempt)
    if not context.attempt:
        os._exit(9)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("c")
    (folder / "painting.py").write_text(HANDLERS)
    pool = {"python": {"modules": ["painting"], "path": [str(folder)], "size": 1}}
    made = Cluster(folder, voters=1, environment={"CORTEX_EXECUTOR": json.dumps(pool)})
    made.start()
    yield made
    made.close()
    with suppress(OSError, ValueError):
        os.kill(int((made.nodes["n1"].data / "pool" / "pid").read_text()), signal.SIGTERM)


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[ClusterClient]:
    async with cluster.client() as opened:
        await cluster.leader(opened)
        yield opened


def submitted(cluster: Cluster, handler: str, *more: str) -> str:
    ran = cluster.cortex("submit", "--type", "python", "--set", f"handler={handler}", *more)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.decode().strip()


async def tells(client: ClusterClient, task_id: str) -> None:
    """Wait until the cluster knows how far the task is."""

    async def known() -> str:
        return "yes" if (await client.get_task(task_id)).HasField("progress") else ""

    await eventually(known)


async def test_progress_is_told_while_it_runs_and_again_after_its_daemon_died(
    cluster: Cluster, client: ClusterClient, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    task = submitted(cluster, "paint", "--set", f"data.go={go}")
    await tells(client, task)
    document = json.loads(cluster.cortex("task", task, "--json").stdout)
    at = document["progress"].pop("at")
    assert at > document["started_at"]
    assert document["progress"] == {"current": 3, "total": 10, "message": "sky"}
    assert b"3 of 10 (30 %): sky" in cluster.cortex("tasks").stdout
    cluster.kill()
    cluster.start()
    await cluster.leader(client)
    await tells(client, task)
    go.touch()
    ran = cluster.cortex("wait", task)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"begun\n", b"")
    reply = await client.get_task(task)
    assert not reply.HasField("progress")
    assert json.loads(reply.task.result.document) == {"colour": "blue"}


async def test_a_crash_is_retried(cluster: Cluster, client: ClusterClient) -> None:
    task = submitted(cluster, "falter", "--retries", "1")
    ran = cluster.cortex("wait", task)
    assert ran.returncode == 0
    assert ran.stdout.endswith(b"attempt 1\n")
    (failure,) = (await client.get_task(task)).task.failures
    assert failure.error == "Handler falter took its worker with it: exit status 9."


async def test_a_cancel_reaches_the_handler(cluster: Cluster, client: ClusterClient) -> None:
    task = submitted(cluster, "paint", "--set", "data.go=/nonexistent")
    await tells(client, task)
    assert cluster.cortex("cancel", task).returncode == 0
    ran = cluster.cortex("wait", task)
    assert (ran.returncode, ran.stdout) == (143, b"begun\ncleaned up\n")
    assert state_name((await client.get_task(task)).task) == "cancelled"
    assert b"capability python:absent missing" in cluster.cortex("why", submitted(cluster, "absent")).stdout
