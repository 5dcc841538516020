"""Lists of events: what happened, to whom, by whom, oldest or newest first. Every page walks one index in order."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Event
from node.store.queries import (
    INT_MAX,
    Statement,
    bad_cursor,
    checked_limit,
    decode_cursor,
    encode_cursor,
    saved_index,
)
from node.store.rows import Codec

# Four types are nearly all events: te_task_events_rare has the others.
_FREQUENT = frozenset(
    {
        types_pb2.EVENT_TYPE_SUBMITTED,
        types_pb2.EVENT_TYPE_ASSIGNED,
        types_pb2.EVENT_TYPE_STARTED,
        types_pb2.EVENT_TYPE_COMPLETED,
    }
)
# Types of events of which no task is the subject.
OF_NODES = frozenset(
    {
        types_pb2.EVENT_TYPE_NODE_JOINED,
        types_pb2.EVENT_TYPE_NODE_OFFLINE,
        types_pb2.EVENT_TYPE_NODE_CORDONED,
        types_pb2.EVENT_TYPE_NODE_UNCORDONED,
        types_pb2.EVENT_TYPE_NODE_REMOVED,
        types_pb2.EVENT_TYPE_NODE_SUSPECTED,
        types_pb2.EVENT_TYPE_NODE_DRAINING,
        types_pb2.EVENT_TYPE_NODE_DRAINED,
        types_pb2.EVENT_TYPE_ALARM,
    }
)


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Empty fields do not restrict. `limit` 0 = 50; `audit`: only what a person or program asked for."""

    task: str = ""
    node: str = ""
    workflow: str = ""
    operation: str = ""
    actor: str = ""
    audit: bool = False
    types: tuple[int, ...] = ()
    since_us: int = 0
    through_index: int = 0  # nothing later; 0 = up to now
    newest_first: bool = False
    limit: int = 0
    cursor: str = ""

    @property
    def quick(self) -> bool:
        """Whether a page costs its own rows alone, so that it may be read anywhere."""
        led = bool(self.task or self.operation or self.workflow)
        others = self.types or self.actor or self.audit or self.node
        return not others or (bool(self.node) and not (led or self.types or self.actor or self.audit))


@dataclass(frozen=True, slots=True)
class EventPage:
    events: list[Event]
    next_cursor: str
    index: int


def list_events(db: sqlite3.Connection, codec: Codec, query: EventQuery) -> EventPage:
    limit = checked_limit(query.limit)
    rows = event_page(db, codec, query, limit + 1).rows(db)
    events = [event for values in rows[:limit] if isinstance(event := codec.decode(values), Event)]
    after = encode_cursor(events[-1].index, events[-1].id.partition("-")[2]) if len(rows) > limit else ""
    return EventPage(events, after, query.through_index or saved_index(db))


def event_page(db: sqlite3.Connection, codec: Codec, query: EventQuery, count: int) -> Statement:
    """The statement behind one page of `count` rows."""
    values: dict[str, Any] = {"n": count}
    where = " AND ".join([*_filters(query, values), *_range(db, query, values)])
    columns = ", ".join(codec.columns)
    order = "log_index DESC, number DESC" if query.newest_first else "log_index, number"
    arms = [f"SELECT {columns} FROM te_task_events{by} WHERE {lead} AND {where}" for by, lead in _leads(query)]
    return Statement(f"{' UNION ALL '.join(arms)} ORDER BY {order} LIMIT :n", values)


def _range(db: sqlite3.Connection, query: EventQuery, values: dict[str, Any]) -> list[str]:
    """Where the walk begins and ends."""
    low, high = (-1, -1), (query.through_index or INT_MAX, INT_MAX)
    if query.since_us > 0:
        # Leader time never goes back, so that all later events have later indexes.
        rows = event_start(query.since_us).rows(db)
        low = (rows[0][0] - 1, INT_MAX) if rows else (INT_MAX, INT_MAX)
    position = decode_cursor(query.cursor)
    if position:
        place = (position[0], _event_number(position[1]))
        if query.newest_first:
            high = min(high, place)
        else:
            low = max(low, place)
    values.update({"li": low[0], "ln": low[1], "hi": high[0], "hn": high[1]})
    before = "<" if query.newest_first and position else "<="
    # The planner walks from the bound that is written as a pair; the other one only ends the walk.
    if query.newest_first:
        return [f"(log_index, number) {before} (:hi, :hn)", "log_index >= :li", "(log_index > :li OR number > :ln)"]
    return ["(log_index, number) > (:li, :ln)", "log_index <= :hi"]


def event_start(since_us: int) -> Statement:
    sql = "SELECT log_index FROM te_task_events WHERE at >= ? ORDER BY at, log_index LIMIT 1"
    return Statement(sql, (since_us,))


def _leads(query: EventQuery) -> list[tuple[str, str]]:
    """The index that is walked, and the condition that leads it; several are merged."""
    if query.task:
        return [("", "task_id = :task AND task_id <> ''")]
    if query.operation:
        return [("", "operation = :operation AND operation <> ''")]
    if query.workflow:
        return [(" INDEXED BY te_task_events_by_workflow", "workflow_id = :workflow AND workflow_id <> ''")]
    if query.node:
        if query.types and OF_NODES.issuperset(query.types):
            return [(" INDEXED BY te_task_events_of_nodes", "node = :node AND node <> '' AND task_id = ''")]
        return [(" INDEXED BY te_task_events_by_node", "node = :node AND node <> ''")]
    if query.actor or query.audit:
        return [(" INDEXED BY te_task_events_audit", "actor <> ''")]
    types = sorted(set(query.types))
    if types and not _FREQUENT.intersection(types):
        rare = ", ".join(str(int(one)) for one in sorted(_FREQUENT))
        by = " INDEXED BY te_task_events_rare"
        return [(by, f"type = {int(one)} AND type NOT IN ({rare})") for one in types]
    return [("", "1")]


def _filters(query: EventQuery, values: dict[str, Any]) -> list[str]:
    """All conditions, so written that none of them chooses an index."""
    parts = []
    for column, value in (
        ("task_id", query.task),
        ("operation", query.operation),
        ("workflow_id", query.workflow),
        ("node", query.node),
        ("actor", query.actor),
    ):
        if value:
            name = column.removesuffix("_id")
            parts.append(f"+{column} = :{name}")
            values[name] = value
    if query.audit:
        parts.append("+actor <> ''")
    if query.types:
        parts.append(f"+type IN ({','.join(str(int(one)) for one in sorted(set(query.types)))})")
    return parts


def _event_number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise bad_cursor()
    return int(text)
