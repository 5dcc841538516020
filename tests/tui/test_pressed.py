"""A recording has the keys that were pressed and nothing that is secret, and a replay shows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

from textual import events
from textual.widgets import Input

from tests.tui.console import Clock, open_console
from tests.tui.fake_source import FakeSource
from tui.drawing.draw import ASCII, UNICODE, plain
from tui.keyboard.keytable import KEYMAP
from tui.linear.conversation import Linear
from tui.operator.preferences import Preferences
from tui.replay.player import while_replaying
from tui.replay.pressed import LastPressed, Pressed, read
from tui.replay.recording import KEY, RecordedSource, Recording, ReplayedSource, recorded_lines, records
from tui.source import LinkState, WatchItem
from tui.tty.driver import HeldKey


async def recorded(path: Path) -> list[Pressed | None]:
    recording = Recording(path, Clock())
    wrapped: Any = RecordedSource(FakeSource(), recording)
    async with open_console(wrapped) as session:
        await session.press("2", "/", *"r b", "backspace", "escape")
        held = HeldKey("j", "j", 3)
        held.set_sender(session.app)
        session.app.post_message(held)
        await session.settle()
        session.app.post_message(events.Paste("hunter1"))
        await session.settle()
        await session.press("S", "tab")
        field = session.app.focused
        assert isinstance(field, Input)
        field.password = True
        await session.press(*"hunter2", "enter")
        field.password = False
        await session.press("escape", "K", "escape")
        assert session.source.calls == []
    recording.close()
    everything = list(records(path))
    assert not any(b"hunter" in content for _, _, content in everything)
    return [read(content) for _, kind, content in everything if kind == KEY]


async def test_keys_are_recorded_and_secrets_are_not(tmp_path: Path) -> None:
    told = await recorded(tmp_path / "night.rec")
    assert [(one.place, one.key) for one in told if one is not None] == [
        ("nodes", "2"), ("queue", "/"), ("queue", "r"), ("queue", " "), ("queue", "b"), ("queue", "backspace"),
        ("queue", "esc"), ("queue", "j"), ("queue", "paste of 7 characters"), ("queue", "S"), ("submit", "tab"),
        ("submit", "esc"), ("queue", "K"), ("preview", "esc"),
    ]  # fmt: skip
    assert [one.count for one in told if one is not None and one.key == "j"] == [3]
    assert [one.key for one in told if one is not None and one.text] == ["r", " ", "b"]


async def test_a_replay_shows_what_was_pressed(tmp_path: Path) -> None:
    path = tmp_path / "night.rec"
    await recorded(path)
    played: Any = ReplayedSource(path, clock=Clock())
    played.history_asked, played.waiting = True, 0
    own = Preferences(keys=while_replaying(KEYMAP))
    async with open_console(played, (80, 24), read_only=True, preferences=own) as session:
        await session.until(lambda: "preview esc  space" in session.lines[-1])
        assert "0:00 of 0:00 at 1x" in session.lines[-1]
        assert len(session.lines[-1]) <= 80


def test_the_last_keys_are_those_that_are_shown() -> None:
    last = LastPressed()
    assert last.cell(0, 1, 40, UNICODE) == ()
    for key in "gj":
        last.add(1.0, Pressed("queue", key))
    last.add(1.5, Pressed("queue", "j", 3))
    assert plain(last.cell(1.5, 1, 40, UNICODE)) == "queue g j j×3"
    assert plain(last.cell(1.5, 1, 40, ASCII)) == "queue g j jx3"
    for key in "render me":
        last.add(2.0, Pressed("queue", key, text=True))
    last.add(2.0, Pressed("queue", "enter"))
    assert plain(last.cell(2.0, 1, 40, UNICODE)) == "queue g j j×3 render me enter"
    assert plain(last.cell(2.0, 1, 20, UNICODE)) == "queue …nder me enter"
    assert last.cell(8.0, 1, 40, UNICODE) == (), "long ago"
    assert last.cell(8.0, 10, 40, UNICODE) != (), "not long ago, as fast as it is played"
    last.add(20.0, Pressed("queue", "K"))
    assert plain(last.cell(20.0, 1, 40, UNICODE)) == "queue K"
    last.add(20.0, Pressed("preview", "\x1b[31m"))
    assert plain(last.cell(20.0, 1, 40, UNICODE)) == "preview ^[[31m"


def test_an_entry_that_is_none_is_passed_over() -> None:
    assert read(b"\xff") is None
    assert read(b'{"place": "queue"}') is None
    assert read(Pressed("queue", "é").written()) == Pressed("queue", "é")


async def test_line_by_line_what_was_typed_is_recorded_and_read_out(tmp_path: Path) -> None:
    path = tmp_path / "night.rec"
    recording = Recording(path)

    async def typed() -> AsyncIterator[str]:
        yield "queue state=running"

    assert [line async for line in recorded_lines(typed(), recording)] == ["queue state=running"]
    recording.pressed(Pressed("queue", "j", 3))
    recording.pressed(Pressed("queue", "x", text=True))
    recording.close()
    said: list[str] = []

    def heard(text: str) -> None:
        said.append(text)

    over = asyncio.Event()

    class Played(ReplayedSource):
        async def watch(self) -> AsyncGenerator[WatchItem, None]:
            async for item in super().watch():
                if isinstance(item, LinkState):  # that it ends here
                    over.set()
                yield item

    async def until_its_end() -> AsyncIterator[str]:
        await over.wait()
        yield "quit"

    played = Played(path)
    source: Any = played
    await Linear(source, heard, until_its_end(), Clock(), read_only=True).run()
    assert [line for line in said if line.startswith("> ")] == ["> queue state=running", "> j in queue, 3 times"]
