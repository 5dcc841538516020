"""No signal reaches a process that was given the number of another one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.supervisor import kin, wire
from node.supervisor.attempt import Attempt, Order
from node.supervisor.capture import Capture
from node.supervisor.family import Family
from node.supervisor.journal import Journal, Mark
from node.supervisor.main import read_boot_id
from node.supervisor.remnants import began_as
from node.worker.port import HeldState
from tests.node.supervisor_kit import Watched, alive, boot_us, end, kill, until

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
_TRIES = 200


def spawn(*, session: bool = True) -> int:
    return os.posix_spawn("/bin/sleep", ["sleep", "1000"], {}, setsid=session)


def bury(pid: int) -> None:
    kill(pid)
    os.waitpid(pid, 0)


def spawn_after(last: int) -> int:
    """A process with the number after `last`, if nobody else gets that first."""
    try:
        LAST_PID.write_text(str(last))
    except OSError:
        pytest.skip("the kernel's next number cannot be set: this needs root in the pid namespace")
    return spawn()


async def successor_of(pid: int) -> int:
    """A process of a later start with the number `pid`, which is free. Skips where the kernel gives no numbers."""
    ticks = boot_us() // TICK_US
    await until(lambda: boot_us() // TICK_US > ticks)
    for _ in range(_TRIES):
        found = spawn_after(pid - 1)
        if found == pid:
            return found
        bury(found)
    pytest.skip("the number went to processes of others each time")


@pytest.fixture
def sleeper() -> Iterator[int]:
    pid = spawn()
    yield pid
    bury(pid)


def ordered(**changes: object) -> Order:
    values = dict.fromkeys(wire.ORDER_FIELDS, 0) | {"key": "t.1", "lease_end_us": -1, "limits": {}} | changes
    return Order(tuple(values[name] for name in wire.ORDER_FIELDS))


async def test_a_signal_is_for_the_process_that_was_found(sleeper: int) -> None:
    first = spawn()
    process = kin.identified(first)
    bury(first)
    second = await successor_of(first)
    try:
        assert not kin.is_same(process)
        kin.send(process, signal.SIGKILL)
        kin.send((sleeper, kin.start_ticks(sleeper) + 1), signal.SIGKILL)
        assert alive(second)
        assert alive(sleeper)
        kin.send(kin.identified(second), signal.SIGKILL)
        await until(lambda: not alive(second))
    finally:
        bury(second)


def test_without_descriptors_the_right_process_is_signalled_all_the_same(
    sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_pid: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", none_left)
    number, start = kin.identified(sleeper)
    kin.send((number, start + 1), signal.SIGKILL)
    assert alive(sleeper)
    kin.send((number, start), signal.SIGKILL)
    assert os.waitid(os.P_PID, sleeper, os.WEXITED | os.WNOWAIT) is not None
    kin.send((number, start), signal.SIGKILL)  # as a zombie it keeps its number


def test_a_group_is_signalled_only_while_its_number_is_ours() -> None:
    """The group of an attempt that was reaped, whose number a process of somebody else's leads by now."""
    script = "setsid sh -c 'echo $$; exec sleep 1000' & exec sleep 1000"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        foreign = int(parent.stdout.readline())
        try:
            assert os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOHANG) is None
            attempt = Attempt(ordered(), foreign, Capture(-1, -1, "", 0), Capture(-1, -1, "", 0), 0)
            attempt.pid = 0
            family = Family("identity")
            family.signal(attempt, [], signal.SIGKILL)
            assert alive(foreign)
            attempt.pid = foreign  # were it a child that is not reaped yet
            family.signal(attempt, [], signal.SIGKILL)
        finally:
            kill(foreign)
            parent.kill()


def test_descendants_of_a_number_that_changed_hands_are_not_taken(
    sleeper: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 1000 & echo; wait"], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        (child,) = kin.children(parent.pid)
        try:
            assert kin.Kin().descendants(parent.pid) == [kin.identified(child)]
            monkeypatch.setattr(kin, "children", lambda _pid: [child, sleeper])
            assert kin.Kin().descendants(parent.pid) == [kin.identified(child)], "a child of somebody else"
            starts = iter(range(1, 10))
            monkeypatch.setattr(kin, "start_ticks", lambda _pid: next(starts))
            assert kin.Kin().descendants(parent.pid) == [], "the parent is another process by now"
        finally:
            kill(child)
            parent.kill()


async def test_a_mark_whose_number_was_given_again_harms_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "supervisor"
    folder.mkdir()
    journal = Journal(str(folder), read_boot_id())
    begun_us = boot_us()
    first = spawn()
    journal.mark("a.1", begun_us)
    journal.spawned("a.1", first, begun_us, boot_us())
    journal.flush()
    assert began_as(kin.identified(first), journal.marks["a.1"])
    bury(first)
    second = await successor_of(first)
    watched = Watched(tmp_path)
    try:
        assert [held.state for held in (await watched.start()).attempts] == [HeldState.LOST]
        assert alive(second)
        await watched.port.quit()
    finally:
        bury(second)
        end(tmp_path)


def test_a_mark_knows_its_process_by_the_time_of_its_start() -> None:
    mark = Mark(0, "boot", 42, begun_us=1_000_000, spawned_us=1_015_000)
    starts = {1_000_000 - 2 * TICK_US: False, 1_000_000 - TICK_US: True, 1_010_000: True, 1_020_000: False}
    for started_us, same in starts.items():
        assert began_as((42, started_us // TICK_US), mark) is same, started_us
