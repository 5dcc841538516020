"""Reading operations, and the causes of dead letters. Every page walks one index in its order."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from cortex.v1.types_pb2 import Operation, Task
from node.core.model import LIVE_OPERATION
from node.store.queries import Statement, TaskPage, checked_limit, decode_cursor, encode_cursor, saved_index
from node.store.rows import Codec

CAUSE_NODES = 10

_INT_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class OperationPage:
    operations: list[Operation]
    next_cursor: str
    index: int


@dataclass(frozen=True, slots=True)
class Cause:
    """Dead letters with one fingerprint: `nodes` are where most of them died, `sample` is the newest."""

    fingerprint: str
    count: int
    first_at_us: int
    last_at_us: int
    nodes: list[str]
    sample: Task | None


def list_operations(
    db: sqlite3.Connection, codec: Codec, *, live: bool = False, limit: int = 0, cursor: str = ""
) -> OperationPage:
    """Newest first. Raises Fault for a bad cursor or limit."""
    limit = checked_limit(limit)
    rows = operation_page(codec, live, limit + 1, cursor).rows(db)
    found = [row for values in rows[:limit] if isinstance(row := codec.decode(values), Operation)]
    after = encode_cursor(found[-1].created_index, found[-1].id) if len(rows) > limit else ""
    return OperationPage(found, after, saved_index(db))


def operation_page(codec: Codec, live: bool, count: int, cursor: str) -> Statement:
    """The statement behind one page of `count` rows; the few that live are sorted."""
    after = decode_cursor(cursor) or (_INT_MAX, "")
    states = ",".join(str(int(state)) for state in sorted(LIVE_OPERATION))
    where = f"state IN ({states}) AND " if live else ""
    sql = (
        f"SELECT {', '.join(codec.columns)} FROM operations WHERE {where}(created_index, id) < (?, ?)"
        " ORDER BY created_index DESC, id DESC LIMIT ?"
    )
    return Statement(sql, (*after, count))


def prefix_page(prefix: str, limit: int) -> Statement:
    """Ids of operations that begin so."""
    # The highest code point sorts behind whatever may follow the prefix.
    values = (prefix, prefix + "\U0010ffff", limit)
    return Statement("SELECT id FROM operations WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", values)


def list_causes(db: sqlite3.Connection, codec: Codec, limit: int) -> list[Cause]:
    """Most letters first."""
    found = []
    for fingerprint, count, first_us, last_us in cause_page(checked_limit(limit)).rows(db):
        nodes = [node for node, _ in cause_nodes(fingerprint).rows(db) if node]
        rows = cause_sample(codec, fingerprint).rows(db)
        sample = codec.decode(rows[0]) if rows else None
        task = sample if isinstance(sample, Task) else None
        found.append(Cause(fingerprint, count, first_us, last_us, nodes, task))
    return found


def cause_page(limit: int) -> Statement:
    """All causes, counted in one walk along their index."""
    sql = (
        "SELECT fingerprint, count(*) AS letters, min(dead_lettered_at), max(dead_lettered_at)"
        " FROM te_tasks INDEXED BY te_tasks_by_cause WHERE state = 9"
        " GROUP BY fingerprint ORDER BY letters DESC, fingerprint LIMIT ?"
    )
    return Statement(sql, (limit,))


def cause_nodes(fingerprint: str) -> Statement:
    """Where the letters of a cause died, most first."""
    sql = (
        "SELECT assigned_node, count(*) AS letters FROM te_tasks INDEXED BY te_tasks_by_cause"
        " WHERE state = 9 AND fingerprint = ? GROUP BY assigned_node ORDER BY letters DESC, assigned_node LIMIT ?"
    )
    return Statement(sql, (fingerprint, CAUSE_NODES))


def cause_sample(codec: Codec, fingerprint: str) -> Statement:
    """The newest letter of a cause."""
    sql = (
        f"SELECT {', '.join(codec.columns)} FROM te_tasks INDEXED BY te_tasks_by_cause WHERE state = 9"
        " AND fingerprint = ? ORDER BY dead_lettered_at DESC, id DESC LIMIT 1"
    )
    return Statement(sql, (fingerprint,))


def causes_with_prefix(prefix: str, limit: int) -> Statement:
    """Fingerprints of letters that begin so."""
    sql = (
        "SELECT DISTINCT fingerprint FROM te_tasks INDEXED BY te_tasks_by_cause WHERE state = 9"
        " AND fingerprint >= ? AND fingerprint < ? ORDER BY fingerprint LIMIT ?"
    )
    return Statement(sql, (prefix, prefix + "\U0010ffff", limit))


def list_letters(db: sqlite3.Connection, codec: Codec, fingerprint: str, limit: int, cursor: str) -> TaskPage:
    """Dead letters of one cause, the latest first. Raises Fault for a bad cursor or limit."""
    limit = checked_limit(limit)
    rows = letter_page(codec, fingerprint, limit + 1, cursor).rows(db)
    tasks = [task for values in rows[:limit] if isinstance(task := codec.decode(values), Task)]
    after = encode_cursor(tasks[-1].dead_lettered_at_us, tasks[-1].id) if len(rows) > limit else ""
    total = db.execute(*letters_of(fingerprint)).fetchone()[0]
    return TaskPage(tasks, total, after, saved_index(db))


def letter_page(codec: Codec, fingerprint: str, count: int, cursor: str) -> Statement:
    """The statement behind one page of `count` letters."""
    after = decode_cursor(cursor) or (_INT_MAX, "")
    sql = (
        f"SELECT {', '.join(codec.columns)} FROM te_tasks INDEXED BY te_tasks_by_cause WHERE state = 9"
        " AND fingerprint = ? AND (dead_lettered_at, id) < (?, ?)"
        " ORDER BY dead_lettered_at DESC, id DESC LIMIT ?"
    )
    return Statement(sql, (fingerprint, *after, count))


def letters_of(fingerprint: str) -> Statement:
    """How many there are."""
    sql = "SELECT count(*) FROM te_tasks INDEXED BY te_tasks_by_cause WHERE state = 9 AND fingerprint = ?"
    return Statement(sql, (fingerprint,))
