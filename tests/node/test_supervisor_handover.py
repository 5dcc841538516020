"""A supervisor becomes another program under its commands, and what it does when that cannot be."""

from __future__ import annotations

import hashlib
import marshal
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from structlog.testing import capture_logs

import node.supervisor
from cortex.v1.types_pb2 import Cause
from node.env import Env
from node.worker.port import (
    AttemptResult,
    Connected,
    Disconnected,
    HeldState,
    Lease,
    SpawnOrder,
    Started,
    StopOrder,
)
from node.worker.supervision import ProcessSupervisor
from tests.gate import gate_in, opened
from tests.node.supervisor_kit import Watched, alive, boot_us, end, family, kill, state_of, until

CAP_BYTES = 700
WRITERS = 30
# Writes in bursts until told to end, then says on stderr how many lines it wrote.
WRITER = """
i=0
while [ ! -e "$1" ]; do
  for _ in 1 2 3 4 5 6 7 8 9 10; do echo "line $i of a command that writes on and on"; i=$((i+1)); done
  sleep 0.3
done
echo $i >&2
exit $2
"""


class Release(ProcessSupervisor):
    """A daemon whose supervisor's program is that of another release."""

    def __init__(self, data: Path, *program: str) -> None:
        super().__init__(Env.real(data))
        self._words = program

    def program(self) -> list[str]:
        return list(self._words)


def release(folder: Path, old: str = "", new: str = "") -> list[str]:
    """How the supervisor of a release that differs by `new` for `old` in its protocol is started."""
    program = folder / "node" / "supervisor"
    shutil.copytree(Path(node.supervisor.__file__).parent, program, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "node" / "__init__.py").touch()
    text = (program / "wire.py").read_text()
    assert old in text
    (program / "wire.py").write_text(f"{text.replace(old, new, 1)}# {folder.name}\n")
    return [sys.executable, "-S", "-E", "-s", str(program)]


def scripted(folder: Path, at_trial: str, at_resume: str) -> list[str]:
    """A release of which it is said what happens when it tries and when it takes over."""
    real = release(folder)
    script = folder / "start"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *--try*) {at_trial};; *--resume*) {at_resume};; esac\n'
        f'shift; exec {" ".join(real)} "$@"\n'
    )
    script.chmod(0o755)
    return [str(script), real[-1]]


def paused(folder: Path, middle: Path, gate: Path) -> list[str]:
    """A release that says when it takes over, and waits. No shell: that would let all signals in."""
    real = release(folder)
    script = folder / "start"
    script.write_text(
        f"#!{sys.executable} -S\nimport os, sys\nargv = {real!r} + sys.argv[2:]\n"
        f"if '--resume' in argv:\n    open({str(middle)!r}, 'w').close()\n    open({str(gate)!r}).close()\n"
        "os.execv(argv[0], argv)\n"
    )
    script.chmod(0o755)
    return [str(script), real[-1]]


@asynccontextmanager
async def daemon(data: Path, program: list[str] | None = None, slots: int = 4) -> AsyncIterator[Watched]:
    """A daemon of this release, or of that whose supervisor is started by `program`. The supervisor stays."""
    # What earlier daemons ordered is known by its key.
    watched = Watched(data, first=boot_us())
    if program is not None:
        watched.port = Release(data, *program)
    await watched.start(slots, CAP_BYTES)
    try:
        yield watched
    finally:
        await watched.port.close()


@asynccontextmanager
async def folder_of(path: Path) -> AsyncIterator[Path]:
    try:
        yield path / "data"
    finally:
        end(path / "data")


async def handed_over(watched: Watched, times: int = 1) -> Connected:
    """The connection to what the supervisor has become."""

    def look() -> Connected | None:
        found = [event for event in watched.events if isinstance(event, Connected)]
        return found[times] if len(found) > times else None

    return await watched.wait(look)


def program_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def expected(result: AttemptResult) -> bytes:
    """All that a WRITER says it wrote."""
    count = int(result.stderr.head)
    return b"".join(b"line %d of a command that writes on and on\n" % number for number in range(count))


def check_output(watched: Watched, order: SpawnOrder, result: AttemptResult) -> None:
    wrote, kept = expected(result), expected(result)[:CAP_BYTES]
    stream = result.stdout
    assert (stream.total_bytes, stream.dropped_bytes) == (len(wrote), len(wrote) - len(kept))
    assert stream.sha256 == hashlib.sha256(kept).digest()
    assert watched.output.read("task", order.key.fence, "out", 0, 1 << 20) == kept
    assert (stream.head, stream.tail) == (wrote[:4096], wrote[4096:][-12288:])


async def test_commands_do_not_notice_that_their_supervisor_became_another_program(tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    async with folder_of(tmp_path) as data:
        async with daemon(data, release(tmp_path / "old"), slots=WRITERS + 2) as old:
            writers = [old.order("sh", "-c", WRITER, "sh", str(stop), str(code)) for code in range(WRITERS)]
            deaf = old.order("sh", "-c", "trap 'echo told' TERM; echo up; while :; do sleep 0.1; done")
            leased = old.order("sh", "-c", "echo up; exec sleep 1000", kill_timeout_us=100_000)
            low, high = old.order("true", priority=1), old.order("true", priority=9)
            never = old.order("true", lease_end_us=0)
            old.port.spawn([*writers, deaf, leased])
            for order in (deaf, leased):
                await old.says(order, b"up\n")
            for order in writers:
                await old.says(order, b"line 9 ")
            old.port.stop([StopOrder(deaf.key, Cause.CAUSE_CANCEL, 600_000_000)])
            await old.says(deaf, b"told\n")
            old.port.spawn([low, high, never])
            pid = old.port.pid
        async with daemon(data, slots=WRITERS + 2) as new:
            connected = await handed_over(new)
            assert (connected.pid, new.port.pid) == (pid, pid)
            assert str(Path(node.supervisor.__file__).parent) in program_of(pid)
            states = {held.key: held.state for held in connected.attempts}
            assert states == {
                **{order.key: HeldState.RUNNING for order in (*writers, deaf, leased)},
                **{order.key: HeldState.WAITING for order in (low, high, never)},
            }
            new.port.renew({leased.key: Lease(0)})
            assert (await new.result(leased.key)).cause == Cause.CAUSE_LEASE
            new.port.stop([StopOrder(deaf.key, Cause.CAUSE_MIGRATE, 0)])
            result = await new.result(deaf.key)
            # The first cause stays, and TERM was not sent again.
            assert (result.cause, result.signal, result.stdout.head) == (Cause.CAUSE_CANCEL, 9, b"up\ntold\n")
            for order in (low, high):
                assert (await new.result(order.key)).cause == 0
            assert [each.key for each in new.events if isinstance(each, Started)] == [high.key, low.key]
            stop.touch()
            for code, order in enumerate(writers):
                result = await new.result(order.key)
                assert result.exit_code == code
                check_output(new, order, result)
            assert (await new.run("echo", "on")).stdout.head == b"on\n"
            assert family(pid) == []


async def test_results_marks_and_folders_are_handed_over(tmp_path: Path) -> None:
    gate = gate_in(tmp_path)
    async with folder_of(tmp_path) as data:
        async with daemon(data, release(tmp_path / "old")) as old:
            ended = await old.run("sh", "-c", "echo kept; exit 3")
            running = old.order("sh", "-c", f"pwd; touch left; echo x >&2; : <{gate}", cwd="")
            old.port.spawn([running])
            await old.says(running, b"/1\n")
        async with daemon(data) as new:
            connected = await handed_over(new)
            held = {item.key: item for item in connected.attempts}
            assert [item.result for item in held.values() if item.state == HeldState.ENDED] == [ended]
            new.port.spawn([running])  # it is known
            with opened(gate):
                assert (await new.result(running.key)).stderr.head == b"x\n"
            assert new.of(Started, running.key) is None
            name = f"task.{running.key.fence}"
            assert os.readlink(data / "work" / name) == "1"
            assert (await new.run("sh", "-c", "pwd", cwd="")).stdout.head.endswith(b"/2\n")
            await new.port.quit()


async def test_a_program_that_cannot_take_over_is_told_and_nothing_changes(tmp_path: Path) -> None:
    refuses = scripted(tmp_path / "bad", "echo it is broken >&2; exit 7", "exit 1")
    vanishes = scripted(tmp_path / "gone", 'rm "$0"; exit 0', "exit 1")
    missing = [str(tmp_path / "nothing"), str(tmp_path / "gone/node/supervisor")]
    async with folder_of(tmp_path) as data:
        async with daemon(data, release(tmp_path / "old")) as old:
            order = old.order("sh", "-c", "echo up; exec sleep 1000")
            old.port.spawn([order])
            await old.says(order, b"up\n")
            pid, program = old.port.pid, program_of(old.port.pid)
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        for other, why in (
            (refuses, "it is broken"),
            (vanishes, "cannot be executed"),
            (missing, "cannot be tried"),
        ):
            with capture_logs() as lines:
                async with daemon(data, other) as new:
                    await until(lambda lines=lines: [line for line in lines if line["log_level"] == "warning"])  # type: ignore[misc]
                    assert new.last(Disconnected) is None
                    assert (await new.run("true")).cause == 0
            (line,) = (line for line in lines if line["log_level"] == "warning")
            assert why in line["reason"]
            assert program_of(pid) == program
        async with daemon(data) as last:
            connected = await handed_over(last)
            assert order.key in {held.key for held in connected.attempts if held.state == HeldState.RUNNING}
            assert len(os.listdir(f"/proc/{pid}/fd")) == descriptors
            last.port.stop([StopOrder(order.key, Cause.CAUSE_CANCEL, 0)])
            assert (await last.result(order.key)).cause == Cause.CAUSE_CANCEL


async def test_a_program_that_never_ends_its_trial_is_ended(tmp_path: Path) -> None:
    hangs = scripted(tmp_path / "new", "exec sleep 1000", "exit 1")
    impatient = release(tmp_path / "old")
    handover = tmp_path / "old/node/supervisor/handover.py"
    text = handover.read_text()
    handover.write_text(text.replace("TRIAL_US = 30_000_000", "TRIAL_US = 100_000"))
    assert handover.read_text() != text
    async with folder_of(tmp_path) as data:
        async with daemon(data, impatient) as old:
            pid = old.port.pid
        with capture_logs() as lines:
            async with daemon(data, hangs) as new:
                await until(lambda: lines)
                (reason,) = (line["reason"] for line in lines if "reason" in line)
                assert "it ended with status 9" in reason
                assert (await new.run("true")).cause == 0
                assert (new.port.pid, family(pid)) == (pid, [])


async def test_a_kill_in_the_middle_of_a_hand_over_loses_what_ran_and_says_so(tmp_path: Path) -> None:
    middle = tmp_path / "middle"
    frozen = scripted(tmp_path / "new", "exit 0", f"touch {middle}; exec sleep 1000")
    async with folder_of(tmp_path) as data:
        async with daemon(data, release(tmp_path / "old")) as old:
            ended = old.order("true")
            old.port.spawn([ended])
            await old.result(ended.key)
            running = old.order("sh", "-c", "(setsid sleep 1000 &); echo up; exec sleep 1000")
            old.port.spawn([running])
            await old.says(running, b"up\n")
            pid = old.port.pid
            pids = family(pid)
        async with daemon(data, frozen) as new:
            await until(middle.exists)
            assert all(alive(each) for each in pids)
            kill(pid)
            connected = await handed_over(new)
            assert connected.pid != pid
            states = {held.key: held.state for held in connected.attempts}
            assert states == {ended.key: HeldState.ENDED, running.key: HeldState.LOST}
            assert not any(alive(each) for each in pids)


async def test_what_happens_in_the_middle_of_a_hand_over_is_seen_after_it(tmp_path: Path) -> None:
    middle = tmp_path / "middle"
    for name in ("end", "go"):
        (tmp_path / name).mkdir()
    end_it, go_on = gate_in(tmp_path / "end"), gate_in(tmp_path / "go")
    slow = paused(tmp_path / "new", middle, go_on)
    async with folder_of(tmp_path) as data:
        async with daemon(data, release(tmp_path / "old")) as old:
            ends = old.order("sh", "-c", f"echo up; : <{end_it}; echo in the middle; exit 5")
            runs = old.order("sh", "-c", "echo up; exec sleep 1000")
            old.port.spawn([ends, runs])
            for order in (ends, runs):
                await old.says(order, b"up\n")
            pid, first = old.port.pid, (await old.started(ends.key)).pid
        async with daemon(data, slow) as new:
            await until(middle.exists)
            with opened(end_it):
                await until(lambda: state_of(first) == "Z")
            os.kill(pid, signal.SIGTERM)  # a quit
            with opened(go_on):
                connected = await handed_over(new)
                if connected.pid == pid:  # it answered before it quit
                    connected = await handed_over(new, 2)
            results = {held.key: held.result for held in connected.attempts}
            one, other = results[ends.key], results[runs.key]
            assert one is not None
            assert other is not None
            assert (one.exit_code, one.stdout.head) == (5, b"up\nin the middle\n")
            assert other.cause == Cause.CAUSE_MIGRATE


def tried(program: list[str], state: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*program, "--try"], input=state, capture_output=True, check=False)


async def test_a_state_is_read_by_what_is_known_of_it(tmp_path: Path) -> None:
    kept = tmp_path / "state"
    async with folder_of(tmp_path) as data:
        async with daemon(data, release(tmp_path / "old")) as old:
            ended = old.order("echo", "kept")
            old.port.spawn([ended])
            await old.result(ended.key)
            old.port.spawn([old.order("sleep", "1000"), old.order("true", lease_end_us=0)])
            await old.wait(lambda: old.last(Started) if old.last(Started) != old.of(Started, ended.key) else None)
        with capture_logs() as lines:
            async with daemon(data, scripted(tmp_path / "new", f"cat >{kept}; exit 3", "exit 1")):
                await until(lambda: lines)
    whole = kept.read_bytes()
    state = marshal.loads(whole)
    program = release(tmp_path / "reader")
    assert tried(program, whole).returncode == 0
    attempt = state["commands"]["attempts"][0]
    for names in (state, state["place"], state["journal"], state["waiting"], state["commands"], attempt):
        names["of a later release"] = 1
    assert tried(program, marshal.dumps(state, 2)).returncode == 0
    del attempt["pid"]  # what is as in a new attempt
    assert tried(program, marshal.dumps(state, 2)).returncode == 0
    broken = (
        whole[:-10],
        b"",
        marshal.dumps({**state, "state": 99}, 2),
        marshal.dumps({**state, "commands": 5}, 2),
    )
    for text in broken:
        refusal = tried(program, text)
        assert refusal.returncode == 1
        assert b"cannot be taken over" in refusal.stderr
