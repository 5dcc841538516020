"""The ledger of commands that ran, or may have run, more than once within one attempt."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from cortex.v1.types_pb2 import DoubleRun
from node.store.queries import INT_MAX, Statement, checked_limit, decode_cursor, encode_cursor, saved_index
from node.store.rows import Codec


@dataclass(frozen=True, slots=True)
class DoubleRunPage:
    double_runs: list[DoubleRun]
    next_cursor: str
    index: int


def list_double_runs(
    db: sqlite3.Connection, codec: Codec, task: str, limit: int, cursor: str, through: int = INT_MAX - 1
) -> DoubleRunPage:
    """Of one task or, for "", of all, newest first, none later than the log index `through`.

    Raises Fault for a bad cursor or limit.
    """
    limit = checked_limit(limit)
    found = [codec.decode(values) for values in page(codec, task, limit + 1, cursor, through).rows(db)]
    rows = [row for row in found if isinstance(row, DoubleRun)]
    after = encode_cursor(rows[limit - 1].index, rows[limit - 1].id) if len(rows) > limit else ""
    return DoubleRunPage(rows[:limit], after, saved_index(db))


def page(codec: Codec, task: str, count: int, cursor: str, through: int = INT_MAX - 1) -> Statement:
    """The statement behind one page of `count` rows."""
    first = (through + 1, "")
    position = min(decode_cursor(cursor) or first, first)
    values: dict[str, Any] = {"task": task, "i": position[0], "k": position[1], "n": count}
    of_task = "task_id = :task AND " if task else ""
    sql = (
        f"SELECT {', '.join(codec.columns)} FROM double_runs WHERE {of_task}(log_index, id) < (:i, :k)"
        " ORDER BY log_index DESC, id DESC LIMIT :n"
    )
    return Statement(sql, values)
