"""Commands that misbehave, on a real daemon: whatever they do has one end, and it is told as what it is."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, eventually, shell, state_name, wait_all_ended
from tests.gate import gate_in, opened
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e

LIMIT_BYTES = 64 * 1024 * 1024
TOGETHER = 2_000
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("c"), voters=1, environment={"CORTEX_SLOTS": str(TOGETHER)})
    made.start()
    yield made
    made.close()


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[ClusterClient]:
    async with cluster.client() as opened:
        await cluster.leader(opened)
        yield opened


async def ended(client: ClusterClient, request: cluster_pb2.TaskRequest) -> types_pb2.Task:
    task_id = (await client.submit(request)).id
    await wait_all_ended(client, {task_id}, PATIENCE_S)
    return (await client.get_task(task_id)).task


async def output(client: ClusterClient, task: types_pb2.Task) -> tuple[int, str]:
    """Length and SHA-256 of stdout as anybody can read it."""
    digest, length = hashlib.sha256(), 0
    async for reply in client.output(task.id, cluster_pb2.STREAM_KIND_STDOUT):
        digest.update(reply.data)
        length += len(reply.data)
    return length, digest.hexdigest()


async def first_line(client: ClusterClient, task_id: str) -> str:
    """What the command said first, once it has."""
    said = b""
    async with asyncio.timeout(PATIENCE_S):
        async for reply in client.output(task_id, cluster_pb2.STREAM_KIND_STDOUT, follow=True):
            said += reply.data
            if b"\n" in said:
                break
    return said.split(b"\n")[0].decode()


def lives(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


async def gone(*pids: int) -> None:
    async def check() -> str:
        return "" if any(lives(pid) for pid in pids) else "gone"

    await eventually(check)


async def test_output_beyond_the_limit_is_counted_and_left_out(client: ClusterClient) -> None:
    task = await ended(client, shell("head -c 100000000 /dev/zero; echo the end >&2"))
    summary = task.result.stdout
    assert state_name(task) == "completed"
    assert (summary.total_bytes, summary.dropped_bytes) == (100_000_000, 100_000_000 - LIMIT_BYTES)
    assert task.result.stderr.head == b"the end\n"
    assert await output(client, task) == (LIMIT_BYTES, summary.sha256.hex())
    assert summary.sha256 == hashlib.sha256(bytes(LIMIT_BYTES)).digest()


async def test_one_line_of_50_mb_is_kept_whole(client: ClusterClient) -> None:
    task = await ended(client, shell("head -c 50000000 /dev/zero | tr '\\0' x"))
    assert await output(client, task) == (50_000_000, hashlib.sha256(b"x" * 50_000_000).hexdigest())
    assert (len(task.result.stdout.head), len(task.result.stdout.tail)) == (4096, 12288)


async def test_arguments_environment_and_output_are_bytes(client: ClusterClient) -> None:
    request = shell("")
    request.spec.ClearField("shell_command")
    request.spec.argv.extend([b"sh", b"-c", b'printf %s "$1$VALUE"', b"sh", b"\xff\xfe\x1b[31m"])
    request.spec.env.add(name="VALUE", value=b"\x80\n")
    task = await ended(client, request)
    assert task.result.stdout.head == b"\xff\xfe\x1b[31m\x80\n"
    assert list(task.spec.argv)[-1] == b"\xff\xfe\x1b[31m"


async def test_a_command_that_closes_its_output_is_waited_for(client: ClusterClient, tmp_path: Path) -> None:
    gate = gate_in(tmp_path)
    task_id = (await client.submit(shell(f"echo $$; exec >&- 2>&-; : <{gate}; exit 5"))).id
    await first_line(client, task_id)

    async def runs() -> str:
        return "yes" if state_name((await client.get_task(task_id)).task) == "running" else ""

    await eventually(runs)
    with opened(gate):
        task = (await wait_all_ended(client, {task_id}, PATIENCE_S))[task_id]
    assert (task.result.exit_code, task.cause) == (5, types_pb2.CAUSE_EXIT)


async def test_stdin_is_empty(client: ClusterClient) -> None:
    task = await ended(client, shell("cat; readlink /proc/self/fd/0"))
    assert task.result.stdout.head == b"/dev/null\n"


async def test_whoever_ignores_term_is_killed(client: ClusterClient) -> None:
    request = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    request.spec.kill_timeout_ms = 300
    task_id = (await client.submit(request)).id
    assert await first_line(client, task_id) == "ready"
    await client.cancel([task_id], "enough")
    await wait_all_ended(client, {task_id}, PATIENCE_S)
    task = (await client.get_task(task_id)).task
    assert (state_name(task), task.result.signal, task.cancel_reason) == ("cancelled", signal.SIGKILL, "enough")
    assert task.result.stdout.head == b"ready\n"


@pytest.mark.parametrize("end", ["cancel", "by itself"])
async def test_a_grandchild_in_a_session_of_its_own_goes_too(client: ClusterClient, end: str) -> None:
    last = "wait" if end == "cancel" else "exit 0"
    request = shell(f"setsid sh -c 'echo $$; trap \"\" TERM HUP; while :; do sleep 1; done' & {last}")
    request.spec.kill_timeout_ms = 1_000
    task_id = (await client.submit(request)).id
    grandchild = int(await first_line(client, task_id)) if end == "cancel" else 0
    if end == "cancel":
        await client.cancel([task_id])
    task = (await wait_all_ended(client, {task_id}, PATIENCE_S))[task_id]
    assert state_name(task) == ("cancelled" if end == "cancel" else "completed")
    said = (await client.get_task(task_id)).task.result.stdout.head
    await gone(*(pid for pid in [grandchild, *map(int, said.split())] if pid))


async def test_a_command_that_stops_itself_meets_its_timeout(client: ClusterClient) -> None:
    request = shell("echo $$; kill -STOP $$; echo never")
    request.spec.timeout_ms, request.spec.kill_timeout_ms = 3_000, 500
    task = await ended(client, request)
    assert (state_name(task), task.cause) == ("dead_letter", types_pb2.CAUSE_TIMEOUT)
    assert task.error.startswith("The command ran longer than its timeout of 3 s")
    assert b"never" not in task.result.stdout.head
    # None where it had no time to say so.
    await gone(*map(int, task.result.stdout.head.split()))


async def test_2_000_tasks_that_end_at_once(client: ClusterClient, tmp_path: Path) -> None:
    gate = gate_in(tmp_path)
    requests = [shell(f": <{gate}; exit {number % 2}") for number in range(TOGETHER)]
    ids = set((await client.submit_batch(requests)).ids)

    async def all_run() -> str:
        page = await client.list_tasks(states=[types_pb2.TASK_STATE_RUNNING], limit=1)
        return "yes" if page.total == TOGETHER else ""

    await eventually(all_run, PATIENCE_S)
    with opened(gate):
        tasks = await wait_all_ended(client, ids, PATIENCE_S)
    assert Counter(state_name(task) for task in tasks.values()) == {"completed": 1_000, "dead_letter": 1_000}
    assert {task.run for task in tasks.values()} == {1}
    assert not any(task.losses for task in tasks.values())


async def test_a_killed_supervisor_is_a_loss_and_the_task_runs_once_more(
    cluster: Cluster, client: ClusterClient, tmp_path: Path
) -> None:
    gate = gate_in(tmp_path)
    task_id = (await client.submit(shell(f"echo $$; : <{gate}; echo done"))).id
    first = int(await first_line(client, task_id))
    before = (await client.get_task(task_id)).task
    os.kill(int((cluster.nodes["n1"].data / "supervisor.pid").read_text()), signal.SIGKILL)

    async def again() -> str:
        task = (await client.get_task(task_id)).task
        return "yes" if task.fence != before.fence and state_name(task) == "running" else ""

    await eventually(again, PATIENCE_S)
    assert not lives(first)
    with opened(gate):
        task = (await wait_all_ended(client, {task_id}, PATIENCE_S))[task_id]
    events = (await client.get_task(task_id)).events
    kinds = Counter(event.type for event in events)
    assert (state_name(task), task.attempt, task.run, task.losses) == ("completed", 0, 1, 1)
    assert (kinds[types_pb2.EVENT_TYPE_LOST], kinds[types_pb2.EVENT_TYPE_COMPLETED]) == (1, 1)
    lost = next(event for event in events if event.type == types_pb2.EVENT_TYPE_LOST)
    assert "The supervisor of its node ended while it ran." in lost.detail
