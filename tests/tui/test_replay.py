"""A recording stands still, steps, jumps and changes its speed by keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.tui import fake
from tests.tui.console import Clock, Session, open_console
from tests.tui.fake_source import FakeSource
from tui.keyboard.keymap import check, key_of
from tui.keyboard.keytable import KEYMAP
from tui.operator.preferences import Preferences
from tui.replay.player import while_replaying
from tui.replay.recording import REPLY, WATCH, RecordedSource, Recording, ReplayedSource, records

LAST_S = 90.0


async def recorded(path: Path) -> None:
    """One task more every 10 seconds: job-0 at the begin, job-90 at 90 s."""
    clock = Clock()
    source, recording = FakeSource(), Recording(path, clock)
    wrapped: Any = RecordedSource(source, recording)
    stream = wrapped.watch()
    for _ in source.snapshot():
        await anext(stream)
    await wrapped.list_tasks((), 1000)
    for second in range(0, 100, 10):
        source.push(
            fake.task(100 + second, f"job-{second}", fake.RUNNING, started_s=1, index=7000 + second),
            at_us=fake.NOW_US + second * fake.SECOND_US,
        )
        await anext(stream)
        clock.now_s += 10
    recording.close()


@asynccontextmanager
async def playing(path: Path) -> AsyncIterator[tuple[Session, ReplayedSource]]:
    """A console over it whose clock stands still: only keys move it."""
    await recorded(path)
    played: Any = ReplayedSource(path, clock=Clock())
    played.history_asked, played.waiting = True, 0
    own = Preferences(keys=while_replaying(KEYMAP))
    async with open_console(played, (160, 40), read_only=True, preferences=own) as session:
        await session.press("2")
        yield session, played


async def test_it_is_where_the_keys_say(tmp_path: Path) -> None:
    async with playing(tmp_path / "night.rec") as (session, _):
        await session.until(lambda: "job-0" in session.text)
        assert "job-10" not in session.text
        assert "space playing 0:00 of 1:30 at 1x" in session.lines[-1]
        await session.press("]")
        await session.until(lambda: "job-10" in session.text and "0:10 of" in session.lines[-1])
        await session.press("}")
        await session.until(lambda: "job-70" in session.text)
        assert "job-80" not in session.text
        await session.press("[")
        await session.until(lambda: "job-70" not in session.text and "job-60" in session.text)
        await session.press("{")
        await session.until(lambda: "job-10" not in session.text and "job-0" in session.text)
        assert "live" in session.lines[0], "standing still is no lost link"


async def test_it_steps_and_changes_its_speed(tmp_path: Path) -> None:
    async with playing(tmp_path / "night.rec") as (session, _):
        await session.until(lambda: "job-0" in session.text)
        await session.press("space")
        await session.until(lambda: "paused 0:00" in session.lines[-1])
        await session.press("+", "+")
        await session.until(lambda: "at 5x" in session.lines[-1])
        await session.press("-")
        await session.until(lambda: "at 2x" in session.lines[-1])
        await session.press(".", ".")
        await session.until(lambda: "job-20" in session.text and "paused 0:20" in session.lines[-1])
        assert "job-30" not in session.text
        await session.press("space")
        await session.until(lambda: "playing 0:20" in session.lines[-1])


async def test_from_its_end_it_goes_back(tmp_path: Path) -> None:
    async with playing(tmp_path / "night.rec") as (session, _):
        await session.press("}", "}")
        await session.until(lambda: "The recording ends here" in session.text and "ended 1:30" in session.lines[-1])
        assert "Link lost" not in session.text
        assert "job-90" in session.text
        await session.press("}", "[")
        await session.until(lambda: "playing 1:20" in session.lines[-1] and "job-80" in session.text)
        await session.until(lambda: "job-90" not in session.text and "ends here" not in session.text)


async def test_its_keys_are_listed_and_take_those_that_they_need(tmp_path: Path) -> None:
    async with playing(tmp_path / "night.rec") as (session, _):
        await session.press("?", "G")
        assert "stand still" in session.text
        await session.press("escape", "/", *"a b", "enter")
        assert "/a b" in session.text, "in a line they are letters"
    table = while_replaying(KEYMAP)
    check(table)
    assert key_of("app", "replay_jump(10)", table) == ""
    assert key_of("app", "forward", table) == "]"
    assert key_of("table", "mark", table) == ""
    assert key_of("choice", "press", table) == "enter"


async def test_a_speed_passes_time(tmp_path: Path) -> None:
    path = tmp_path / "night.rec"
    await recorded(path)
    clock = Clock()
    source = ReplayedSource(path, 10.0, clock)
    frames = sum(kind == WATCH for _, kind, _ in records(path))
    assert sum(kind == REPLY for _, kind, _ in records(path)) == 1
    assert source.player.length_s == LAST_S
    clock.now_s += LAST_S / 10
    stream = source.watch()
    seen = 0
    # Each record that is waited for lets the position go as far as it; the clock has been moved for all of them.
    for _ in range(frames):
        item = await anext(stream)
        seen += bool(getattr(item, "changes", ()))
        clock.now_s += 1
    assert seen == 11
    assert source.player.position_s == LAST_S
