"""A few pictures, for colours, alignment and themes. The plain-text screens check the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.console import Clock, EmulatedConsole, Session
from tests.tui.test_screens import with_output
from tui.tty.terminal import Terminal

PICTURES: dict[str, tuple[tuple[int, int], bool, tuple[str, ...]]] = {
    # name: size, light theme, keys
    "nodes": ((120, 30), False, ("j",)),
    "queue_light": ((120, 30), True, ("2", "j", "space", "j")),
    "task": ((160, 44), False, ("2", "j", "enter")),
    "cancel": ((100, 28), False, ("2", "j", "K")),
    "dag": ((120, 30), False, ("3", "enter", "c")),
}


@pytest.mark.parametrize("name", PICTURES)
def test_picture(name: str, snap_compare: Callable[..., bool]) -> None:
    size, light, keys = PICTURES[name]
    source, clock = with_output(), Clock()
    app = EmulatedConsole(source, size, terminal=Terminal(light=light), clock=clock, ticking=False)

    async def open_and_press(pilot: Pilot[Any]) -> None:
        session = Session(app, pilot, clock, source)
        await session.until(lambda: app.view.ready and source.history_asked)
        await session.press(*keys)
        await asyncio.sleep(0)

    assert snap_compare(app, terminal_size=size, run_before=open_and_press)
