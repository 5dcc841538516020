"""What an operator who looks elsewhere should hear of, and never too often. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque

from cortex.v1 import types_pb2
from tui.drawing.text import clean
from tui.lists.rows import Changes
from tui.store.view import ClusterView

EVERY_S = 10.0
"""At most one alert in this time; what comes meanwhile is counted in the next."""
FRESH_US = 60_000_000
"""What ended longer ago is history that was loaded, and no news."""
BURST = 10
BURST_US = 10_000_000
LEADERLESS_S = 3.0
MAX_KNOWN = 10_000
MAX_CHARACTERS = 200

_BAD = frozenset({types_pb2.TASK_STATE_FAILED, types_pb2.TASK_STATE_DEAD_LETTER})


class Alerts:
    """Follows the view for one operator, who is `actor` there. Times are monotonic seconds."""

    def __init__(self, view: ClusterView, actor: str) -> None:
        self.view = view
        self._actor = actor
        self._changes = Changes(view.tasks)
        self._told: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._letters: deque[int] = deque(maxlen=BURST)
        self._without_leader_s: float | None = None
        self._leader_told = True
        self._waiting: list[str] = []
        self._next_s = 0.0

    def close(self) -> None:
        """Follow the view no longer."""
        self._changes.close()

    def news(self, now_s: float) -> str:
        """One sentence for all that happened since the last; empty when nothing did, or it is too soon."""
        changed = self._changes.take()
        if self.view.ready:
            self._leader(now_s)
            now_us = self.view.now_us(now_s)
            for task in changed:
                if task.state in _BAD:
                    self._ended(task, now_us)
        if not self._waiting or now_s < self._next_s:
            return ""
        first, more = self._waiting[0], len(self._waiting) - 1
        self._waiting.clear()
        self._next_s = now_s + EVERY_S
        return f"{first} And {more:,} more." if more else first

    def _ended(self, task: types_pb2.Task, now_us: int) -> None:
        at_us = task.completed_at_us or task.dead_lettered_at_us
        if now_us - at_us > FRESH_US or (task.id, task.run) in self._told:
            return
        self._told[task.id, task.run] = None
        if len(self._told) > MAX_KNOWN:
            self._told.popitem(last=False)
        if task.actor == self._actor:
            name = clean(task.name or task.id)[:MAX_CHARACTERS]
            dead = task.state == types_pb2.TASK_STATE_DEAD_LETTER
            self._waiting.append(f"Your task {name} {'is a dead letter' if dead else 'failed'}.")
        if task.state == types_pb2.TASK_STATE_DEAD_LETTER:
            self._letters.append(at_us)
            if len(self._letters) == BURST and at_us - self._letters[0] <= BURST_US:
                self._letters.clear()
                self._waiting.append(f"{BURST} dead letters within {BURST_US // 1_000_000} s.")

    def _leader(self, now_s: float) -> None:
        if self.view.leader and not self.view.link.lost(now_s):
            self._without_leader_s, self._leader_told = None, False
            return
        if self._without_leader_s is None:
            self._without_leader_s = now_s
        if not self._leader_told and now_s - self._without_leader_s >= LEADERLESS_S:
            self._leader_told = True
            self._waiting.append("No leader is heard of.")
