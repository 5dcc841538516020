"""Commands through a real supervisor: exit, output, what cannot start."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Cause
from node.supervisor import wire
from node.worker.port import Finished, Started
from tests.gate import gate_in, opened
from tests.node.supervisor_kit import Watched, family, peak_kb, supervised, until, zombies


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async with supervised(tmp_path) as each:
        yield each


def test_causes_are_those_of_the_contract() -> None:
    for name in dir(wire):
        if name.startswith("CAUSE_") and name != "CAUSE_NONE":
            assert getattr(wire, name) == Cause.Value(name)


async def test_success(watched: Watched) -> None:
    result = await watched.run("true")
    assert (result.cause, result.exit_code, result.signal) == (0, 0, 0)
    assert result.started_us <= result.ended_us
    assert result.wall_us > 0
    assert result.max_rss_bytes > 0


@pytest.mark.parametrize("code", [1, 7, 255])
async def test_exit_code(watched: Watched, code: int) -> None:
    result = await watched.run("sh", "-c", f"exit {code}")
    assert (result.cause, result.exit_code, result.signal) == (Cause.CAUSE_EXIT, code, 0)


async def test_listed_code_is_success(watched: Watched) -> None:
    result = await watched.run("sh", "-c", "exit 3", success_codes=(3, 4))
    assert (result.cause, result.exit_code) == (0, 3)


async def test_signal_that_we_did_not_send(watched: Watched) -> None:
    result = await watched.run("sh", "-c", "kill -9 $$")
    assert (result.cause, result.exit_code, result.signal) == (Cause.CAUSE_SIGNAL, -1, signal.SIGKILL)


async def test_usage_counts_the_work(watched: Watched) -> None:
    busy = "i=0; while [ $i -lt 500000 ]; do i=$((i+1)); done"
    result = await watched.run("sh", "-c", busy)
    assert result.user_us + result.system_us > 10_000
    assert result.wall_us >= 10_000


async def test_streams_are_kept_apart(watched: Watched) -> None:
    order = watched.order("sh", "-c", "echo out; echo err >&2")
    watched.port.spawn([order])
    result = await watched.result(order.key)
    assert (result.stdout.head, result.stderr.head) == (b"out\n", b"err\n")
    assert result.stdout.sha256 == hashlib.sha256(b"out\n").digest()
    assert watched.output.read("task", order.key.fence, "out", 0, 100) == b"out\n"
    assert watched.output.read("task", order.key.fence, "err", 1, 2) == b"rr"


async def test_no_output_makes_no_file(watched: Watched) -> None:
    await watched.run("true")
    assert list((watched.data / "output").iterdir()) == []


async def test_long_line_and_odd_bytes(watched: Watched) -> None:
    order = watched.order("sh", "-c", "printf '\\377\\000\\033'; head -c 1000000 /dev/zero | tr '\\0' x")
    watched.port.spawn([order])
    result = await watched.result(order.key)
    kept = b"\xff\x00\x1b" + b"x" * 1_000_000
    assert (result.stdout.total_bytes, result.stdout.dropped_bytes) == (len(kept), 0)
    assert result.stdout.sha256 == hashlib.sha256(kept).digest()
    assert result.stdout.head == kept[:4096]
    assert result.stdout.tail == kept[-12288:]
    assert watched.output.size("task", order.key.fence, "out") == len(kept)


async def test_tail_does_not_repeat_the_head(watched: Watched) -> None:
    result = await watched.run(
        "sh", "-c", "head -c 4000 /dev/zero | tr '\\0' a; head -c 200 /dev/zero | tr '\\0' b"
    )
    assert result.stdout.head == b"a" * 4000 + b"b" * 96
    assert result.stdout.tail == b"b" * 104


async def test_output_beyond_the_cap_is_drained_and_counted(tmp_path: Path) -> None:
    async with supervised(tmp_path, cap_bytes=10_000) as watched:
        order = watched.order("sh", "-c", "head -c 3000000 /dev/zero; echo end; echo fine >&2")
        watched.port.spawn([order])
        result = await watched.result(order.key)
        assert result.cause == 0
        assert (result.stdout.total_bytes, result.stdout.dropped_bytes) == (3_000_004, 2_990_004)
        assert result.stdout.sha256 == hashlib.sha256(bytes(10_000)).digest()
        assert result.stdout.tail.endswith(b"end\n")
        assert watched.output.size("task", order.key.fence, "out") == 10_000
        assert result.stderr.dropped_bytes == 0


async def test_closed_stdout_is_no_end(watched: Watched) -> None:
    result = await watched.run("sh", "-c", "exec >&- 2>&-; sleep 0.2; exit 5")
    assert result.exit_code == 5


async def test_stdin_is_empty(watched: Watched) -> None:
    result = await watched.run("sh", "-c", "cat; echo read")
    assert result.stdout.head == b"read\n"


async def test_nothing_of_the_supervisor_is_open_in_a_command(watched: Watched) -> None:
    result = await watched.run("sh", "-c", "ls /proc/self/fd")
    # ls itself opens the folder as 3
    assert result.stdout.head.split() == [b"0", b"1", b"2", b"3"]


async def test_signals_have_their_defaults_whatever_the_daemon_was_started_with(tmp_path: Path) -> None:
    ignored = (signal.SIGQUIT, signal.SIGTSTP, signal.SIGUSR2, signal.SIGRTMIN)
    before = {each: signal.signal(each, signal.SIG_IGN) for each in ignored}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1,))
    try:
        async with supervised(tmp_path) as watched:
            result = await watched.run("sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for each, handler in before.items():
            signal.signal(each, handler)
    masks = [int(line.split()[1], 16) for line in result.stdout.head.splitlines()]
    # without the two signals that the C library keeps for itself
    assert [mask & ~(0b11 << 31) for mask in masks] == [0, 0]


async def test_limits_are_those_that_the_daemon_had(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    before = resource.prlimit(0, resource.RLIMIT_NOFILE, (777, hard))
    try:
        watched = Watched(tmp_path)
        await watched.start()
    finally:
        resource.prlimit(0, resource.RLIMIT_NOFILE, before)
    assert resource.prlimit(watched.port.pid, resource.RLIMIT_NOFILE)[0] > 777
    # They are set once it has begun.
    given = "until [ $(ulimit -Sn) = 777 ]; do sleep 0.02; done; ulimit -Sn; ulimit -Hn; ulimit -c"
    result = await watched.run("sh", "-c", given)
    assert result.stdout.head.split() == [b"777", str(hard).encode(), b"0"]
    await watched.port.quit()


async def test_own_session_and_group(watched: Watched) -> None:
    result = await watched.run("sh", "-c", "ps -o sid=,pgid= -p $$; echo $$")
    session, group, pid = result.stdout.head.split()
    assert session == group == pid


async def test_environment_is_what_was_ordered_and_the_supervisors_mark(watched: Watched) -> None:
    order = watched.order("/usr/bin/env", env={b"RAW": b"\xff\xfe"})
    watched.port.spawn([order])
    result = await watched.result(order.key)
    found = dict(line.split(b"=", 1) for line in result.stdout.head.splitlines())
    assert found.pop(b"CORTEX_SUPERVISOR") == (watched.data / "supervisor/identity").read_bytes()
    assert found == order.env


async def test_arguments_may_be_any_bytes(watched: Watched) -> None:
    result = await watched.run("printf", "%s", b"\xff\xe4")
    assert result.stdout.head == b"\xff\xe4"


async def test_working_directory(watched: Watched, tmp_path: Path) -> None:
    place = tmp_path / "päce with spaces"
    place.mkdir()
    result = await watched.run("pwd", cwd=str(place))
    assert result.stdout.head.decode() == f"{place}\n"


async def test_own_folder_is_used_again_only_when_it_is_as_it_was(watched: Watched) -> None:
    work = watched.data / "work"
    for _ in range(5):
        assert (await watched.run("sh", "-c", "pwd; ls -A", cwd="")).stdout.head.decode() == f"{work}/1\n"
    order = watched.order("touch", "left", cwd="")
    watched.port.spawn([order])
    await watched.result(order.key)
    assert (await watched.run("sh", "-c", "pwd; ls -A; chmod 755 .", cwd="")).stdout.head.decode() == f"{work}/2\n"
    assert (await watched.run("sh", "-c", "pwd; ls -A", cwd="")).stdout.head.decode() == f"{work}/3\n"
    assert [path.name for path in (work / f"task.{order.key.fence}").iterdir()] == ["left"]


async def test_commands_at_the_same_time_have_different_folders(watched: Watched, tmp_path: Path) -> None:
    gate = gate_in(tmp_path)
    orders = [watched.order("sh", "-c", f"pwd; : <{gate}", cwd="") for _ in range(4)]
    watched.port.spawn(orders)
    for order in orders:
        await watched.started(order.key)
    with opened(gate):
        assert len({(await watched.result(order.key)).stdout.head for order in orders}) == 4


async def test_relative_command_is_found_in_the_working_directory(watched: Watched, tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text("#!/bin/sh\necho here\n")
    script.chmod(0o755)
    assert (await watched.run("./tool", cwd=str(tmp_path))).stdout.head == b"here\n"


async def test_what_cannot_start_says_why_and_what_to_do(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("echo no\n")
    (tmp_path / "garbage").write_bytes(b"\x00\x01")
    (tmp_path / "garbage").chmod(0o755)
    (tmp_path / "orphan").write_text("#!/no/such/interpreter\n")
    (tmp_path / "orphan").chmod(0o755)
    cases = [
        (("no-such-command",), {}, "Command no-such-command is not in PATH"),
        (("/no/such/command",), {}, "Command /no/such/command does not exist"),
        ((str(tmp_path / "plain"),), {}, "is not executable. Make it so (chmod +x)"),
        ((str(tmp_path),), {}, "is a directory"),
        ((str(tmp_path / "garbage"),), {}, "is not a program for this machine"),
        ((str(tmp_path / "orphan"),), {}, "The interpreter that"),
        (("true",), {"cwd": "/no/such/folder"}, "Working directory /no/such/folder does not exist"),
        (("true",), {"cwd": str(tmp_path / "plain")}, "is not a directory"),
        (("true", "x" * 200_000), {}, "too large for this machine"),
        (("/a\0b",), {}, "Correct its arguments"),
        (("true",), {"env": {b"A=B": b"1"}}, "Correct its arguments"),
        (("true",), {"cwd": "/a\0b"}, "Correct its arguments"),
    ]
    for argv, changes, sentence in cases:
        result = await watched.run(*argv, **changes)
        assert result.cause == Cause.CAUSE_CANNOT_START
        assert sentence in result.error
        assert result.error.count(". ") >= 1
        assert (result.exit_code, result.started_us) == (-1, 0)
    assert (await watched.run("true")).cause == 0


async def test_a_command_that_became_runnable_is_found(watched: Watched, tmp_path: Path) -> None:
    path = f"{tmp_path}:/usr/bin:/bin".encode()
    assert (await watched.run("tool", env={b"PATH": path})).cause == Cause.CAUSE_CANNOT_START
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    assert (await watched.run("tool", env={b"PATH": path})).cause == 0
    (tmp_path / "tool").unlink()
    assert (await watched.run("tool", env={b"PATH": path})).cause == Cause.CAUSE_CANNOT_START


async def test_slots_priority_and_age(tmp_path: Path) -> None:
    async with supervised(tmp_path, slots=1) as watched:
        gate = gate_in(tmp_path)
        first = watched.order("sh", "-c", f": <{gate}")
        watched.port.spawn([first])
        await watched.started(first.key)
        low = watched.order("true", priority=1, created_us=1)
        young = watched.order("true", priority=9, created_us=20)
        old = watched.order("true", priority=9, created_us=10)
        watched.port.spawn([low, young, old])
        with opened(gate):
            await watched.result(low.key)
        started = [event.key for event in watched.events if isinstance(event, Started)]
        assert started == [first.key, old.key, young.key, low.key]
        # one slot: each starts after the one before it has ended
        kinds = [type(event) for event in watched.events if isinstance(event, (Started, Finished))]
        assert kinds == [Started, Finished] * 4


async def test_five_hundred_commands_leave_nothing_behind(watched: Watched) -> None:
    orders = [watched.order("/bin/true") for _ in range(500)]
    watched.port.spawn(orders)
    for order in orders:
        assert (await watched.result(order.key)).cause == 0
    pid = watched.port.pid
    assert zombies(pid) == []
    assert family(pid) == []
    open_files = len(os.listdir(f"/proc/{pid}/fd"))
    watched.port.forget([order.key for order in orders])
    await watched.run("true")
    assert len(os.listdir(f"/proc/{pid}/fd")) <= open_files
    assert (watched.data / "supervisor/log").read_bytes() == b""


async def test_memory_stays_small(watched: Watched) -> None:
    orders = [watched.order("sh", "-c", "head -c 300000 /dev/zero") for _ in range(20)]
    watched.port.spawn(orders)
    for order in orders:
        await watched.result(order.key)
    assert peak_kb(watched.port.pid) < 15_000


async def test_it_runs_apart_from_the_daemon(watched: Watched) -> None:
    pid = watched.port.pid
    assert os.getsid(pid) == pid
    socket = watched.data / "supervisor" / wire.SOCKET
    assert socket.stat().st_mode & 0o777 == 0o600
    await until(lambda: (watched.data / "supervisor.pid").exists())


async def test_what_happens_is_told_though_others_wait_for_a_slot(tmp_path: Path) -> None:
    async with supervised(tmp_path, slots=1) as watched:
        orders = [watched.order(*argv) for argv in (["true"], ["true"], ["sleep", "1000"], ["true"])]
        watched.port.spawn(orders)
        # Nothing happens after this start for as long as its slot is taken.
        await watched.started(orders[2].key)
        assert all(watched.of(Finished, order.key) for order in orders[:2])
        assert watched.of(Started, orders[3].key) is None
