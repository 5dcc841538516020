"""A workflow as the rows of a table: arranged anew when its shape changes, else changed row by row. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cortex.v1 import types_pb2
from tui.columns.dag import DagRow, fold_counts
from tui.dag_needs import Needs
from tui.rows import Rows
from tui.workflow_members import Members

Task = types_pb2.Task


@dataclass(frozen=True)
class Placed:
    """A line of the drawing: one member, or several that are folded into it."""

    key: str
    members: tuple[int, ...]
    label: str = ""
    """Of a fold."""
    before: str = ""
    after: str = ""


Arrange = Callable[[Mapping[int, Task]], Sequence[Placed]]


def _text(row: DagRow) -> str:
    task = row.task
    if task is None:
        return row.label
    return "\n".join((row.label, task.name, task.id, task.node, task.error, task.reason))


class DagRows:
    """`rows` of what `arrange` draws, by its keys."""

    def __init__(self, members: Members, arrange: Arrange) -> None:
        self.members = members
        self.rows: Rows[DagRow] = Rows(_text)
        self.placed: Sequence[Placed] = ()
        self.critical: frozenset[int] = frozenset()
        self.needs = Needs({})
        self._arrange = arrange
        self._place_of: dict[int, int] = {}
        self._counts: dict[int, Counter[int]] = {}
        """Of folds, by place."""
        self._states: dict[int, int] = {}

    def sync(self) -> bool:
        """Take in what changed; returns whether the lines are others now."""
        news = self.members.take()
        if any(task.member not in self._place_of for task in news):
            self.needs = Needs(self.members.tasks)
            self.arrange()
            return True
        dirty: set[int] = set()
        for task in news:
            dirty.add(self._place_of[task.member])
            self._recount(task)
            dirty.update(self._place_of[child] for child in self.needs.put(task.member))
        for place in sorted(dirty):
            self._put(place)
        return False

    def arrange(self) -> None:
        """Draw all lines anew: the shape, or what is folded, is another."""
        self.placed = self._arrange(self.members.tasks)
        self._place_of = {number: at for at, placed in enumerate(self.placed) for number in placed.members}
        tasks = self.members.tasks
        self._states = {number: task.state for number, task in tasks.items()}
        self._counts = {
            at: Counter(tasks[number].state for number in placed.members)
            for at, placed in enumerate(self.placed)
            if placed.label
        }
        kept = {placed.key for placed in self.placed}
        for key in [row.key for row in self.rows.values() if row.key not in kept]:
            self.rows.remove(key)
        for at in range(len(self.placed)):
            self._put(at)

    def show_critical(self, members: Iterable[int]) -> None:
        before, self.critical = self.critical, frozenset(members)
        for place in sorted(
            {self._place_of[number] for number in before ^ self.critical if number in self._place_of}
        ):
            self._put(place)

    def key_of(self, number: int) -> str:
        """Key of the row that a member stands in; empty when there is none."""
        place = self._place_of.get(number)
        return self.placed[place].key if place is not None else ""

    def placed_at(self, key: str) -> Placed | None:
        row = self.rows.get(key)
        return self.placed[row.position] if row is not None else None

    def _recount(self, task: Task) -> None:
        place, before = self._place_of[task.member], self._states[task.member]
        self._states[task.member] = task.state
        if (counts := self._counts.get(place)) is not None:
            counts[before] -= 1
            counts[task.state] += 1

    def _put(self, place: int) -> None:
        placed = self.placed[place]
        critical = not self.critical.isdisjoint(placed.members) if self.critical else False
        row = DagRow(placed.key, place, placed.label, before=placed.before, after=placed.after, critical=critical)
        if placed.label:
            row = replace(row, counts=fold_counts(self._counts[place]))
        else:
            task = self.members.tasks[placed.members[0]]
            row = replace(row, label=task.task_key or task.name, task=task, needs=self.needs.words(task.member))
        self.rows.put(placed.key, row)
