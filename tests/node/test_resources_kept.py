"""What a node measured outlives its daemon: a file that is bounded, gaps, other clocks, and damage."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Resources
from node.env import Env
from node.worker.resources.history import RINGS, SERIES, History
from node.worker.resources.kept import FILE, KeptHistory

SECOND = 1_000_000
BEGIN = 10**12


@dataclass
class Clocks:
    """They stand unless they are set."""

    now_us: int = BEGIN
    boot_offset_us: int = 0

    def wall_us(self) -> int:
        return self.now_us

    def boot_us(self) -> int:
        return self.now_us + self.boot_offset_us


@dataclass
class Machine:
    """A data folder, clocks, and what was said."""

    data: Path
    clock: Clocks = field(default_factory=Clocks)
    said: list[str] = field(default_factory=list)

    def kept(self, boot: str = "one") -> KeptHistory:
        real = Env.real(self.data)
        env = Env(self.clock, random.Random(1), self.data, real.open_disk, real.make_offload)
        return KeptHistory(env, self.said.append, boot)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def measured(history: History, begin_us: int, seconds: int, value: float = 50.0) -> None:
    for second in range(seconds):
        history.record(Resources(cpu_percent=value, cores=2), 3, begin_us + second * SECOND)


def cpu(history: History, span_s: int, now_us: int) -> Sequence[float]:
    return history.curve(span_s * SECOND, 0, now_us).columns[SERIES.index("cpu")]


def shown(values: Sequence[float]) -> str:
    return "".join("." if math.isnan(value) else str(round(value) // 10) for value in values)


async def test_a_restart_is_a_gap(machine: Machine) -> None:
    history = History()
    measured(history, BEGIN, 5)
    machine.clock.now_us = BEGIN + 5 * SECOND
    await machine.kept().save(history)
    machine.clock.now_us = BEGIN + 8 * SECOND
    after = await machine.kept().load()
    measured(after, BEGIN + 8 * SECOND, 2, 70.0)
    assert shown(cpu(after, 10, BEGIN + 9 * SECOND)) == "55555...77"
    assert machine.said == []


@pytest.mark.parametrize("span_s", [600, 7200, 86_400], ids=["seconds", "tens", "minutes"])
async def test_all_rings_are_as_they_were(machine: Machine, span_s: int) -> None:
    history = History()
    measured(history, BEGIN, 700)
    end_us = BEGIN + 700 * SECOND
    machine.clock.now_us = end_us
    await machine.kept().save(history)
    after = await machine.kept().load()
    before, found = history.curve(span_s * SECOND, 0, end_us), after.curve(span_s * SECOND, 0, end_us)
    assert [list(map(str, column)) for column in found.columns] == [list(map(str, each)) for each in before.columns]
    # The step that had begun goes on as the mean of all that came in it.
    for each in (history, after):
        measured(each, end_us, 30, 10.0)
    now_us = end_us + 29 * SECOND
    assert list(map(str, cpu(after, span_s, now_us))) == list(map(str, cpu(history, span_s, now_us)))


async def test_a_machine_that_booted_anew_shows_what_was_before(machine: Machine) -> None:
    """Its boot clock began again; unix time tells how long ago it was."""
    history = History()
    measured(history, BEGIN, 5)
    machine.clock.now_us = BEGIN + 5 * SECOND
    await machine.kept().save(history)
    machine.clock.now_us += 20 * SECOND
    machine.clock.boot_offset_us = -machine.clock.now_us + 4 * SECOND
    after = await machine.kept("two").load()
    now_us = machine.clock.boot_us()
    assert now_us == 4 * SECOND
    measured(after, now_us, 1, 70.0)
    assert shown(cpu(after, 30, now_us)) == "." * 4 + "55555" + "." * 20 + "7"


async def test_what_lies_ahead_of_a_clock_that_was_set_back_is_left_out(machine: Machine) -> None:
    history = History()
    measured(history, BEGIN, 5)
    machine.clock.now_us = BEGIN + 5 * SECOND
    await machine.kept().save(history)
    machine.clock.now_us = BEGIN - 3600 * SECOND
    after = await machine.kept("two").load()
    assert shown(cpu(after, 600, machine.clock.now_us)) == "." * 600
    assert len(machine.said) == 1
    assert "lies ahead of its clock" in machine.said[0]


@pytest.mark.parametrize("damage", ["empty", "torn", "flipped", "foreign"])
async def test_a_damaged_file_is_an_empty_history_and_one_line(machine: Machine, damage: str) -> None:
    history = History()
    measured(history, BEGIN, 5)
    await machine.kept().save(history)
    path = machine.data / FILE
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"empty": b"", "torn": data[:-5], "flipped": data, "foreign": b"{}" * 1000}[damage])
    kept = machine.kept()
    after = await kept.load()
    assert shown(cpu(after, 10, BEGIN)) == "." * 10
    assert len(machine.said) == 1
    assert machine.said[0].startswith("What this node measured before cannot be read: ")
    measured(after, BEGIN, 1)
    await kept.save(after)
    assert shown(cpu(await machine.kept().load(), 1, BEGIN)) == "5"
    assert len(machine.said) == 1


async def test_the_first_start_says_nothing(machine: Machine) -> None:
    assert shown(cpu(await machine.kept().load(), 3, BEGIN)) == "..."
    assert machine.said == []


async def test_the_file_is_bounded_and_written_once_a_minute(machine: Machine) -> None:
    history, kept = History(), machine.kept()
    written = 0
    for second in range(180):
        machine.clock.now_us = BEGIN + second * SECOND
        measured(history, machine.clock.now_us, 1)
        if kept.due():
            await kept.save(history)
            written += 1
    assert written == 3
    assert (machine.data / FILE).stat().st_size < 4 * sum(size for _, size in RINGS) * len(SERIES) + 10_000
    assert [path.name for path in machine.data.iterdir()] == [FILE]


async def test_a_disk_that_takes_nothing_is_said_once(machine: Machine) -> None:
    (machine.data / FILE).mkdir()
    kept = machine.kept()
    for _ in range(3):
        await kept.save(History())
    assert len(machine.said) == 1
    assert machine.said[0].startswith("What this node measures is not kept over a restart: ")


async def test_series_of_another_release_are_gaps(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    measured(history, BEGIN, 2)
    machine.clock.now_us = BEGIN + SECOND
    monkeypatch.setattr("node.worker.resources.kept.SERIES", ("memory", "cpu", "steam", *SERIES[3:]))
    await machine.kept().save(history)
    monkeypatch.undo()
    after = await machine.kept().load()
    named = dict(zip(SERIES, after.curve(SECOND, 0, BEGIN + SECOND).columns, strict=True))
    assert named["memory"][0] == 50, "it was written as the first one"
    assert math.isnan(named["disk"][0])
    assert named["running"][0] == 3
