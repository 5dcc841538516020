"""What the supervisor tells of commands that run on, why it does not start, and whether memory ran out."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Cause
from node.supervisor import main, wire
from node.supervisor.attempt import UNKILLABLE_US, Attempt, Order
from node.supervisor.capture import Capture
from node.supervisor.memory import OutOfMemory
from node.worker.port import Finished, Lease, Quiet, Started, StopOrder, Unkillable
from tests.node.supervisor_kit import Watched, boot_us, supervised

MEMORY = Path("/sys/fs/cgroup/memory")
HOG = "x = bytearray(200_000_000)"


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with supervised(tmp_path) as found:
        yield found


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup of 60 MB."""
    folder = MEMORY / f"cortex-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text("60000000")
    except OSError:
        pytest.skip("no memory cgroup can be made here")
    yield folder
    folder.rmdir()


async def test_a_command_killed_by_its_cgroup_ran_out_of_memory(watched: Watched, small_cgroup: Path) -> None:
    enter = f'echo $$ > {small_cgroup}/cgroup.procs; exec python3 -c "{HOG}"'
    result = await watched.run("sh", "-c", enter)
    assert (result.cause, result.signal) == (Cause.CAUSE_OUT_OF_MEMORY, 9)


async def test_a_child_killed_by_its_cgroup_counts_when_the_shell_says_so(
    watched: Watched, small_cgroup: Path
) -> None:
    enter = f'echo $$ > {small_cgroup}/cgroup.procs; python3 -c "{HOG}"; exit $?'
    result = await watched.run("sh", "-c", enter)
    assert (result.cause, result.exit_code) == (Cause.CAUSE_OUT_OF_MEMORY, 137)


async def test_a_kill_without_evidence_is_a_signal(watched: Watched) -> None:
    result = await watched.run("sh", "-c", "kill -9 $$")
    assert (result.cause, result.signal) == (Cause.CAUSE_SIGNAL, 9)
    result = await watched.run("sh", "-c", "exit 137")
    assert (result.cause, result.exit_code) == (Cause.CAUSE_EXIT, 137)


def test_evidence_is_a_counter_that_rose_where_the_process_was(tmp_path: Path) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "7").mkdir(parents=True)
    mine, other = cgroups / "mine", cgroups / "other"
    mine.mkdir(parents=True)
    other.mkdir()

    def machine(count: int) -> None:
        (proc / "vmstat").write_text(f"nr_free_pages 1\noom_kill {count}\n")

    def group(folder: Path, count: int) -> None:
        (folder / "memory.events").write_text(f"low 0\noom 9\noom_kill {count}\n")

    machine(3)
    group(mine, 1)
    group(other, 0)
    (proc / "7" / "cgroup").write_text("0::/mine\n")
    reader = OutOfMemory(str(proc), str(cgroups))
    since = reader.begin(5_000_000)
    assert since == 3
    assert not reader.ended(7, since), "nothing rose"
    machine(4)
    group(mine, 2)
    assert reader.ended(7, since)
    machine(5)
    assert not reader.ended(7, since), "that kill was explained, the new one was elsewhere"
    (proc / "7" / "cgroup").write_text("0::/away\n")
    assert reader.ended(7, since), "its cgroup is gone: the machine's counter is all there is"
    (proc / "vmstat").unlink()
    assert not reader.ended(7, since)


async def test_silence_is_told_once_and_output_ends_it(watched: Watched) -> None:
    order = watched.order("sh", "-c", "echo x; sleep 1000", stall_us=700_000, idle_us=500_000)
    watched.port.spawn([order])
    idle = await watched.wait(lambda: watched.of(Quiet, order.key))
    assert idle.idle
    stalled = await watched.wait(lambda: _stalled(watched))
    assert stalled.quiet_us >= 700_000
    notices = [event for event in watched.events if isinstance(event, Quiet)]
    assert len(notices) == 2


def _stalled(watched: Watched) -> Quiet | None:
    return next((event for event in watched.events if isinstance(event, Quiet) and not event.idle), None)


async def test_a_command_that_writes_is_not_quiet(watched: Watched) -> None:
    writes = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do echo x; sleep 0.3; done"
    order = watched.order("sh", "-c", writes, stall_us=4_000_000)
    watched.port.spawn([order])
    await watched.result(order.key)
    assert watched.of(Quiet, order.key) is None


async def test_what_may_not_start_any_more_waits_for_a_renewal(watched: Watched) -> None:
    late = watched.order("true", start_before_us=boot_us() - 1)
    watched.port.spawn([late])
    other = watched.order("true", start_before_us=boot_us() + 60_000_000)
    watched.port.spawn([other])
    await watched.result(other.key)
    assert watched.of(Started, late.key) is None
    watched.port.renew({late.key: Lease(-1, boot_us() + 60_000_000)})
    await watched.result(late.key)


def test_unkillable_is_said_a_minute_after_kill() -> None:
    values = dict.fromkeys(wire.ORDER_FIELDS, 0) | wire.ORDER_DEFAULTS
    values |= {"key": "t.1", "lease_end_us": -1, "success_codes": ()}
    order = Order(tuple(values[name] for name in wire.ORDER_FIELDS))
    attempt = Attempt(order, 4711, Capture(-1, -1, "", 0), Capture(-1, -1, "", 0), spawned_us=0)
    attempt.begin_stop(wire.CAUSE_CANCEL, 5_000_000, now_us=0)
    assert attempt.notices(UNKILLABLE_US * 2) == [], "KILL was not sent yet"
    attempt.kill_again(5_000_000)
    attempt.kill_again(5_100_000)
    assert attempt.notices(5_000_000 + UNKILLABLE_US - 1) == []
    ((kind, key, sentence),) = attempt.notices(5_000_000 + UNKILLABLE_US)
    assert (kind, key) == ("unkillable", "t.1")
    assert "4711" in str(sentence)
    assert attempt.notices(5_000_000 + 2 * UNKILLABLE_US) == []
    attempt.said.clear()
    assert attempt.notices(5_000_000 + 2 * UNKILLABLE_US), "a daemon that comes back is told again"


IMPATIENT = """
import sys
from node.supervisor import attempt, main
attempt.UNKILLABLE_US = 300_000
sys.exit(main.main(["--data", sys.argv[1]]))
"""


@pytest.fixture
def freezer() -> Iterator[Path]:
    """A cgroup whose processes do not even die while they are frozen."""
    folder = Path("/sys/fs/cgroup/freezer") / f"cortex-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no freezer cgroup can be made here")
    yield folder
    (folder / "freezer.state").write_text("THAWED")
    # A version 1 cgroup has no event for its last process going.
    while (folder / "cgroup.procs").read_text():
        time.sleep(0.01)
    folder.rmdir()


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose supervisor calls a command unkillable 0.3 s after KILL."""
    root = Path(main.__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", IMPATIENT, str(tmp_path)], cwd=root, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
    yield tmp_path
    process.wait()


async def test_what_kill_does_not_end_is_told_and_ends_when_it_can(impatient: Path, freezer: Path) -> None:
    async with supervised(impatient) as watched:
        order = watched.order("sh", "-c", f"echo $$ > {freezer}/cgroup.procs; echo in; exec sleep 60")
        watched.port.spawn([order])
        await watched.says(order, b"in")
        (freezer / "freezer.state").write_text("FROZEN")
        watched.port.stop([StopOrder(order.key, Cause.CAUSE_CANCEL, 10_000)])
        told = await watched.wait(lambda: watched.of(Unkillable, order.key))
        assert "outlived KILL" in told.reason
        assert watched.of(Finished, order.key) is None
        (freezer / "freezer.state").write_text("THAWED")
        assert (await watched.result(order.key)).cause == Cause.CAUSE_CANCEL


async def test_a_working_directory_behind_a_link_that_leads_nowhere_cannot_start(
    watched: Watched, tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "away").symlink_to("/nonexistent/place")
    for name in ("loop", "away"):
        result = await watched.run("true", cwd=str(tmp_path / name))
        assert result.cause == Cause.CAUSE_CANNOT_START
        assert f"Working directory {tmp_path / name}" in result.error
