"""Tasks in groups that open and close, kept up change by change. Pure.

Only the members of open groups are rows of their own: a closed group costs one row, however many it has.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cortex.v1 import types_pb2
from tui.lists.filter import Filter
from tui.lists.rows import Changes, Rows

Task = types_pb2.Task
By = Callable[[Task], str]

HEAD = "\0"
"""Begins the key of a group's own line; no task's id has it."""
STEP = 5000
"""Tasks that one update looks at, at most."""
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Line:
    """A group, or one of its tasks."""

    group: str
    order: tuple[object, ...]
    task: Task | None = None
    counts: tuple[tuple[int, int], ...] = ()
    """Of a group: how many tasks are in each state, the most first."""
    is_open: bool = False

    @property
    def total(self) -> int:
        return sum(count for _, count in self.counts)


def name_template(task: Task) -> str:
    """The name without its numbers: tasks of one map, or of one series, have it in common."""
    return task.template or _DIGITS.sub("#", task.name)


GROUPINGS: dict[str, By] = {
    "state": lambda task: str(task.state),
    "node": lambda task: task.node,
    "workflow": lambda task: task.workflow_id,
    "name": name_template,
}


def _text(line: Line) -> str:
    return line.task.id if line.task is not None else line.group


class Grouping:
    """`lines` has a row for each group, by HEAD and its name, and for each task of an open one, by its id.

    Many changes are taken in by and by, so that none of the steps takes long.
    """

    def __init__(self, tasks: Rows[Task], by: By, place: Callable[[Task], int]) -> None:
        self._tasks = tasks
        self._by = by
        self._place = place
        self._changes: Changes[Task] = Changes(tasks)
        self._filter: Filter[int] | None = None
        self._known: dict[int, tuple[str, str, int]] = {}
        """Key, group and state of the task in each slot, as it is counted."""
        self._counts: dict[str, Counter[int]] = {}
        self._open: set[str] = set()
        self.lines: Rows[Line] = Rows(_text)
        self._count_all()

    def close(self) -> None:
        self._changes.close()

    @property
    def counting(self) -> bool:
        """Whether more is known of the tasks than is shown yet."""
        return bool(self._changes.pending)

    def update(self) -> None:
        """Take in what changed, or the next part of it."""
        pending = self._changes.pending
        if len(pending) <= STEP:
            self._changes.pending = set()
            self._take(pending)
        else:
            self._take({pending.pop() for _ in range(STEP)})

    def filter_by(self, wanted: Filter[int] | None) -> None:
        """Count only tasks whose slot matches; None counts all."""
        self._filter = wanted
        self._count_all()

    def toggle(self, group: str) -> None:
        """Open a group, or close it."""
        if group not in self._counts:
            return
        self._open ^= {group}
        self._changes.pending |= {slot for slot, (_, own, _) in self._known.items() if own == group}
        self._put_head(group)
        self.update()

    def members(self, group: str) -> Iterator[Task]:
        """Its tasks that match the filter."""
        for slot, row in enumerate(self._tasks.rows):
            if row is not None and self._matches(slot) and self._by(row) == group:
                yield row

    def _count_all(self) -> None:
        self._changes.pending |= set(range(len(self._tasks.rows)))
        self.update()

    def _matches(self, slot: int) -> bool:
        return self._filter is None or self._filter.matches(slot)

    def _take(self, slots: set[int]) -> None:
        touched: set[str] = set()
        for slot in slots:
            row = self._tasks.rows[slot]
            before = self._known.pop(slot, None)
            if before is not None:
                key, group, state = before
                self._counts[group][state] -= 1
                touched.add(group)
                self.lines.remove(key)
            if row is not None and self._matches(slot):
                group = self._by(row)
                self._known[slot] = (row.id, group, row.state)
                self._counts.setdefault(group, Counter())[row.state] += 1
                touched.add(group)
                if group in self._open:
                    self.lines.put(row.id, Line(group, (not group, group, 1, self._place(row)), row))
        for group in touched:
            self._put_head(group)

    def _put_head(self, group: str) -> None:
        counted = self._counts.get(group, Counter()).most_common()
        counts = tuple((state, count) for state, count in counted if count > 0)
        if counts:
            self.lines.put(HEAD + group, Line(group, (not group, group, 0), None, counts, group in self._open))
        else:
            self._counts.pop(group, None)
            self._open.discard(group)
            self.lines.remove(HEAD + group)


def order(line: Line) -> tuple[object, ...]:
    """Groups by name, the one without a name last; tasks below theirs."""
    return line.order
