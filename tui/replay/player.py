"""Where a recording stands that is played, and how fast it goes. Seconds are those of the recording."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from typing import TypeVar

from tui.keyboard.keys import Key
from tui.keyboard.keytable import PLACES
from tui.lists.rows import Rows
from tui.replay.pressed import LastPressed, Pressed
from tui.store.letters import key_of
from tui.store.view import ClusterView

R = TypeVar("R")

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
PLACE = "replay"
TURN_S = 1.0
"""Real seconds after which one who waits for the next record is told that there is none yet."""


class Turn(Enum):
    DUE = "due"
    STILL = "still"
    BACK = "back"


class Player:
    """Told by keys, asked by the source that plays. `on_rewind` is called before what was shown is played anew,
    `on_pressed` when it comes to a key that was recorded.
    """

    def __init__(self, length_s: float, speed: float, clock: Callable[[], float]) -> None:
        self.length_s, self.speed = length_s, speed
        self.position_s = 0.0
        self.paused = self.ended = False
        self.on_rewind: Callable[[], None] = lambda: None
        self.on_pressed: Callable[[Pressed], None] = lambda _: None
        self.last_pressed = LastPressed()
        self._clock, self._seen_s = clock, clock()
        self._told = asyncio.Event()
        self._steps = 0
        self._target_s: float | None = None

    def pause(self) -> None:
        """Stand still, or go on."""
        self._advance()
        self.paused = not self.paused
        self._told.set()

    def step(self) -> None:
        """To the next word that came, and stand still there."""
        self._advance()
        self.paused = True
        self._steps += 1
        self._told.set()

    def change_speed(self, by: int) -> None:
        """The next faster speed, or slower for -1."""
        self._advance()
        others = [one for one in SPEEDS if (one - self.speed) * by > 0]
        self.speed = (min(others) if by > 0 else max(others)) if others else self.speed
        self._told.set()

    def jump(self, by_s: float) -> None:
        """Forward, or back for a negative number, as far as there is something."""
        self._advance()
        begin_s = self.position_s if self._target_s is None else self._target_s
        self._target_s = min(self.length_s, max(0.0, begin_s + by_s))
        self._told.set()

    def said(self) -> str:
        """Where it is and how fast, as `playing 0:12 of 3:40 at 10x`."""
        how = "ended" if self.ended else "paused" if self.paused else "playing"
        return f"{how} {_clock(self.position_s)} of {_clock(self.length_s)} at {self.speed:g}x"

    async def turn(self, at_s: float, *, frame: bool = True) -> Turn:
        """Wait for a record of second `at_s`, a second at most. `frame`: whether it is one that a step goes to."""
        deadline_s = self._clock() + TURN_S
        while True:
            self._told.clear()
            self._advance(at_s)
            target_s = self._target_s
            if target_s is not None:
                if target_s < self.position_s:
                    return Turn.BACK
                if at_s <= target_s:
                    self.position_s = max(self.position_s, at_s)
                    return Turn.DUE
                self.position_s, self._target_s = target_s, None
            if self._steps:
                self._steps -= frame
                self.position_s = max(self.position_s, at_s)
                return Turn.DUE
            if self.position_s >= at_s:
                return Turn.DUE
            left_s = deadline_s - self._clock()
            if left_s <= 0:
                return Turn.STILL
            wait_s = left_s if self.paused else min(left_s, (at_s - self.position_s) / self.speed)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._told.wait()

    def pressed(self, at_s: float, one: Pressed) -> None:
        """That was pressed in second `at_s`."""
        self.last_pressed.add(at_s, one)
        self.on_pressed(one)

    def rewind(self) -> None:
        """What was shown is taken back; from its begin the recording goes on to where it is wanted, at once."""
        self.on_rewind()
        self.last_pressed.clear()
        self.position_s, self.ended = 0.0, False

    async def end(self) -> None:
        """The last record was played: wait until somebody goes back."""
        self.ended, self.position_s = True, self.length_s
        while self._target_s is None or self._target_s >= self.position_s:
            self._target_s, self._steps = None, 0
            self._told.clear()
            await self._told.wait()

    def _advance(self, most_s: float | None = None) -> None:
        now_s = self._clock()
        if not self.paused and not self.ended:
            forward_s = self.position_s + (now_s - self._seen_s) * self.speed
            self.position_s = min(forward_s, self.length_s if most_s is None else max(self.position_s, most_s))
        self._seen_s = now_s


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def while_replaying(table: Sequence[Key]) -> tuple[Key, ...]:
    """The table with the keys of a replay everywhere; what else was on these keys has none meanwhile."""
    own = [replace(key, place="app") for key in table if key.place == PLACE]
    taken = {name for key in own for name in key.keys}
    # Dialogs keep all of theirs: the keys of everywhere do not work in them.
    rest = [
        replace(key, keys=tuple(name for name in key.keys if name not in taken))
        if PLACES[key.place].everywhere
        else key
        for key in table
        if key.place != PLACE
    ]
    return (*own, *(key for key in rest if key.keys or key.palette))


def forget(view: ClusterView) -> None:
    """Takes everything out of a store, as if nothing had been heard yet; whoever shows its rows is told."""
    letters = view.letters
    _empty(view.tasks, lambda row: row.id)
    _empty(view.nodes, lambda row: row.node.id)
    _empty(view.events, lambda row: row.id)
    _empty(view.workflows, lambda row: row.id)
    _empty(view.operations, lambda row: row.id)
    _empty(letters.causes, key_of)
    new = ClusterView()
    told = ("states", "workflow_states", "running_in", "waiting", "settings", "leader", "term", "index", "ready")
    for name in (*told, "_at_us", "_seen", "_ended", "_event_keys", "_ended_workflows"):
        setattr(view, name, getattr(new, name))
    letters.words.clear()
    letters.index, letters.changed_index, letters.count = -1, 0, 0


def _empty(rows: Rows[R], key: Callable[[R], str]) -> None:
    for row in list(rows.values()):
        rows.remove(key(row))
