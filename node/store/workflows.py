"""Reading workflows as they are. Every page walks one index in its order."""

from __future__ import annotations

import sqlite3
from typing import Any

from cortex.v1.types_pb2 import Workflow
from node.store.moment_workflows import WorkflowPage, WorkflowQuery
from node.store.queries import INT_MAX, Statement, checked_limit, decode_cursor, encode_cursor, saved_index
from node.store.rows import Codec

_FOUND = "(instr(lower(w.name), ?) OR instr(w.id, ?))"


def list_workflows(db: sqlite3.Connection, codec: Codec, query: WorkflowQuery) -> WorkflowPage:
    """Newest first. Raises Fault for a bad cursor or limit."""
    limit = checked_limit(query.limit)
    rows = workflow_page(codec, query, limit + 1).rows(db)
    found = [row for values in rows[:limit] if isinstance(row := codec.decode(values), Workflow)]
    after = encode_cursor(found[-1].created_index, found[-1].id) if len(rows) > limit else ""
    return WorkflowPage(found, int(total(query).rows(db)[0][0]), after, saved_index(db))


def workflow_page(codec: Codec, query: WorkflowQuery, count: int) -> Statement:
    """The statement behind one page of `count` rows: one arm for each state, merged."""
    after = decode_cursor(query.cursor) or (INT_MAX, "")
    columns = ", ".join(f"w.{name}" for name in codec.columns)
    parts: list[str] = []
    values: list[Any] = []
    for where, wanted in _arms(query):
        parts.append(f"SELECT {columns} FROM te_workflows w WHERE {where} AND (w.created_index, w.id) < (?, ?)")
        values += [*wanted, *after]
    sql = f"{' UNION ALL '.join(parts)} ORDER BY created_index DESC, id DESC LIMIT ?"
    return Statement(sql, (*values, count))


def total(query: WorkflowQuery) -> Statement:
    """The statement whose one number is the total; without a text it counts no rows."""
    states = sorted(set(query.states))
    among = f"state IN ({','.join('?' * len(states))})" if states else "1"
    if not query.text:
        return Statement(f"SELECT coalesce(sum(workflows), 0) FROM te_workflow_counts WHERE {among}", tuple(states))
    sql = f"SELECT count(*) FROM te_workflows w WHERE {among} AND {_FOUND}"
    return Statement(sql, (*states, query.text.lower(), query.text.lower()))


def prefix_page(prefix: str, limit: int) -> Statement:
    """Ids of workflows that begin so."""
    # The highest code point sorts behind whatever may follow the prefix.
    values = (prefix, prefix + "\U0010ffff", limit)
    return Statement("SELECT id FROM te_workflows WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", values)


def _arms(query: WorkflowQuery) -> list[tuple[str, tuple[Any, ...]]]:
    text: tuple[Any, ...] = (query.text.lower(),) * 2 if query.text else ()
    found = _FOUND if query.text else "1"
    states = sorted(set(query.states))
    return [(f"w.state = ? AND {found}", (state, *text)) for state in states] if states else [(found, text)]
