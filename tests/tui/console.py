"""Drives the console by keys over a fake source, and reads its screen as a terminal would show it.

Every update that Textual writes goes through a terminal emulator: a cell that changed but was not repainted shows.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyte
from rich.console import RenderableType
from textual import events
from textual._compositor import CompositorUpdate
from textual.keys import REPLACED_KEYS, _character_to_key, _get_unicode_name_from_key
from textual.pilot import Pilot

from tests.tui.fake_source import FakeSource
from tui.app import Console
from tui.tty.terminal import Terminal

GOLDEN = Path(__file__).parent / "golden"
TIMEOUT_S = 60.0
QUIET_ROUNDS = 6
"""Turns of the loop without any work, after which nothing is under way: no part of the work waits longer."""


class Clock:
    """Monotonic seconds that move only when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class EmulatedConsole(Console):
    """Writes what a terminal would get into an emulator. `sent` keeps the text of every update."""

    def __init__(self, source: FakeSource, size: tuple[int, int], **options: Any) -> None:
        self.emulator = pyte.Screen(*size)
        self.stream = pyte.Stream(self.emulator)
        self.sent: list[str] = []
        self.escapes: list[str] = []
        super().__init__(source, **options)

    def send(self, sequence: str) -> None:
        """Escape sequences that show nothing, as those of the clipboard."""
        self.escapes.append(sequence)

    def thinned(self, renderable: RenderableType | None) -> RenderableType | None:
        update = super().thinned(renderable)
        if isinstance(update, CompositorUpdate) and not self._batch_count:
            text = update.render_segments(self.console)
            assert not self.front.broken
            if text:
                self.sent.append(text)
                self.stream.feed(text)
        return None


class Session:
    """One open console in a test."""

    def __init__(self, app: EmulatedConsole, pilot: Pilot[int], clock: Clock, source: FakeSource) -> None:
        self.app = app
        self.pilot = pilot
        self.clock = clock
        self.source = source

    async def settle(self) -> None:
        """Let the stream be folded, refresh, and let everything be drawn."""
        await self._quiet()
        self.app.tick()
        await self._quiet()

    async def _quiet(self) -> None:
        """Return when nothing is queued and nothing is written any more.

        As Pilot.pause, without its tasks and messages for each widget, which cost more than what a key does.
        """
        still = 0
        held = False
        while still < QUIET_ROUNDS and self.app.is_running and self.app.return_code is None:
            written = len(self.app.sent)
            # Whoever holds painting back counts real time.
            await asyncio.sleep(0.001 if held else 0)
            self.app.screen._on_timer_update()
            pumps = [self.app, *self.app.screen_stack, *self.app.screen.walk_children()]
            queued = any(pump.message_queue_size or pump._next_callbacks for pump in pumps)
            held = not queued and self.app._batch_count > 0
            busy = queued or held or self.source.waiting or len(self.app.sent) != written
            still = 0 if busy else still + 1

    async def press(self, *keys: str) -> None:
        # As Pilot.press, without its waiting until the process is idle, which takes long on a busy machine.
        for key in keys:
            name = _character_to_key(key) if len(key) == 1 and not key.isalnum() else key
            try:
                character = unicodedata.lookup(_get_unicode_name_from_key(REPLACED_KEYS.get(name, name)))
            except KeyError:
                character = name if len(name) == 1 else None
            event = events.Key(name, character)
            event.set_sender(self.app)
            self.app.post_message(event)
            await self.settle()

    async def wait(self, seconds: float) -> None:
        """Let time pass for the console."""
        self.clock.now_s += seconds
        await self.settle()

    async def resize(self, width: int, height: int) -> None:
        if self.app.size == (width, height):
            return
        self.app.emulator.resize(height, width)
        self.app.emulator.reset()
        await self.pilot.resize_terminal(width, height)
        await self.until(lambda: self.app.screen.size == (width, height))
        await self.settle()

    async def until(self, condition: Any) -> None:
        """Wait until something holds. Fails when it never does."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                await self.settle()
                await asyncio.sleep(0)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.app.emulator.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def line_with(self, part: str) -> str:
        found = [line for line in self.lines if part in line]
        assert found, f"no line has {part!r}:\n{self.text}"
        return found[0]


@asynccontextmanager
async def open_console(
    source: FakeSource | None = None,
    size: tuple[int, int] = (80, 24),
    *,
    terminal: Terminal | None = None,
    read_only: bool = False,
    **options: Any,
) -> AsyncIterator[Session]:
    """A console that has folded the source's snapshot and history, at a standing clock."""
    source = source or FakeSource()
    clock = Clock()
    app = EmulatedConsole(
        source, size, terminal=terminal, clock=clock, read_only=read_only, ticking=False, **options
    )
    async with app.run_test(size=size) as pilot:
        session = Session(app, pilot, clock, source)
        await session.until(lambda: app.view.ready and source.history_asked)
        await session.settle()
        yield session


def check_golden(name: str, session: Session) -> None:
    """The screen equals tests/tui/golden/NAME.txt. A missing file is written, and fails once."""
    path = GOLDEN / f"{name}.txt"
    shown = session.text + "\n"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown, encoding="utf-8")
        raise AssertionError(f"{path.name} was not there; it is written now, look at it and run again")
    assert shown == path.read_text(encoding="utf-8")
