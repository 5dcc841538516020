"""Commands that take all they can get, and machines that have nothing left, on a real daemon."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, eventually, shell, state_name, wait_all_ended
from tests.gate import gate_in, opened
from tui.link.client import ClusterClient

pytestmark = pytest.mark.e2e

CGROUPS = Path("/sys/fs/cgroup")
KEPT_BYTES = 64 * 1024 * 1024
GIGABYTE = 1_000_000_000
PATIENCE_S = 120.0
# Reaps none of its 300 children, each of which leaves one of its own that belongs to nobody then.
ZOMBIE_MAKER = """
import os, time
for _ in range(300):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.01)
        os._exit(0)
print(os.getppid(), flush=True)
open({gate!r})
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("c"), voters=1, environment={"CORTEX_SLOTS": "50"})
    made.start()
    yield made
    made.close()


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[ClusterClient]:
    async with cluster.client() as opened:
        await cluster.leader(opened)
        yield opened


@contextmanager
def cgroup(controller: str, limits: dict[str, int]) -> Iterator[Path]:
    """A cgroup of version 1 with these limits; what is left in it goes to the root. Skips where it cannot be."""
    folder = CGROUPS / controller / f"cortex-test-{os.getpid()}"
    try:
        folder.mkdir()
        for name, value in limits.items():
            (folder / name).write_text(str(value))
    except OSError:
        pytest.skip(f"no {controller} cgroup can be made here")
    try:
        yield folder
    finally:
        while left := (folder / "cgroup.procs").read_text().split():
            for pid in left:
                with suppress(ProcessLookupError):
                    (CGROUPS / controller / "cgroup.procs").write_text(pid)
        folder.rmdir()


def supervisor_pid(cluster: Cluster) -> int:
    return int((cluster.nodes["n1"].data / "supervisor.pid").read_text())


def peak_kb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])


def children(pid: int) -> list[int]:
    """Children of `pid`; none of a process that has ended."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def dead_children(pid: int) -> int:
    """How many children of `pid` wait to be reaped."""
    return sum(is_zombie(child) for child in children(pid))


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except OSError:
        return False


async def ended(client: ClusterClient, request: cluster_pb2.TaskRequest) -> types_pb2.Task:
    task_id = (await client.submit(request)).id
    await wait_all_ended(client, {task_id}, PATIENCE_S)
    return (await client.get_task(task_id)).task


async def test_a_gigabyte_in_one_line_takes_no_memory(cluster: Cluster, client: ClusterClient) -> None:
    daemon = cluster.nodes["n1"].process
    assert daemon is not None
    pids = (daemon.pid, supervisor_pid(cluster))
    before = [peak_kb(pid) for pid in pids]
    task = await ended(client, shell(f"head -c {GIGABYTE} /dev/zero"))
    summary = task.result.stdout
    assert (state_name(task), summary.total_bytes) == ("completed", GIGABYTE)
    assert summary.dropped_bytes == GIGABYTE - KEPT_BYTES
    assert summary.sha256 == hashlib.sha256(bytes(KEPT_BYTES)).digest()
    grown = [peak_kb(pid) - old for pid, old in zip(pids, before, strict=True)]
    assert max(grown) < 100_000, grown
    assert grown[1] < 4_000, "the supervisor holds nothing of what is in the file"


async def test_a_fork_bomb_ends_with_its_task(client: ClusterClient) -> None:
    with cgroup("pids", {"pids.max": 150}) as folder:
        request = shell(
            f"echo $$ >{folder}/cgroup.procs; bomb() {{ bomb | bomb & }}; bomb; while :; do sleep 1; done"
        )
        request.spec.kill_timeout_ms = 1_000
        task_id = (await client.submit(request)).id

        async def full() -> str:
            refused = (folder / "pids.events").read_text().split()[1]
            return "yes" if int(refused) else ""

        await eventually(full, PATIENCE_S)
        await client.cancel([task_id], "a bomb")
        task = (await wait_all_ended(client, {task_id}, PATIENCE_S))[task_id]
        assert state_name(task) in ("cancelled", "dead_letter")

        async def empty() -> str:
            return "" if int((folder / "pids.current").read_text()) else "yes"

        await eventually(empty, PATIENCE_S)


async def test_whoever_takes_all_memory_is_told_so(client: ClusterClient) -> None:
    with cgroup("memory", {"memory.limit_in_bytes": 60_000_000}) as folder:
        hog = f'{sys.executable} -c "all = [bytearray(1 << 20) for _ in range(1000)]"'
        task = await ended(client, shell(f"echo $$ >{folder}/cgroup.procs; exec {hog}"))
    assert (state_name(task), task.cause) == ("dead_letter", types_pb2.CAUSE_OUT_OF_MEMORY)


async def test_what_a_zombie_maker_leaves_is_reaped(
    cluster: Cluster, client: ClusterClient, tmp_path: Path
) -> None:
    gate = gate_in(tmp_path)
    request = shell("")
    request.spec.ClearField("shell_command")
    script = ZOMBIE_MAKER.format(gate=str(gate))
    request.spec.argv.extend(word.encode() for word in (sys.executable, "-c", script))
    task_id = (await client.submit(request)).id
    supervisor = supervisor_pid(cluster)

    async def orphans_reaped() -> str:
        task = (await client.get_task(task_id)).task
        family = children(supervisor)
        return "yes" if state_name(task) == "running" and [dead_children(pid) for pid in family] == [300] else ""

    await eventually(orphans_reaped, PATIENCE_S)
    with opened(gate):
        assert state_name((await wait_all_ended(client, {task_id}, PATIENCE_S))[task_id]) == "completed"

    async def none_left() -> str:
        return "" if dead_children(supervisor) else "yes"

    await eventually(none_left, PATIENCE_S)


async def test_a_machine_without_processes_left_starts_later_and_fails_nothing(
    cluster: Cluster, client: ClusterClient, tmp_path: Path
) -> None:
    gate = gate_in(tmp_path)
    request = shell(f": <{gate}")
    with cgroup("pids", {"pids.max": 4}) as folder:
        (folder / "cgroup.procs").write_text(str(supervisor_pid(cluster)))
        ids = set((await client.submit_batch([request] * 20)).ids)

        async def refused() -> str:
            return "yes" if int((folder / "pids.events").read_text().split()[1]) else ""

        await eventually(refused, PATIENCE_S)
        with opened(gate):
            tasks = await wait_all_ended(client, ids, PATIENCE_S)
    assert {state_name(task) for task in tasks.values()} == {"completed"}
    assert {(task.attempt, task.run, task.losses) for task in tasks.values()} == {(0, 1, 0)}


async def test_10_000_tasks_that_end_as_soon_as_they_begin(client: ClusterClient) -> None:
    request = cluster_pb2.TaskRequest(spec=types_pb2.TaskSpec(type=types_pb2.TASK_TYPE_NOOP))
    ids = set((await client.submit_batch([request] * 10_000)).ids)
    assert len(ids) == 10_000
    tasks = await wait_all_ended(client, ids, PATIENCE_S)
    assert {(state_name(task), task.attempt, task.run) for task in tasks.values()} == {("completed", 0, 1)}
