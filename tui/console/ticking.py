"""When the console ticks: ten times a second while something goes on, and not at all where nothing can change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from textual.app import App
from textual.timer import Timer

from tui.console.undo import OwnOperations
from tui.drawing.draw import Cell
from tui.plans.intents import Intents
from tui.screens.base import ConsoleScreen
from tui.store.view import STALE_AFTER_S, ClusterView

TICK_S = 0.1
REST_S = 1.1
"""Longest without a tick. A little over a second: what comes every second brings its tick along."""
LEAST_REST_S = 0.02
STIRRED_S = 0.5
"""What came of the terminal may have its effects for so long."""


class Ticking(App[int], inherit_bindings=False):
    """Over what the console itself has."""

    view: ClusterView
    own: OwnOperations
    intents: Intents
    note: Cell | None
    clock: Callable[[], float]
    stirred_s: float

    def begin_ticking(self) -> None:
        self.taking = False
        """Whether samples are being taken in: shown when all of them are, and their lines made."""
        self.put_off = False
        """Whether the last tick found the terminal busy."""
        self._ticker: Timer | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._ticked_for: object = None
        self._ticked_s = 0.0

    def tick(self) -> None:
        raise NotImplementedError

    def begin_tick(self) -> None:
        """Whatever is drawn from now on is as of now."""
        raise NotImplementedError

    def hints(self) -> tuple[Cell, Cell]:
        """What is said of the terminal's line, and of keys that are played."""
        raise NotImplementedError

    def keep_ticking(self) -> None:
        self._ticker = self.set_interval(TICK_S, self._tick_if_due)

    def wake(self) -> None:
        """Something came that a tick may have to show."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._ticker is not None:
            self._ticker.resume()

    def _tick_if_due(self) -> None:
        """Tick, unless nothing that it would look at can have changed."""
        if not self.is_running or self.taking:
            return
        self.begin_tick()
        decides, now_s = self._decides(), self.clock()
        if decides is None or decides != self._ticked_for or now_s - self._ticked_s >= REST_S:
            self.tick()
            self._ticked_for, self._ticked_s = decides, now_s
        if decides is not None and self._ticker is not None and decides == self._decides():
            self._rest(self._ticker)

    def _rest(self, ticker: Timer) -> None:
        """Until something comes, a second is over, or the link counts as lost."""
        now_s, link = self.clock(), self.view.link
        due_s = self._ticked_s + REST_S
        if not link.lost(now_s):
            due_s = min(due_s, link.heard_s + STALE_AFTER_S + LEAST_REST_S)
        ticker.pause()
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(max(LEAST_REST_S, due_s - now_s), self.wake)

    def _decides(self) -> object:
        """All that decides beside the time what a tick would do; None while that is not known."""
        screen, view = self.screen, self.view
        if not isinstance(screen, ConsoleScreen) or not screen.stands_still():
            return None
        line, played = self.hints()
        if self.put_off or self.note is not None or self.intents.waiting or played:
            return None
        if view.cold or self.own.pending(view) or time.monotonic() - self.stirred_s < STIRRED_S:
            return None
        return screen, self.size, view.version, view.link.lost(self.clock()), line
