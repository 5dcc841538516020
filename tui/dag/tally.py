"""How many tasks of each group are in which state, kept with every change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tui.dag.collapse import Folds, Group
from tui.dag.glyphs import ROLES, Cell, DagGlyphs
from tui.dag.graph import State

Counts = Mapping[State, int]


class Tally:
    """The states of a graph's tasks; a task that no state came for is waiting."""

    def __init__(self, folds: Folds, states: Mapping[str, State] | None = None) -> None:
        self._folds = folds
        self._states = dict.fromkeys(folds.graph.keys, State.WAITING)
        self._counts = {key: Counter({State.WAITING: len(group.tasks)}) for key, group in folds.groups.items()}
        self.total: Counter[State] = Counter({State.WAITING: len(folds.graph)})
        for task, state in (states or {}).items():
            self.put(task, state)

    def put(self, task: str, state: State) -> bool:
        """Take in a state; False when nothing changed, or the graph does not know the task."""
        before = self._states.get(task)
        if before is None or before is state:
            return False
        self._states[task] = state
        for counts in (self.total, *(self._counts[key] for key in self._folds.around(task))):
            counts[before] -= 1
            counts[state] += 1
        return True

    def counts(self, key: str) -> Counts:
        """Of a group."""
        return self._counts[key]

    def state(self, key: str) -> State:
        """Of a task, or of a group as a whole; what StateOf asks for."""
        own = self._states.get(key)
        return whole(self._counts[key]) if own is None else own


def whole(counts: Counts) -> State:
    """Failed with its first failure, which nothing hides; running while some run, else as what has not ended."""
    for state in (State.FAILED, State.RUNNING):
        if counts.get(state):
            return state
    ended = [state for state in State if state.ended and counts.get(state)]
    if not any(count for state, count in counts.items() if not state.ended):
        return ended[0] if ended else State.WAITING
    return State.READY if counts.get(State.READY) else State.WAITING


SHOWN = (State.DONE, State.RUNNING, State.READY, State.FAILED, State.CANCELLED, State.SKIPPED)


def summary(group: Group, counts: Counts, glyphs: DagGlyphs, *, bar_width: int = 5) -> Cell:
    """What follows the title: `×166 ████▌ 150✓ 12▸ 4✗`, of the states that occur; what waits is the bar's rest."""
    total = len(group.tasks)
    spans: list[tuple[str, str]] = [(f"{glyphs.times}{total} ", "dim")]
    ended = sum(count for state, count in counts.items() if state.ended)
    halves = _halves(ended, total, bar_width)
    bar = glyphs.bar_full * (halves // 2) + glyphs.bar_half * (halves % 2)
    bad = bool(counts.get(State.FAILED))
    spans += [(bar, "bad" if bad else "ok"), (glyphs.bar_rest * (bar_width - len(bar)), "track")]
    for state in SHOWN:
        if count := counts.get(state):
            spans.append((f" {count}{glyphs.states[state]}", ROLES[state]))
    return tuple(span for span in spans if span[0])


def _halves(part: int, total: int, width: int) -> int:
    """Half cells of a bar: none only for nothing, full only for all."""
    halves = part * width * 2 // total if total else 0
    return max(halves, 1) if part and width else halves
