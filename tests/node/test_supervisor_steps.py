"""A supervisor that is ended at each step of a command: what the next one finds is true, and nothing runs on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Cause
from node.worker.port import Disconnected, HeldAttempt, HeldState
from tests.node.supervisor_kit import Watched, alive, end, until

# A supervisor that gets the signal argv[3] at the step argv[2], once.
STEPS = """
import os, sys
from node.supervisor import commands, journal, main, spawn

def at(name, cls, method, after, when=lambda self: True):
    if name != sys.argv[2]:
        return
    original, left = getattr(cls, method), [1]

    def hit():
        if left:
            left.pop()
            os.kill(os.getpid(), int(sys.argv[3]))

    def run(self, *args, **more):
        meant = when(self)
        if meant and not after:
            hit()
        result = original(self, *args, **more)
        if meant and after:
            hit()
        return result

    setattr(cls, method, run)

at("before the mark", journal.Journal, "mark", False)
at("marked", journal.Journal, "flush", True, lambda self: self.marks)
at("spawned", spawn.Spawner, "spawn", True)
at("its number noted", journal.Journal, "flush", True, lambda self: any(mark.pid for mark in self.marks.values()))
at("reaped", commands.Commands, "_finish", False)
at("result written", journal.Journal, "flush", True, lambda self: self.results)
sys.exit(main.main(["--data", sys.argv[1]]))
"""
RUNS_ON = ["before the mark", "marked", "spawned", "its number noted"]
ENDS = ["reaped", "result written"]


async def ended_at(data: Path, step: str, number: int) -> tuple[int, list[HeldAttempt], Path]:
    """How the supervisor ended, what the next one holds, and where the command wrote its number."""
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", STEPS, str(data), step, str(number)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    watched, said = Watched(data), data / "said"
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        await watched.start()
        more = "exec sleep 1000" if step in RUNS_ON else "true"
        watched.port.spawn([watched.order("sh", "-c", f"echo $$ >>{said}; {more}")])
        await watched.wait(lambda: watched.last(Disconnected))
        await watched.port.close()
        code = process.wait()
        later = Watched(data, first=100)
        attempts = (await later.start()).attempts
        await later.port.close()
        return code, list(attempts), said
    finally:
        process.stdout.close()  # type: ignore[union-attr]
        end(data)


def begun(said: Path) -> list[int]:
    return [int(line) for line in said.read_text().splitlines()] if said.exists() else []


async def nothing_runs(said: Path) -> None:
    """It began once at most, and is gone."""
    pids = begun(said)
    assert len(pids) <= 1
    await until(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("step", [*RUNS_ON, *ENDS])
async def test_killed(tmp_path: Path, step: str) -> None:
    code, attempts, said = await ended_at(tmp_path, step, signal.SIGKILL)
    assert code == -signal.SIGKILL
    await nothing_runs(said)
    states = [(held.state, held.result.cause if held.result else None) for held in attempts]
    if step == "before the mark":
        assert states == []
        assert begun(said) == [], "what has no mark never began"
    elif step == "result written":
        assert states == [(HeldState.ENDED, 0)]
    else:
        assert states == [(HeldState.LOST, None)]


@pytest.mark.parametrize("step", [*RUNS_ON, *ENDS])
async def test_told_to_end(tmp_path: Path, step: str) -> None:
    code, attempts, said = await ended_at(tmp_path, step, signal.SIGTERM)
    assert code == 0
    await nothing_runs(said)
    (held,) = attempts
    assert held.state == HeldState.ENDED
    assert held.result is not None
    assert held.result.cause == (Cause.CAUSE_MIGRATE if step in RUNS_ON else 0)
