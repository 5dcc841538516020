"""A console whose own driver writes to an emulated terminal, which takes frames when the test lets it.

Time stands for the driver too, so that how much of a frame is sent is the same in every run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pyte
import pytest
from textual.driver import Driver
from textual.events import Resize
from textual.geometry import Size

from tests.tui.console import Clock, Session
from tests.tui.fake_source import FakeSource
from tui.app import Console
from tui.tty.driver import PacedDriver
from tui.tty.terminal import Terminal
from tui.tty.writer import Writer
from tui.widgets.virtual import VirtualView

QUIET_ROUNDS = 6
"""Turns of the loop without any work, after which nothing is under way: no part of the work waits longer."""
MAX_ROUNDS = 2000
NEVER_S = 3600.0
"""Between two paintings that nobody asked for: a session asks itself."""
Look = tuple[str, str, str, bool, bool, bool, bool, bool]
"""Of a cell: its character, colours and attributes."""


class Wire:
    """Stands for the writer, the line and the terminal. While `held`, the terminal takes nothing."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.emulator = pyte.Screen(*size)
        self.stream = pyte.Stream(self.emulator)
        self.held = False
        self.dead = False
        self.written = 0
        """Characters that were ever written."""
        self.driver: WiredDriver | None = None
        self._pieces: deque[tuple[str, bool]] = deque()

    def write(self, text: str, *, marked: bool = False) -> None:
        self.written += len(text)
        self._pieces.append((text, marked))

    def flush(self) -> None: ...

    def stop(self) -> None: ...

    def deliver(self) -> bool:
        """Whether the terminal took anything."""
        if self.held or not self._pieces:
            return False
        while self._pieces:
            text, marked = self._pieces.popleft()
            self.stream.feed(text)
            if marked and self.driver is not None:
                self.driver._told()
        return True

    def scribble(self, sign: str) -> None:
        """The terminal shows anything, as after it laid out its lines anew."""
        for y in range(self.emulator.lines):
            for x in range(self.emulator.columns):
                self.emulator.buffer[y][x] = pyte.screens.Char(sign, fg="red", reverse=True)

    def picture(self) -> list[list[Look]]:
        rows = (self.emulator.buffer[y] for y in range(self.emulator.lines))
        return [[_look(row[x]) for x in range(self.emulator.columns)] for row in rows]


def _look(cell: pyte.screens.Char) -> Look:
    return (
        cell.data, cell.fg, cell.bg, cell.bold, cell.italics, cell.underscore, cell.strikethrough, cell.reverse,
    )  # fmt: skip


class WiredDriver(PacedDriver):
    """The console's driver without a terminal of the operating system."""

    def __init__(self, app: Console, **options: Any) -> None:
        # What Textual's driver for Linux does here concerns the process's own terminal.
        Driver.__init__(self, app, **options)
        self._frame = None
        self._last_move = ""
        self._answering = True
        self._asked = self._written_frames = self._passed = 0
        self._answers = cast(Any, _Free())
        self._writer = cast(Writer, cast(WiredConsole, app).wire)
        cast(WiredConsole, app).wire.driver = self

    def start_application_mode(self) -> None: ...

    def stop_application_mode(self) -> None: ...

    def disable_input(self) -> None: ...

    def close(self) -> None: ...


class _Free:
    """A condition where nobody else is."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def notify_all(self) -> None: ...


class WiredConsole(Console):
    def __init__(self, source: FakeSource, wire: Wire, **options: Any) -> None:
        self.wire = wire
        self.delayed = 0
        """How often painting is held back until a view was built."""
        super().__init__(source, **options)
        self.driver_class = WiredDriver

    def delay_update(self, delay: float = 0.05) -> None:
        if self.building:
            self.delayed += 1
            self._begin_batch()

    def end_delays(self) -> None:
        while self.delayed:
            self.delayed -= 1
            self._end_batch()
            self.screen.refresh()


class WiredSession(Session):
    """One open console and its terminal."""

    app: WiredConsole  # type: ignore[assignment]

    @property
    def wire(self) -> Wire:
        return self.app.wire

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.wire.emulator.display]

    async def _quiet(self) -> None:
        still = rounds = 0
        while still < QUIET_ROUNDS and self.app.is_running and self.app.return_code is None:
            written = self.wire.written
            delivered = self.wire.deliver()
            await asyncio.sleep(0)
            for screen in (*self.app._background_screens, self.app.screen):
                if screen._update_timer._active.is_set():
                    screen._on_timer_update()
            pumps = [self.app, *self.app.screen_stack, *self.app.screen.walk_children()]
            busy = any(pump.message_queue_size or pump._next_callbacks for pump in pumps)
            busy = busy or delivered or self.source.waiting
            still = 0 if busy or self.wire.written != written else still + 1
            if self.app._resize_event is not None:
                # Textual waits for a moment, for a terminal that changes several times.
                self.app._check_resize()
                still = 0
            if still == QUIET_ROUNDS and self.app.delayed:
                self.app.end_delays()
                still = 0
            if still == QUIET_ROUNDS and self.app._busy_with_key:
                # What a key closed has taken its way with it: half a second is over.
                self.app._next_key()
                still = 0
            rounds += 1
            if self.app._exception is not None:
                raise self.app._exception
            assert rounds < MAX_ROUNDS, f"always busy: {[pump for pump in pumps if pump.message_queue_size]}"

    async def resize(self, width: int, height: int) -> None:
        if self.app.size == (width, height):
            return
        self.wire.emulator.resize(height, width)
        self.wire.scribble("#")
        driver = self.wire.driver
        assert driver is not None
        driver._size = (width, height)
        size = Size(width, height)
        self.app.post_message(Resize(size, size))
        await self.settle()

    async def still(self) -> None:
        """Return when no refresh has anything to tell any more."""
        written = -1
        while written != self.wire.written:
            written = self.wire.written
            await self.settle()

    async def fresh(self) -> list[list[Look]]:
        """What the terminal shows after everything was drawn anew, whatever it showed before."""
        self.wire.scribble("~")
        for view in self.app.screen.query(VirtualView):
            # One that the operator let stand still shows what it showed then.
            if not getattr(view, "paused", False):
                getattr(view, "redraw", view.refresh)()
        self.app.repaint_all()
        await self.still()
        return self.wire.picture()


@asynccontextmanager
async def open_wired(
    source: FakeSource, size: tuple[int, int] = (80, 24), *, terminal: Terminal | None = None
) -> AsyncIterator[WiredSession]:
    """A console over its own driver that has folded the source's snapshot and history, at a standing clock."""
    clock = Clock()
    clock.now_s = 1.0  # a key's own time is later than any that is told
    time = SimpleNamespace(monotonic=clock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tui.console.painting.time", time)
        patch.setattr("tui.tty.driver.time", time)
        patch.setattr("tui.app.time", time)
        patch.setattr("textual.screen.UPDATE_PERIOD", NEVER_S)
        patch.setattr("textual.widgets.Input._toggle_cursor", lambda _input: None)
        app = WiredConsole(source, Wire(size), terminal=terminal, clock=clock, ticking=False)
        async with app.run_test(size=size, headless=False) as pilot:
            session = WiredSession(cast(Any, app), pilot, clock, source)
            await session.until(lambda: app.view.ready and source.history_asked)
            await session.settle()
            yield session
