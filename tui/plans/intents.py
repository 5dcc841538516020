"""What was confirmed while the cluster could not take it: kept, and asked again when it can. Pure.

Nothing of this is ever sent by itself: the cluster may look different by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tui.drawing.draw import Cell
from tui.drawing.format import duration
from tui.plans.base import Done, Plan

MAX_INTENTS = 20
AWAY_CODES = frozenset({"unreachable", "no_leader", "overloaded", "deadline"})
"""Errors after which nothing was done, and the same may be done later."""


@dataclass(frozen=True)
class Intent:
    """One confirmed plan: how it is made anew, and who is told how it went. `at_s` is monotonic."""

    make: Callable[[], Plan]
    then: Callable[[Done | None], None]
    title: str
    command: str
    at_s: float


@dataclass
class Intents:
    """Oldest first."""

    waiting: list[Intent] = field(default_factory=list)

    def add(self, intent: Intent) -> bool:
        """False when there are too many."""
        if len(self.waiting) >= MAX_INTENTS:
            return False
        self.waiting.append(intent)
        return True

    def take(self, number: int = 0) -> Intent | None:
        """Out of the list: it is shown again."""
        return self.waiting.pop(number) if number < len(self.waiting) else None

    def hint(self) -> Cell:
        """For the top line."""
        count = len(self.waiting)
        return ((f"{count} intent{'s wait' if count > 1 else ' waits'}", "warn"),) if count else ()

    def lines(self, now_s: float) -> Sequence[tuple[str, str]]:
        """Title and age of each."""
        return [(one.title, f"{duration(int((now_s - one.at_s) * 1e6))} ago") for one in self.waiting]
