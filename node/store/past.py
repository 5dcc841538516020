"""What has ended or happened long ago, oldest first: what a leader's trimming names next.

A page costs its rows alone, whatever else the store holds: each query walks an index that covers it.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from cortex.v1.types_pb2 import WORKFLOW_STATE_FAILED, Workflow


class Aged(NamedTuple):
    """Id of a row, and when it ended or happened (leader time, unix microseconds)."""

    id: str
    at_us: int


class AgedWorkflow(NamedTuple):
    """As Aged, with the number of its tasks."""

    id: str
    at_us: int
    tasks: int


def ended_tasks(db: sqlite3.Connection, before_us: int, keyed_before_us: int, limit: int) -> list[Aged]:
    """Tasks that ended before that, but for dead letters and members of workflows.

    Those with a submit key only if also before the other.
    """
    # As literals, which the planner compares with those of the partial index.
    sql = (
        "SELECT id, completed_at FROM te_tasks INDEXED BY te_tasks_ended"
        " WHERE state IN (5, 6, 7, 8) AND workflow_id = ''"
        " AND completed_at < ? AND (submit_key = '' OR completed_at < ?) ORDER BY completed_at, id LIMIT ?"
    )
    return _aged(db, sql, before_us, keyed_before_us, limit)


def ended_workflows(
    db: sqlite3.Connection, before_us: int, failed_before_us: int, keyed_before_us: int, limit: int
) -> list[AgedWorkflow]:
    """Workflows that ended before that, those that failed also before the other; with a key, before the third."""
    sql = (
        "SELECT id, completed_at, row FROM te_workflows INDEXED BY te_workflows_ended WHERE completed_at > 0"
        f" AND completed_at < ? AND (state <> {int(WORKFLOW_STATE_FAILED)} OR completed_at < ?)"
        " ORDER BY completed_at, id LIMIT ?"
    )
    found = [
        (AgedWorkflow(key, at_us, row.count), not row.submit_key or at_us < keyed_before_us)
        for key, at_us, data in db.execute(sql, (before_us, failed_before_us, limit))
        if (row := Workflow.FromString(data))
    ]
    return [aged for aged, free in found if free]


def dead_letters(db: sqlite3.Connection, before_us: int, keyed_before_us: int, limit: int) -> list[Aged]:
    """As ended_tasks(), of dead letters alone."""
    sql = (
        "SELECT id, dead_lettered_at FROM te_tasks INDEXED BY te_tasks_dead WHERE state = 9 AND workflow_id = ''"
        " AND dead_lettered_at < ? AND (submit_key = '' OR dead_lettered_at < ?)"
        " ORDER BY dead_lettered_at, id LIMIT ?"
    )
    return _aged(db, sql, before_us, keyed_before_us, limit)


def letters(
    db: sqlite3.Connection, fingerprint: str, until_us: int, after: tuple[int, str], limit: int
) -> list[Aged]:
    """Dead letters of one cause that died no later than that, behind a position (time, id) of a page before."""
    # The planner would rather begin each page at the first letter, for the sake of the last.
    sql = (
        "SELECT id, dead_lettered_at FROM te_tasks INDEXED BY te_tasks_by_cause WHERE state = 9"
        " AND fingerprint = ? AND +dead_lettered_at <= ? AND (dead_lettered_at, id) > (?, ?)"
        " ORDER BY dead_lettered_at, id LIMIT ?"
    )
    return [Aged(*row) for row in db.execute(sql, (fingerprint, until_us, *after, limit))]


def letter_count(db: sqlite3.Connection, fingerprint: str, until_us: int) -> int:
    """How many letters() has in all."""
    sql = (
        "SELECT count(*) FROM te_tasks INDEXED BY te_tasks_by_cause WHERE state = 9"
        " AND fingerprint = ? AND dead_lettered_at <= ?"
    )
    return int(db.execute(sql, (fingerprint, until_us)).fetchone()[0])


def cancelled_count(db: sqlite3.Connection, operation: str) -> int:
    """How many tasks that an operation revived were cancelled since."""
    sql = (
        "SELECT count(*) FROM te_tasks INDEXED BY te_tasks_by_operation"
        " WHERE operation = ? AND operation <> '' AND state = 7"
    )
    return int(db.execute(sql, (operation,)).fetchone()[0])


def events(db: sqlite3.Connection, before_us: int, limit: int) -> list[Aged]:
    """Events that happened before that."""
    sql = (
        "SELECT log_index || '-' || number, at FROM te_task_events WHERE at < ?"
        " ORDER BY at, log_index, number LIMIT ?"
    )
    return _aged(db, sql, before_us, limit)


def double_runs(db: sqlite3.Connection, before_us: int, limit: int) -> list[Aged]:
    """Lines of the ledger of double runs from before that; the log's order is that of time."""
    found = db.execute("SELECT id, at FROM double_runs ORDER BY log_index, id LIMIT ?", (limit,))
    return [Aged(*row) for row in found if row[1] < before_us]


def double_run_count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM double_runs").fetchone()[0])


def ended_operations(db: sqlite3.Connection, before_us: int, limit: int) -> list[Aged]:
    """Operations that ended before that."""
    sql = "SELECT id, ended_at FROM operations WHERE ended_at > 0 AND ended_at < ? ORDER BY ended_at, id LIMIT ?"
    return _aged(db, sql, before_us, limit)


def ended_operation_count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM operations WHERE ended_at > 0").fetchone()[0])


def replies(db: sqlite3.Connection, before_us: int, limit: int) -> list[Aged]:
    """Stored replies of entries older than that."""
    return _aged(db, "SELECT id, at FROM replies WHERE at < ? ORDER BY at, id LIMIT ?", before_us, limit)


def submit_keys(db: sqlite3.Connection, before_us: int, limit: int) -> list[Aged]:
    """Submit keys whose task ended before that."""
    sql = "SELECT id, ended_at FROM submit_keys WHERE ended_at > 0 AND ended_at < ? ORDER BY ended_at, id LIMIT ?"
    return _aged(db, sql, before_us, limit)


def _aged(db: sqlite3.Connection, sql: str, *values: int) -> list[Aged]:
    return [Aged(*row) for row in db.execute(sql, values)]
