"""When the console paints: once for another size, at once for a key, and a key's way has an end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pytest
from textual.geometry import Region
from textual.widget import Widget

from tests.tui import fake
from tests.tui.console import Session, open_console
from tests.tui.fake_source import FakeSource
from tui.tty.frontbuffer import _cells
from tui.widgets.finished import FinishedLines
from tui.widgets.lines import Lines
from tui.widgets.table import Table
from tui.widgets.virtual import VirtualView

NEVER_S = 3600.0


@pytest.fixture
def patient() -> Iterator[None]:
    """No key is given up."""
    with patch("tui.console.painting.KEY_S", NEVER_S):
        yield


@pytest.mark.parametrize("keys", [(), ("2",), ("2", "j", "enter"), ("K",), ("2", "K")], ids="-".join)
async def test_another_size_is_painted_once(keys: tuple[str, ...]) -> None:
    async with open_console(size=(200, 50)) as session:
        await session.press(*keys)
        for size in ((100, 30), (150, 40), (80, 24)):
            before = len(session.app.sent)
            await session.resize(*size)
            assert len(session.app.sent) - before == 1, size


async def test_the_way_of_a_key_goes_on_where_what_it_closed_has_ended(patient: None) -> None:
    async with open_console() as session:
        closing, way_ended = asyncio.Event(), asyncio.Event()

        async def messages() -> None:
            await closing.wait()

        # Takes what is sent to it, and ends before it comes to that.
        gone = SimpleNamespace(call_later=lambda _what: True, _task=asyncio.create_task(messages()))
        app = session.app
        app._follow_key([cast(Any, gone), app], app._step, way_ended.set)
        await session.settle()
        assert not way_ended.is_set()
        closing.set()
        async with asyncio.timeout(60):
            await way_ended.wait()
        assert app._left is None


async def test_a_key_is_painted_before_more_data_is_folded(patient: None) -> None:
    source = FakeSource(tasks=[fake.task(n, f"job-{n:04}", fake.QUEUED, index=n) for n in range(1, 30)])
    async with open_console(source) as session:
        await session.press("2")
        await session.settle()
        app, before = session.app, len(session.app.sent)
        # Without Textual's own turns.
        app.screen._update_timer.stop()
        await press_only(session, "j")
        async with asyncio.timeout(60):
            await app.keys_first()
            while app._busy_with_key:
                await app.keys_first()
        assert len(app.sent) - before == 1


async def press_only(session: Session, key: str) -> None:
    """Without what a session does behind a key: it is taken when this returns."""
    handed = asyncio.Event()
    hand_out = session.app._hand_out

    async def noted(event: object) -> None:
        await hand_out(event)  # type: ignore[arg-type]
        handed.set()

    with patch.object(session.app, "_hand_out", noted), patch.object(session, "settle", handed.wait):
        await session.press(key)


@pytest.mark.parametrize("keys", [(), ("2",), ("2", "space", "j"), ("2", "enter"), ("5",)], ids="-".join)
async def test_finished_lines_are_those_of_textual(keys: tuple[str, ...]) -> None:
    async with open_console(size=(160, 40)) as session:
        await session.press(*keys)
        plain = 0
        for widget in session.app.screen.walk_children(Widget):
            cache = widget._styles_cache
            if (
                not isinstance(widget, VirtualView | Lines)
                or not isinstance(cache, FinishedLines)
                or not widget.size
            ):
                continue
            whole = Region(0, 0, *widget.region.size)
            ours = widget.render_lines(whole)
            plain += cache.looks is not None and cache.looks.plain
            theirs = super(FinishedLines, FinishedLines(widget.render_line)).render_widget(widget, whole)
            console = session.app.console
            for y, (our, their) in enumerate(zip(ours, theirs, strict=True)):
                assert _cells(our, console) == _cells(their, console), (widget, y)
        assert plain >= 3
        assert any(isinstance(widget, Table) for widget in session.app.screen.walk_children(Widget))
