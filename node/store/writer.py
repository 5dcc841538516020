"""Writing a batch of changes with as few statements as possible.

One statement writes many rows: sqlite3 gives up the interpreter's lock at every statement, and beside a busy event
loop each return costs up to a switch interval. One row a statement reaches 200 rows/s there, this 20,000.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from cortex.v1.types_pb2 import Task, Workflow
from node.core.model import Change, Row, Table, member_id
from node.store.rows import Codec, row_text

# Rows of one statement, largest first; small enough that converting them holds up the event loop for 1 ms only.
_SIZES = (128, 32, 8, 2, 1)

Values = tuple[Any, ...]
T = TypeVar("T")


class Writer:
    """Writes into the open transaction of `db`."""

    def __init__(self, db: sqlite3.Connection, codecs: Mapping[Table, Codec]) -> None:
        self._db = db
        self._codecs = codecs

    def write(self, changes: Sequence[Change]) -> Mapping[Table, Sequence[Change]]:
        """Save the last state of each row that `changes`, in log order, name. Returns what each row's step was."""
        by_table = _merged(changes)
        for table, steps in by_table.items():
            self._write_table(self._codecs[table], steps)
        tasks = by_table.get(Table.TASKS)
        if tasks:
            self._write_texts(tasks)
            self._write_dependencies(tasks)
            self._count(tasks)
        workflows = by_table.get(Table.WORKFLOWS)
        if workflows:
            self._count_workflows(workflows)
        return by_table

    def _write_table(self, codec: Codec, changes: Sequence[Change]) -> None:
        gone = [key for change in changes if _goes(change) and (key := codec.key_values(change.id))]
        self._delete(codec.table, codec.keys, gone)
        rows = [new for _, _, _, new in changes if new is not None]
        # An index is written anew for every column of its that is named here, changed or not.
        kept = (*codec.keys, *codec.fixed)
        updates = ", ".join(f"{name} = excluded.{name}" for name in codec.columns if name not in kept)
        tail = f"ON CONFLICT ({', '.join(codec.keys)}) DO UPDATE SET {updates}"
        self._insert(codec.table, codec.columns, tail, rows, codec.encode)

    def _insert(
        self, table: str, columns: Sequence[str], tail: str, rows: Sequence[T], encode: Callable[[T], Values]
    ) -> None:
        mark = f"({','.join('?' * len(columns))})"
        for chunk in _chunks(rows):
            values: list[Any] = []
            for row in chunk:
                values += encode(row)
            marks = ",".join([mark] * len(chunk))
            self._db.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES {marks} {tail}", values)

    def _delete(self, table: str, keys: Sequence[str], gone: Sequence[Values]) -> None:
        mark = f"({','.join('?' * len(keys))})"
        columns = ", ".join(f"k.column{place}" for place in range(1, len(keys) + 1))
        for chunk in _chunks(gone):
            marks = ",".join([mark] * len(chunk))
            wanted = f"SELECT {columns} FROM (VALUES {marks}) k"
            values = [value for key in chunk for value in key]
            self._db.execute(f"DELETE FROM {table} WHERE ({', '.join(keys)}) IN ({wanted})", values)

    def _write_texts(self, changes: Iterable[Change]) -> None:
        gone: list[Values] = []
        come: list[Row] = []
        for change in changes:
            old, new = change.old, change.new
            if isinstance(old, Task):
                if isinstance(new, Task) and _same_text(old, new):
                    continue
                gone.append((old.created_index, old.id))
            if isinstance(new, Task):
                come.append(new)
        self._delete("te_task_text", ("created_index", "task_id"), gone)
        columns = ("created_index", "task_id", "text")
        tail = "ON CONFLICT (created_index, task_id) DO UPDATE SET text = excluded.text"
        self._insert("te_task_text", columns, tail, come, _text_values)

    def _write_dependencies(self, changes: Iterable[Change]) -> None:
        """They come with a member of a workflow, never change, and leave with it."""
        gone: list[Values] = []
        come: list[Values] = []
        for _, _, old, new in changes:
            if (old is None) == (new is None):
                continue
            row = new if old is None else old
            if isinstance(row, Task) and row.workflow_id:
                named = [(row.workflow_id, row.id, member_id(row.workflow_id, member)) for member in row.depends_on]
                (come if old is None else gone).extend(named)
        keys = ("workflow_id", "task_id", "depends_on")
        self._delete("te_task_dependencies", keys, gone)
        tail = f"ON CONFLICT ({', '.join(keys)}) DO NOTHING"
        self._insert("te_task_dependencies", keys, tail, come, tuple)

    def _count(self, changes: Iterable[Change]) -> None:
        deltas: dict[tuple[int, str], int] = {}
        for change in changes:
            for row, step in ((change.old, -1), (change.new, 1)):
                if isinstance(row, Task):
                    key = (row.state, row.node)
                    deltas[key] = deltas.get(key, 0) + step
        values = [(*key, delta) for key, delta in deltas.items() if delta]
        tail = "ON CONFLICT (state, node) DO UPDATE SET tasks = tasks + excluded.tasks"
        self._insert("te_task_counts", ("state", "node", "tasks"), tail, values, tuple)

    def _count_workflows(self, changes: Iterable[Change]) -> None:
        deltas: Counter[int] = Counter()
        for change in changes:
            if isinstance(change.old, Workflow):
                deltas[change.old.state] -= 1
            if isinstance(change.new, Workflow):
                deltas[change.new.state] += 1
        values = [(state, delta) for state, delta in deltas.items() if delta]
        tail = "ON CONFLICT (state) DO UPDATE SET workflows = workflows + excluded.workflows"
        self._insert("te_workflow_counts", ("state", "workflows"), tail, values, tuple)


def _merged(changes: Iterable[Change]) -> dict[Table, list[Change]]:
    """One change of each row, from its first state to its last, by table in the order of the first changes."""
    by_table: dict[Table, dict[str, Change]] = {}
    # By way of the constructor of tuples: a named one's own is Python.
    make = tuple.__new__
    for change in changes:
        table, key, _, new = change
        steps = by_table.get(table)
        if steps is None:
            steps = by_table[table] = {}
        first = steps.get(key)
        steps[key] = change if first is None else make(Change, (table, key, first[2], new))
    return {table: [*steps.values()] for table, steps in by_table.items()}


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Slices of a few different lengths, so that the statements stay prepared."""
    done = 0
    for size in _SIZES:
        while len(items) - done >= size:
            yield items[done : done + size]
            done += size


def _goes(change: Change) -> bool:
    """Whether the row that is there goes, perhaps for another one under its id."""
    _, _, old, new = change
    if new is None:
        return True
    return old is not None and isinstance(old, Task) and isinstance(new, Task) and not _same_origin(old, new)


def _same_origin(old: Task, new: Task) -> bool:
    return old.created_index == new.created_index and old.workflow_id == new.workflow_id


def _same_text(old: Task, new: Task) -> bool:
    """Within one run a task keeps its name and spec."""
    return old.created_index == new.created_index and old.run == new.run


def _text_values(task: Any) -> Values:
    return (task.created_index, task.id, row_text(task))
