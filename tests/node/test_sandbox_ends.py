"""How commands in a sandbox are bounded and ended, and what they used."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Cause, Requests
from node.supervisor.cgroups import Cgroups
from node.worker.port import StopOrder
from tests.node.sandbox_kit import (
    BOTH,
    DEFAULT,
    NONE,
    STRICT,
    Sandboxes,
    lines,
    needs_groups,
    needs_sandbox,
    sandboxes,
)
from tests.node.supervisor_kit import alive, family, until

pytestmark = needs_sandbox
MB = 10**6
PYTHON = "/usr/bin/python3"
# Children that stay until there is no room for one more.
BOMB = """
import os, time
count = 0
while True:
    try:
        if not os.fork():
            time.sleep(1000)
    except OSError:
        break
    count += 1
print(count)
"""
# A grandchild in a session and group of its own that is deaf to TERM and hides whose it is.
ESCAPE = "(setsid env -i /bin/sh -c 'trap \"\" TERM; echo away; while :; do sleep 1; done') & "


async def nobody_is_left(here: Sandboxes) -> None:
    await until(lambda: not family(here.watched.port.pid))


@needs_groups
@BOTH
async def test_a_fork_bomb_is_bounded(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path, pids=40) as here:
        said = lines(await here.end(here.begin(level, PYTHON, "-c", BOMB)))
        assert 10 < int(said[0]) < 40
        await nobody_is_left(here)


@needs_groups
@BOTH
async def test_a_memory_hog_is_out_of_memory(tmp_path: Path, level: int) -> None:
    hog = "x = bytearray(120 * 10**6)"
    async with sandboxes(tmp_path) as here:
        order = here.begin(level, PYTHON, "-c", hog, requests=Requests(memory_bytes=60 * MB))
        result = await here.end(order)
        assert result.cause == Cause.CAUSE_OUT_OF_MEMORY
        # Version 2 ends the whole group at once, with the process that would have told of 137.
        assert (result.exit_code, result.signal) in ((137, 0), (-1, 9))
        assert 50 * MB < result.max_rss_bytes <= 60 * MB
        order = here.begin(level, PYTHON, "-c", hog, requests=Requests(memory_bytes=300 * MB))
        result = await here.end(order)
        assert (result.cause, result.exit_code) == (0, 0)
        assert 120 * MB < result.max_rss_bytes <= 300 * MB


@BOTH
async def test_a_kill_by_somebody_else_is_not_want_of_memory(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        order = here.begin(level, "sh", "-c", "kill -9 $$", requests=Requests(memory_bytes=60 * MB))
        result = await here.end(order)
    assert (result.cause, result.exit_code) == (Cause.CAUSE_EXIT, 137)


def groups_of(pid: int) -> dict[str, str]:
    """By controller."""
    return dict(line.split(":")[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())


@needs_groups
async def test_cores_are_bounded(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as here:
        order = here.begin(DEFAULT, "sleep", "1000", requests=Requests(cpu_millis=500))
        pid = (await here.watched.started(order.key)).pid
        groups = groups_of(pid)
        if "cpu" in groups:
            bound, text = Path(f"/sys/fs/cgroup/cpu{groups['cpu']}/cpu.cfs_quota_us"), "50000\n"
        else:
            bound, text = Path(f"/sys/fs/cgroup{groups['']}/cpu.max"), "50000 100000\n"
        if not bound.exists():
            pytest.skip("needs the controller cpu, by itself")
        await until(lambda: bound.read_text() == text)


@BOTH
async def test_a_stop_reaches_the_command_and_its_code_is_kept(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        order = here.begin(
            level, "sh", "-c", "trap 'echo told; exit 5' TERM; echo up; while :; do sleep 0.05; done"
        )
        await here.watched.says(order, b"up")
        here.watched.port.stop([StopOrder(order.key, Cause.CAUSE_CANCEL, 60_000_000)])
        result = await here.end(order)
        assert (result.cause, result.exit_code, result.stdout.head) == (Cause.CAUSE_CANCEL, 5, b"up\ntold\n")
        assert family(here.watched.port.pid) == []


@BOTH
async def test_a_kill_reaches_who_left_session_and_group(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        order = here.begin(level, "sh", "-c", f"{ESCAPE} trap '' TERM; echo up; while :; do sleep 1; done")
        for word in (b"up", b"away"):
            await here.watched.says(order, word)
        here.watched.port.stop([StopOrder(order.key, Cause.CAUSE_CANCEL, 1000)])
        result = await here.end(order)
        assert (result.cause, result.signal) == (Cause.CAUSE_CANCEL, signal.SIGKILL)
        assert family(here.watched.port.pid) == []


@BOTH
async def test_killing_the_sandbox_kills_all_in_it(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        order = here.begin(level, "sh", "-c", f"{ESCAPE} echo up; sleep 1000")
        for word in (b"up", b"away"):
            await here.watched.says(order, word)
        os.kill((await here.watched.started(order.key)).pid, signal.SIGKILL)
        result = await here.end(order)
        assert (result.cause, result.signal) == (Cause.CAUSE_SIGNAL, signal.SIGKILL)
        assert family(here.watched.port.pid) == []


@BOTH
async def test_killing_the_supervisor_kills_all_in_its_sandboxes(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        order = here.begin(level, "sh", "-c", f"{ESCAPE} echo up; sleep 1000")
        for word in (b"up", b"away"):
            await here.watched.says(order, word)
        pids = family(here.watched.port.pid)
        assert len(pids) >= 4
        os.kill(here.watched.port.pid, signal.SIGKILL)
        await until(lambda: not any(map(alive, pids)))


@BOTH
async def test_who_is_left_when_a_command_ends_ends_with_it(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        result = await here.run(level, f"{ESCAPE} sleep 0.1; exit 4")
        assert (result.cause, result.exit_code) == (Cause.CAUSE_EXIT, 4)
        assert family(here.watched.port.pid) == []


@BOTH
async def test_a_stop_before_the_command_began_ends_it_at_once(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        order = here.begin(level, "sleep", "1000")
        await here.watched.started(order.key)
        here.watched.port.stop([StopOrder(order.key, Cause.CAUSE_CANCEL, 600_000_000)])
        assert (await here.end(order)).cause == Cause.CAUSE_CANCEL
        assert family(here.watched.port.pid) == []


@BOTH
async def test_what_a_sandbox_used_is_counted_with_its_command(tmp_path: Path, level: int) -> None:
    burn = "import os\nwhile os.times().user < 0.1: sum(range(10000))"
    async with sandboxes(tmp_path) as here:
        result = await here.end(here.begin(level, PYTHON, "-c", burn))
        assert result.user_us >= 100_000


@pytest.mark.parametrize("level", [NONE, DEFAULT, STRICT], ids=["none", "default", "strict"])
async def test_rlimits_are_as_configured(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path, open_files=77, file_bytes=8192) as here:
        script = "ulimit -c; head -c 9000 /dev/zero > large"
        if level == NONE:  # there they are set right after the spawn
            script = f"until [ $(ulimit -n) = 77 ]; do sleep 0.01; done; {script}"
        else:
            script = f"[ $(ulimit -Hn) = 77 ] || exit 2; {script}"
        result = await here.run(level, script)
        assert result.stdout.head == b"0\n"
        assert result.exit_code in (1, 153)
        (large,) = (tmp_path / "work").glob("[0-9]*/large")
        assert large.stat().st_size == 8192


async def test_rlimits_that_the_machine_refuses_keep_a_command_from_starting(tmp_path: Path) -> None:
    async with sandboxes(tmp_path, open_files=1 << 60) as here:
        result = await here.run(NONE, "sleep 1000 & setsid sleep 1000 & wait")
        assert (result.cause, result.error.split(":")[0]) == (Cause.CAUSE_CANNOT_START, "Its bounds cannot be set")
        await nobody_is_left(here)


@needs_groups
async def test_bounds_that_cannot_be_set_leave_no_group(tmp_path: Path) -> None:
    async with sandboxes(tmp_path, pids=1 << 60) as here:
        first = here.begin(DEFAULT, "sleep", "1000")
        assert (await here.end(first)).cause == Cause.CAUSE_CANNOT_START
        await nobody_is_left(here)
        await here.run(DEFAULT, "sleep 1000")  # what could not be removed at once goes before the next one
        box = Cgroups((tmp_path / "supervisor" / "identity").read_text().strip()).find(
            first.output.rpartition("/")[2]
        )
        assert box is not None
        assert not any(Path(folder).exists() for folder in box.folders)  # noqa: ASYNC240


@BOTH
async def test_a_command_in_a_sandbox_has_as_many_descriptors_as_any_other(tmp_path: Path, level: int) -> None:
    async with sandboxes(tmp_path) as here:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # the supervisor, which takes more, began with it
        assert lines(await here.run(level, "ulimit -Sn")) == [str(soft)]


async def test_what_is_written_to_disks_is_counted(tmp_path: Path) -> None:
    async with sandboxes(tmp_path) as here:
        script = "dd if=/dev/zero of=x bs=1M count=3 conv=fsync 2>/dev/null; stat -f -c %T ."
        result = await here.run(NONE, script)
        if lines(result) == ["tmpfs"]:
            pytest.skip("needs a temporary folder on a disk")
        assert result.written_bytes >= 3 << 20
