"""Reading history: pages that stay put while rows come and go, totals, and the index that they are of.

A page continues after the key of the last row that was shown, never at a position, so that what is inserted or
changes its state in between neither repeats nor hides a row. Every page walks one index in its order.
"""

from __future__ import annotations

import base64
import binascii
import sqlite3
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cortex.v1.types_pb2 import Task, TaskState
from node.core.faults import Code, Fault
from node.core.model import DEAD_LETTER
from node.store.rows import Codec

LIMIT_MAX = 1_000
LIMIT_DEFAULT = 50

STATES = tuple(sorted(state for state in TaskState.values() if state))
INT_MAX = (1 << 63) - 1
_CURSOR_LIMIT_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """Empty fields do not restrict. `limit` 0 = 50."""

    states: tuple[int, ...] = ()
    node: str = ""
    workflow: str = ""
    text: str = ""
    limit: int = 0
    cursor: str = ""
    operation: str = ""


@dataclass(frozen=True, slots=True)
class TaskPage:
    tasks: list[Task]
    total: int
    next_cursor: str
    index: int


@dataclass(frozen=True, slots=True)
class Counts:
    """`by_state` maps TaskState to the number of tasks; states without any are left out."""

    by_state: dict[int, int]
    index: int


class Statement(NamedTuple):
    sql: str
    values: tuple[Any, ...] | dict[str, Any]

    def rows(self, db: sqlite3.Connection) -> list[tuple[Any, ...]]:
        return db.execute(*self).fetchall()


class _Arm(NamedTuple):
    """Rows that one index yields in order; several arms are merged."""

    where: str
    values: tuple[Any, ...]


def list_tasks(db: sqlite3.Connection, codec: Codec, query: TaskQuery) -> TaskPage:
    limit = checked_limit(query.limit)
    rows = task_page(codec, query, limit + 1).rows(db)
    tasks = [task for values in rows[:limit] if isinstance(task := codec.decode(values), Task)]
    after = encode_cursor(tasks[-1].created_index, tasks[-1].id) if len(rows) > limit else ""
    return TaskPage(tasks, total_tasks(db, query), after, saved_index(db))


def task_page(codec: Codec, query: TaskQuery, count: int) -> Statement:
    """The statement behind one page of `count` rows."""
    columns = ", ".join(f"t.{name}" for name in codec.columns)
    after = decode_cursor(query.cursor) or (INT_MAX, "")
    order = "created_index DESC, id DESC"
    if query.text:
        arm = _residual(query)
        sql = (
            f"SELECT {columns} FROM te_task_text x CROSS JOIN te_tasks t ON t.id = x.task_id"
            f" WHERE (x.created_index, x.task_id) < (?, ?) AND instr(x.text, ?) AND {arm.where}"
            f" ORDER BY x.created_index DESC, x.task_id DESC LIMIT ?"
        )
        return Statement(sql, (*after, query.text.lower(), *arm.values, count))
    parts: list[str] = []
    values: list[Any] = []
    for arm in _arms(query):
        parts.append(f"SELECT {columns} FROM te_tasks t WHERE {arm.where} AND (t.created_index, t.id) < (?, ?)")
        values += [*arm.values, *after]
    return Statement(f"{' UNION ALL '.join(parts)} ORDER BY {order} LIMIT ?", (*values, count))


def _arms(query: TaskQuery) -> list[_Arm]:
    """How to reach the matching rows in order: one arm per state where the state leads an index."""
    if query.operation:
        rest = _residual(replace(query, operation=""))
        return [_Arm(f"t.operation = ? AND t.operation <> '' AND {rest.where}", (query.operation, *rest.values))]
    if query.workflow:
        rest = _residual(replace(query, workflow=""))
        return [_Arm(f"t.workflow_id = ? AND t.workflow_id <> '' AND {rest.where}", (query.workflow, *rest.values))]
    states = tuple(sorted(set(query.states)))
    if query.node:
        where = "t.assigned_node = ? AND t.state = ?"
        return [_Arm(where, (query.node, state)) for state in states or STATES]
    if states:
        return [_Arm("t.state = ?", (state,)) for state in states]
    return [_Arm("1", ())]


def _residual(query: TaskQuery) -> _Arm:
    """The same conditions, for rows that are reached through another filter."""
    parts, values = ["1"], list[Any]()
    if query.states:
        parts.append(f"t.state IN ({','.join('?' * len(query.states))})")
        values += query.states
    if query.node:
        parts.append("t.assigned_node = ?")
        values.append(query.node)
    if query.workflow:
        # As an index of the operation's is walked, that of the workflow's is not to be chosen.
        parts.append("+t.workflow_id = ?")
        values.append(query.workflow)
    if query.operation:
        parts.append("t.operation = ?")
        values.append(query.operation)
    return _Arm(" AND ".join(parts), tuple(values))


def total_tasks(db: sqlite3.Connection, query: TaskQuery) -> int:
    if not (query.workflow or query.operation or query.text):
        by_state = counts(db, query.node)
        return sum(by_state.get(state, 0) for state in set(query.states) or by_state)
    return sum(int(statement.rows(db)[0][0]) for statement in task_totals(query))


def task_totals(query: TaskQuery) -> list[Statement]:
    """Statements whose counts sum to the total of a query with a workflow, an operation or a text."""
    if not query.text:
        return [Statement(f"SELECT count(*) FROM te_tasks t WHERE {arm.where}", arm.values) for arm in _arms(query)]
    if not (query.states or query.node or query.workflow or query.operation):
        return [Statement("SELECT count(*) FROM te_task_text WHERE instr(text, ?)", (query.text.lower(),))]
    arm = _residual(query)
    sql = (
        "SELECT count(*) FROM te_task_text x CROSS JOIN te_tasks t ON t.id = x.task_id"
        f" WHERE instr(x.text, ?) AND {arm.where}"
    )
    return [Statement(sql, (query.text.lower(), *arm.values))]


def list_dead_letters(db: sqlite3.Connection, codec: Codec, limit: int, cursor: str) -> TaskPage:
    limit = checked_limit(limit)
    rows = dead_letter_page(codec, limit + 1, cursor).rows(db)
    tasks = [task for values in rows[:limit] if isinstance(task := codec.decode(values), Task)]
    after = encode_cursor(tasks[-1].dead_lettered_at_us, tasks[-1].id) if len(rows) > limit else ""
    return TaskPage(tasks, counts(db).get(DEAD_LETTER, 0), after, saved_index(db))


def dead_letter_page(codec: Codec, count: int, cursor: str) -> Statement:
    after = decode_cursor(cursor) or (INT_MAX, "")
    # The planner would rather take the index by state, and sort.
    sql = (
        f"SELECT {', '.join(codec.columns)} FROM te_tasks INDEXED BY te_tasks_dead WHERE state = {int(DEAD_LETTER)}"
        " AND (dead_lettered_at, id) < (?, ?) ORDER BY dead_lettered_at DESC, id DESC LIMIT ?"
    )
    return Statement(sql, (*after, count))


def counts(db: sqlite3.Connection, node: str = "") -> dict[int, int]:
    """Tasks by state, of one node or of all."""
    if node:
        marks = ",".join("?" * len(STATES))
        sql = f"SELECT state, tasks FROM te_task_counts WHERE state IN ({marks}) AND node = ? AND tasks > 0"
        return dict(db.execute(sql, (*STATES, node)))
    return dict(db.execute("SELECT state, sum(tasks) AS n FROM te_task_counts GROUP BY state HAVING n > 0"))


def saved_index(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT saved_index FROM meta").fetchone()[0])


def ids_with_prefix(db: sqlite3.Connection, prefix: str, limit: int) -> list[str]:
    if db.execute("SELECT 1 FROM te_tasks WHERE id = ?", (prefix,)).fetchone():
        return [prefix]
    return [key for (key,) in prefix_page(prefix, limit).rows(db)]


def prefix_page(prefix: str, limit: int) -> Statement:
    # The highest code point sorts behind whatever may follow the prefix.
    values = (prefix, prefix + "\U0010ffff", limit)
    return Statement("SELECT id FROM te_tasks WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", values)


def checked_limit(limit: int) -> int:
    if limit == 0:
        return LIMIT_DEFAULT
    if not 0 < limit <= LIMIT_MAX:
        raise Fault(Code.INVALID, f"limit is {limit}; it must be 1-{LIMIT_MAX}.", "Ask for fewer rows and page on.")
    return limit


def encode_cursor(position: int, key: str) -> str:
    return base64.urlsafe_b64encode(f"{position} {key}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[int, str] | None:
    """Position and key after which a page begins; None for the first. Raises Fault."""
    if not cursor:
        return None
    if len(cursor) > _CURSOR_LIMIT_CHARS:
        raise bad_cursor()
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        position, _, key = text.partition(" ")
        number = int(position)
    except (ValueError, binascii.Error):
        raise bad_cursor() from None
    if not key or not 0 <= number <= INT_MAX:
        raise bad_cursor()
    return number, key


def bad_cursor() -> Fault:
    return Fault(Code.INVALID, "The cursor is not one that a list returned.", "Begin again without a cursor.")
