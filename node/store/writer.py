"""Writing a batch of changes with as few statements as possible.

One statement writes many rows: sqlite3 gives up the interpreter's lock at every statement, and beside a busy event
loop each return costs up to a switch interval. One row a statement reaches 200 rows/s there, this 20,000.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cortex.v1.types_pb2 import Task
from node.core.model import Change, Row, Table
from node.store.rows import Codec, row_text

# Rows of one statement, largest first; small enough that converting them does not hold up the event loop.
_SIZES = (64, 8, 1)

Values = tuple[Any, ...]


class Writer:
    """Writes into the open transaction of `db`."""

    def __init__(self, db: sqlite3.Connection, codecs: Mapping[Table, Codec]) -> None:
        self._db = db
        self._codecs = codecs

    def write(self, changes: Sequence[Change]) -> None:
        """Save the last state of each row that `changes`, in log order, name."""
        merged: dict[tuple[Table, str], Change] = {}
        for change in changes:
            key = (change.table, change.id)
            first = merged.get(key)
            merged[key] = change if first is None else Change(*key, first.old, change.new)
        by_table: dict[Table, list[Change]] = {}
        for change in merged.values():
            by_table.setdefault(change.table, []).append(change)
        for table, steps in by_table.items():
            self._write_table(self._codecs[table], steps)
        tasks = by_table.get(Table.TASKS)
        if tasks:
            self._write_texts(tasks)
            self._count(tasks)

    def _write_table(self, codec: Codec, changes: Sequence[Change]) -> None:
        gone = [key for change in changes if change.new is None and (key := codec.key_values(change.id))]
        if gone:
            where = " AND ".join(f"{name} = ?" for name in codec.keys)
            self._db.executemany(f"DELETE FROM {codec.table} WHERE {where}", gone)
        rows = [change.new for change in changes if change.new is not None]
        updates = ", ".join(f"{name} = excluded.{name}" for name in codec.columns if name not in codec.keys)
        tail = f"ON CONFLICT ({', '.join(codec.keys)}) DO UPDATE SET {updates}"
        self._insert(codec.table, codec.columns, tail, rows, codec.encode)

    def _insert(self, table: str, columns: Sequence[str], tail: str, rows: Sequence[Row], encode: Any) -> None:
        done = 0
        mark = f"({','.join('?' * len(columns))})"
        for size in _SIZES:
            sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {','.join([mark] * size)} {tail}"
            while len(rows) - done >= size:
                values: list[Any] = []
                for row in rows[done : done + size]:
                    values += encode(row)
                self._db.execute(sql, values)
                done += size

    def _write_texts(self, changes: Iterable[Change]) -> None:
        gone: list[Values] = []
        come: list[Row] = []
        for change in changes:
            old, new = change.old, change.new
            before = _text_values(old) if isinstance(old, Task) else None
            after = _text_values(new) if isinstance(new, Task) else None
            if before == after:
                continue
            if before is not None:
                gone.append(before[:2])
            if new is not None:
                come.append(new)
        if gone:
            self._db.executemany("DELETE FROM te_task_text WHERE created_index = ? AND task_id = ?", gone)
        columns = ("created_index", "task_id", "text")
        tail = "ON CONFLICT (created_index, task_id) DO UPDATE SET text = excluded.text"
        self._insert("te_task_text", columns, tail, come, _text_values)

    def _count(self, changes: Iterable[Change]) -> None:
        deltas: dict[int, int] = {}
        for change in changes:
            if isinstance(change.old, Task):
                deltas[change.old.state] = deltas.get(change.old.state, 0) - 1
            if isinstance(change.new, Task):
                deltas[change.new.state] = deltas.get(change.new.state, 0) + 1
        self._db.executemany(
            "INSERT INTO te_task_counts VALUES (?, ?)"
            " ON CONFLICT (state) DO UPDATE SET tasks = tasks + excluded.tasks",
            [(state, delta) for state, delta in deltas.items() if delta],
        )


def _text_values(task: Any) -> Values:
    return (task.created_index, task.id, row_text(task))
