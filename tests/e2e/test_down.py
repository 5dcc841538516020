"""`cortex down` with work under way, and without a quorum; what `cortex up` finds afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.tui.command_line import CommandLine
from tui.machine.process import is_alive

pytestmark = pytest.mark.e2e

# `down` promises 15 s; a slow machine needs some to begin at all.
WITHIN_S = 45.0
PATIENCE_S = 60.0


class Lab:
    """A cluster of `cortex up` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.cortex = CommandLine(folder)
        self.data = str(folder / "lab")

    async def up(self, voters: int) -> None:
        ran = await self.cortex("up", "--headless", "--no-sample", "--voters", str(voters), "--data", self.data)
        assert ran.code == 0, ran.err

    async def down(self, *flags: str) -> tuple[str, float]:
        """What it says on stderr, and the seconds that it takes."""
        begun = time.monotonic()
        ran = await self.cortex("down", "--data", self.data, *flags)
        assert ran.code == 0, ran.err
        return ran.err, time.monotonic() - begun

    async def submit(self, *flags: str, command: str) -> str:
        ran = await self.cortex("submit", "--data", self.data, *flags, "--", "sh", "-c", command)
        assert ran.code == 0, ran.err
        return ran.text.strip()

    async def task(self, task_id: str) -> Any:
        return (await self.cortex("task", "--data", self.data, task_id, "--json")).document

    async def runs(self, task_id: str) -> None:
        """Return when the cluster knows that it does: its command may have begun long before."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self.task(task_id))["state"] != "running":  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def nodes(self) -> Any:
        return json.loads((Path(self.data) / "cluster.json").read_text())["nodes"]


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(tmp_path)
    yield made
    if (tmp_path / "lab" / "cluster.json").exists():
        for node in made.nodes():
            if node["pid"] and is_alive(node["pid"]):
                os.kill(node["pid"], signal.SIGCONT)
        await made.down()


async def exists(path: Path) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not path.exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("voters", [1, 3])
async def test_what_ran_is_recorded_as_migrated_and_runs_again(lab: Lab, tmp_path: Path, voters: int) -> None:
    await lab.up(voters)
    gate, began = tmp_path / "gate", tmp_path / "began"
    waits = f"echo $CORTEX_ATTEMPT $CORTEX_RUN; touch {began}; while [ ! -e {gate} ]; do sleep 0.05; done"
    task_id = await lab.submit("--retries", "0", command=waits)
    await exists(began)
    await lab.runs(task_id)
    said, _ = await lab.down()
    assert "The task that ran runs again after the next `cortex up" in said
    began.unlink()
    await lab.up(voters)
    await exists(began)
    gate.touch()
    waited = await lab.cortex("wait", "--data", lab.data, task_id)
    assert (waited.code, waited.out) == (0, b"0 1\n")
    task = await lab.task(task_id)
    assert (task["state"], task["attempt"], task["run"]) == ("completed", 0, 1)
    assert [event["type"] for event in task["events"]] == [
        "submitted",
        "assigned",
        "started",
        "migrate_requested",
        "migrated",
        "assigned",
        "started",
        "completed",
    ]


async def test_a_command_that_ignores_term_is_killed_in_time(lab: Lab, tmp_path: Path) -> None:
    await lab.up(3)
    gate, began = tmp_path / "gate", tmp_path / "began"
    stubborn = f"trap '' TERM; touch {began}; while [ ! -e {gate} ]; do sleep 0.1; done"
    task_id = await lab.submit("--kill-timeout", "10s", command=stubborn)
    await exists(began)
    await lab.runs(task_id)
    said, seconds = await lab.down()
    assert "runs again" in said
    assert seconds < WITHIN_S
    assert not any(node["supervisor_pid"] for node in lab.nodes())
    began.unlink()
    await lab.up(3)
    await exists(began)
    task = await lab.task(task_id)
    gate.touch()
    assert (task["attempt"], task["run"]) == (0, 1)
    assert "migrated" in [event["type"] for event in task["events"]]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_without_quorum_it_ends_in_time(lab: Lab, tmp_path: Path, number: signal.Signals) -> None:
    await lab.up(3)
    began = tmp_path / "began"
    await lab.submit(command=f"touch {began}; sleep 1000")
    await exists(began)
    leader = (await lab.cortex("status", "--data", lab.data, "--json")).document["leader"]
    gone = [node["pid"] for node in lab.nodes() if node["id"] != leader]
    for pid in gone:
        os.kill(pid, number)
    _, seconds = await lab.down()
    assert seconds < WITHIN_S
    assert not any(is_alive(pid) for pid in gone)
    began.unlink()
    await lab.up(3)
    await exists(began)


async def test_keep_running_leaves_commands_and_their_attempt(lab: Lab, tmp_path: Path) -> None:
    await lab.up(1)
    gate, began = tmp_path / "gate", tmp_path / "began"
    task_id = await lab.submit(command=f"touch {began}; while [ ! -e {gate} ]; do sleep 0.05; done; echo one")
    await exists(began)
    await lab.runs(task_id)
    said, _ = await lab.down("--keep-running")
    assert said == ""
    gate.touch()
    await lab.up(1)
    waited = await lab.cortex("wait", "--data", lab.data, task_id)
    assert (waited.code, waited.out) == (0, b"one\n")
    types = [event["type"] for event in (await lab.task(task_id))["events"]]
    assert types == ["submitted", "assigned", "started", "completed"]
