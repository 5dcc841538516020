"""Views of the past, as queries over the events: nothing is replayed, nothing is kept for them beside the events.

A row that did not change since is shown as it is; of one that did, its first later event tells what it was before.
So a page costs its rows and their events; a filter by state or node costs a walk over the events since that moment,
once for the page and twice for the total; a text costs what it costs today.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cortex.v1.types_pb2 import EVENT_TYPE_SETTING_CHANGED, Event, Node, Setting, Task
from node.core.faults import Code, Fault
from node.core.model import ON_NODE, Table
from node.store import queries
from node.store.asof import At, Moment, node_as_of, task_as_of
from node.store.queries import Statement, TaskPage, TaskQuery
from node.store.rows import Codec

# Rows whose events are looked up by one statement.
CHUNK = 128
# Tasks that are looked through for a page before all events since then are.
NEAR = 2_000
# Tasks that are counted one by one rather than by the events since then.
FEW = 100_000

# The first event of a task after the moment :i, and its row still there and changed since.
FIRST = (
    "e.log_index > :i AND e.task_id <> '' AND e.was_state > 0 AND NOT EXISTS (SELECT 1 FROM te_task_events x"
    " WHERE x.task_id = e.task_id AND x.task_id <> '' AND x.state > 0 AND x.log_index > :i"
    " AND (x.log_index, x.number) < (e.log_index, e.number))"
)
CHANGED = "te_task_events e CROSS JOIN te_tasks t ON t.id = e.task_id AND t.modified_index > :i"
# The task t was, at :i, in a state and on a node that {was} accepts; it is so today where it did not change.
_WAS = (
    "(CASE WHEN t.modified_index <= :i THEN {now} ELSE EXISTS (SELECT 1 FROM te_task_events e"
    " WHERE e.task_id = t.id AND e.task_id <> '' AND " + FIRST + " AND {was}) END)"
)


def resolve(db: sqlite3.Connection, wanted: Moment) -> At:
    """The moment that is meant by an index, or by a leader time. Raises Fault when nothing is known of it."""
    index, at_us, now_us = wanted.index, wanted.at_us, wanted.now_us
    saved, saved_us = db.execute("SELECT saved_index, saved_at FROM meta").fetchone()
    oldest = db.execute("SELECT log_index, at FROM te_task_events ORDER BY log_index, number LIMIT 1").fetchone()
    oldest = oldest or (saved, saved_us)
    if index > saved or (not index and at_us > now_us):
        message = f"Index {index} is later than now, which is {saved}." if index else "That time is later than now."
        raise Fault(Code.INVALID, message, "Name a moment of the past, or leave it out to see now.")
    if (index and index < oldest[0]) or (not index and at_us < oldest[1]):
        raise Fault(
            Code.GONE,
            f"That is before the oldest event that is kept, which is at index {oldest[0]}, {_time(oldest[1])}.",
            "Name a later moment; the setting events_kept_s says how long events are kept.",
        )
    if index:
        sql = "SELECT at FROM te_task_events WHERE log_index <= ? ORDER BY log_index DESC, number DESC LIMIT 1"
        found = db.execute(sql, (index,)).fetchone()
        return At(index, found[0] if found else saved_us)
    if at_us >= saved_us:
        return At(saved, at_us)
    sql = "SELECT log_index FROM te_task_events WHERE at <= ? ORDER BY at DESC, log_index DESC LIMIT 1"
    return At(db.execute(sql, (at_us,)).fetchone()[0], at_us)


def list_tasks(db: sqlite3.Connection, codecs: dict[Table, Codec], query: TaskQuery, at: At) -> TaskPage:
    """As queries.list_tasks(), of tasks as they were. Tasks that were trimmed since are absent."""
    limit = queries.checked_limit(query.limit)
    codec = codecs[Table.TASKS]
    rows = _page_rows(db, codec, query, at, limit + 1)
    after = queries.encode_cursor(rows[limit - 1].created_index, rows[limit - 1].id) if len(rows) > limit else ""
    tasks = tasks_as_of(db, codecs[Table.EVENTS], rows[:limit], at)
    return TaskPage(tasks, total_tasks(db, query, at), after, at.index)


def _page_rows(db: sqlite3.Connection, codec: Codec, query: TaskQuery, at: At, count: int) -> list[Task]:
    """Rows as they are today, of tasks that matched then, newest first."""
    cursor = max_cursor(queries.decode_cursor(query.cursor), at)
    if _by_state(query):
        # Where most tasks match, the page is near.
        near = near_page(query, at, cursor, count).rows(db)
        if len(near) == count:
            return _rows_of(db, codec, near)
    found = [_task(codec, row) for row in task_page(codec, query, at, cursor, count).rows(db)]
    if _by_state(query):
        found += _rows_of(db, codec, changed_page(query, at, cursor, count).rows(db))
        found.sort(key=lambda task: (task.created_index, task.id), reverse=True)
    return found[:count]


def _rows_of(db: sqlite3.Connection, codec: Codec, keys: Sequence[tuple[Any, ...]]) -> list[Task]:
    """The rows of these keys, newest first."""
    if not keys:
        return []
    marks = ",".join("?" * len(keys))
    sql = f"SELECT {', '.join(codec.columns)} FROM te_tasks WHERE id IN ({marks})"
    rows = {row.id: row for values in db.execute(sql, [key for _, key in keys]) if (row := _task(codec, values))}
    return [rows[key] for _, key in keys]


def near_page(query: TaskQuery, at: At, cursor: tuple[int, str], count: int) -> Statement:
    """Keys of those that matched a filter by state and node among the next NEAR tasks."""
    values: dict[str, Any] = {"i": at.index, "c": cursor[0], "k": cursor[1], "n": count, "near": NEAR}
    sql = (
        "SELECT t.created_index, t.id FROM (SELECT created_index, id, modified_index, state, assigned_node"
        " FROM te_tasks WHERE (created_index, id) < (:c, :k) ORDER BY created_index DESC, id DESC LIMIT :near) t"
        f" WHERE {_matched(query, values)} LIMIT :n"
    )
    return Statement(sql, values)


def task_page(codec: Codec, query: TaskQuery, at: At, cursor: tuple[int, str], count: int) -> Statement:
    """One page of tasks that matched then. By state or node alone: only of those that did not change since."""
    columns = ", ".join(f"t.{name}" for name in codec.columns)
    values = {"i": at.index, "c": cursor[0], "k": cursor[1], "n": count, "text": query.text.lower()}
    order = "ORDER BY created_index DESC, id DESC LIMIT :n"
    if query.text:
        sql = (
            f"SELECT {columns} FROM te_task_text x CROSS JOIN te_tasks t ON t.id = x.task_id"
            f" WHERE (x.created_index, x.task_id) < (:c, :k) AND instr(x.text, :text) AND {_matched(query, values)}"
            " ORDER BY x.created_index DESC, x.task_id DESC LIMIT :n"
        )
        return Statement(sql, values)
    after = "(t.created_index, t.id) < (:c, :k)"
    if query.workflow or not _by_state(query):
        return Statement(
            f"SELECT {columns} FROM te_tasks t WHERE {after} AND {_matched(query, values)} {order}", values
        )
    arms = [
        f"SELECT {columns} FROM te_tasks t WHERE {where} AND {after} AND t.modified_index <= :i"
        for where in _arms(query, values)
    ]
    return Statement(f"{' UNION ALL '.join(arms)} {order}", values)


def _arms(query: TaskQuery, values: dict[str, Any]) -> list[str]:
    """One condition for each state, since the state leads an index."""
    states = sorted(set(query.states)) or queries.STATES
    if query.node:
        values["node"] = query.node
        return [f"t.assigned_node = :node AND t.state = {int(state)}" for state in states]
    return [f"t.state = {int(state)}" for state in states]


def changed_page(query: TaskQuery, at: At, cursor: tuple[int, str], count: int) -> Statement:
    """Keys of tasks that changed since and matched a filter by state and node, newest first."""
    values: dict[str, Any] = {"i": at.index, "c": cursor[0], "k": cursor[1], "n": count}
    where = _states_and_node(query, "e.was_state", "e.was_node", values)
    sql = (
        f"SELECT t.created_index, t.id FROM {CHANGED} WHERE {FIRST} AND {where}"
        " AND (t.created_index, t.id) < (:c, :k) ORDER BY t.created_index DESC, t.id DESC LIMIT :n"
    )
    return Statement(sql, values)


def total_tasks(db: sqlite3.Connection, query: TaskQuery, at: At) -> int:
    """Tasks that matched then and are still there."""
    today = 0
    if not (query.text or query.workflow):
        by_state = queries.counts(db, query.node)
        today = sum(by_state.get(state, 0) for state in set(query.states) or by_state)
    if _by_state(query) and today <= FEW:
        parts = [(1, _changed_count(query, at, then=True)), *((1, part) for part in unchanged_counts(query, at))]
        today = 0
    else:
        parts = task_totals(query, at)
    return today + sum(sign * int(part.rows(db)[0][0]) for sign, part in parts)


def unchanged_counts(query: TaskQuery, at: At) -> list[Statement]:
    """Statements whose counts sum to those that match by state and node today and did not change since."""
    values: dict[str, Any] = {"i": at.index}
    arms = _arms(query, values)
    return [
        Statement(f"SELECT count(*) FROM te_tasks t WHERE {arm} AND t.modified_index <= :i", values) for arm in arms
    ]


def task_totals(query: TaskQuery, at: At) -> list[tuple[int, Statement]]:
    """Statements whose counts, signed, sum to the total; without text or workflow, to its difference from today."""
    values: dict[str, Any] = {"i": at.index, "c": at.index + 1, "text": query.text.lower()}
    if query.text:
        sql = (
            "SELECT count(*) FROM te_task_text x CROSS JOIN te_tasks t ON t.id = x.task_id"
            f" WHERE x.created_index < :c AND instr(x.text, :text) AND {_matched(query, values)}"
        )
        return [(1, Statement(sql, values))]
    if query.workflow:
        sql = f"SELECT count(*) FROM te_tasks t WHERE t.created_index < :c AND {_matched(query, values)}"
        return [(1, Statement(sql, values))]
    if not _by_state(query):
        return [(-1, Statement("SELECT count(*) FROM te_tasks WHERE created_index >= :c", values))]
    return [(1, _changed_count(query, at, then=True)), (-1, _changed_count(query, at, then=False))]


def _changed_count(query: TaskQuery, at: At, *, then: bool) -> Statement:
    """How many of the tasks that changed since matched then, or match today."""
    values: dict[str, Any] = {"i": at.index}
    if then:
        where = f"{FIRST} AND {_states_and_node(query, 'e.was_state', 'e.was_node', values)}"
        return Statement(f"SELECT count(*) FROM {CHANGED} WHERE {where}", values)
    where = f"{_LAST} AND {_states_and_node(query, 't.state', 't.assigned_node', values)}"
    return Statement(f"SELECT count(DISTINCT e.task_id) FROM {CHANGED} WHERE {where}", values)


# An event of the last change of its task.
_LAST = "e.log_index > :i AND e.task_id <> '' AND e.state > 0 AND e.log_index = t.modified_index"


def _by_state(query: TaskQuery) -> bool:
    return bool((query.states or query.node) and not query.workflow and not query.text)


def _matched(query: TaskQuery, values: dict[str, Any]) -> str:
    """That a task t of a page by text or workflow matched the other filters then."""
    parts = ["1"]
    if query.workflow:
        parts = ["t.workflow_id = :workflow AND t.workflow_id <> ''"]
        values["workflow"] = query.workflow
    if query.states or query.node:
        now = _states_and_node(query, "t.state", "t.assigned_node", values)
        was = _states_and_node(query, "e.was_state", "e.was_node", values)
        parts.append(_WAS.format(now=now, was=was))
    return " AND ".join(parts)


def _states_and_node(query: TaskQuery, state: str, node: str, values: dict[str, Any]) -> str:
    parts = []
    if query.states:
        parts.append(f"{state} IN ({','.join(str(int(one)) for one in sorted(set(query.states)))})")
    if query.node:
        parts.append(f"{node} = :node")
        values["node"] = query.node
    return " AND ".join(parts) or "1"


def max_cursor(cursor: tuple[int, str] | None, at: At) -> tuple[int, str]:
    """Where a page of what was created up to a moment begins."""
    first = (at.index + 1, "")
    return first if cursor is None else min(cursor, first)


def tasks_as_of(db: sqlite3.Connection, codec: Codec, rows: Sequence[Task], at: At) -> list[Task]:
    """The tasks, which were there at that moment, as they were; `codec` is that of events."""
    changed = [row.id for row in rows if row.modified_index > at.index]
    events = events_of(db, codec, changed)
    return [task_as_of(row, events.get(row.id, ()), at) for row in rows]


def events_of(db: sqlite3.Connection, codec: Codec, ids: Sequence[str]) -> dict[str, list[Event]]:
    """All events of these tasks, in order."""
    found: dict[str, list[Event]] = {}
    for chunk in _chunks(ids):
        for values in events_of_tasks(codec, chunk).rows(db):
            event = _event(codec, values)
            found.setdefault(event.task, []).append(event)
    for events in found.values():
        events.sort(key=event_order)
    return found


def events_of_tasks(codec: Codec, ids: Sequence[str]) -> Statement:
    columns = ", ".join(f"e.{name}" for name in codec.columns)
    marks = ",".join(["(?)"] * len(ids))
    sql = (
        f"SELECT {columns} FROM (VALUES {marks}) k CROSS JOIN te_task_events e"
        " ON e.task_id = k.column1 AND e.task_id <> ''"
    )
    return Statement(sql, tuple(ids))


def settings_as_of(db: sqlite3.Connection, codec: Codec, at: At) -> dict[str, Setting]:
    """The settings that differed from their defaults, or had been set, by name; only names and values."""
    rows = [codec.decode(values) for values in db.execute(f"SELECT {', '.join(codec.columns)} FROM settings")]
    found = {row.name: Setting(name=row.name, value=row.value) for row in rows if isinstance(row, Setting)}
    told = set[str]()
    for (detail,) in settings_changes(at).rows(db):
        name, _, change = detail.partition(": ")
        before = change.partition(" -> ")[0]
        if name in told:
            continue
        told.add(name)
        found.pop(name, None)
        if before != "default":
            found[name] = Setting(name=name, value=before)
    return found


def settings_changes(at: At) -> Statement:
    """Details of the changes after a moment, oldest first: "name: before -> after"."""
    sql = (
        "SELECT detail FROM te_task_events INDEXED BY te_task_events_rare"
        f" WHERE type = {int(EVENT_TYPE_SETTING_CHANGED)} AND type NOT IN (1, 2, 3, 4) AND log_index > ?"
        " ORDER BY log_index, number"
    )
    return Statement(sql, (at.index,))


def nodes_as_of(db: sqlite3.Connection, codecs: dict[Table, Codec], at: At) -> list[Node]:
    """The nodes that were there, as they were, by id."""
    codec, events = codecs[Table.NODES], codecs[Table.EVENTS]
    found = []
    for values in db.execute(f"SELECT {', '.join(codec.columns)} FROM nodes ORDER BY id"):
        row = codec.decode(values)
        assert isinstance(row, Node)
        later = None
        if row.modified_index > at.index:
            first = first_node_event(events, row.id, at).rows(db)
            later = _event(events, first[0]) if first else None
        was = node_as_of(row, later, at)
        if was is not None:
            found.append(was)
    return found


def first_node_event(codec: Codec, node: str, at: At) -> Statement:
    sql = (
        f"SELECT {', '.join(codec.columns)} FROM te_task_events INDEXED BY te_task_events_of_nodes"
        " WHERE node = ? AND node <> '' AND task_id = '' AND log_index > ? AND node_state > 0"
        " ORDER BY log_index, number LIMIT 1"
    )
    return Statement(sql, (node, at.index))


def held_tasks(db: sqlite3.Connection, at: At) -> dict[tuple[int, str], int]:
    """How many tasks were in each state that holds a node, by state and node."""
    states = ",".join(str(int(state)) for state in sorted(ON_NODE))
    unchanged = (
        "SELECT t.state, t.assigned_node, count(*) FROM te_tasks t"
        f" WHERE t.state IN ({states}) AND t.modified_index <= :i GROUP BY 1, 2"
    )
    changed = (
        f"SELECT e.was_state, e.was_node, count(*) FROM {CHANGED}"
        f" WHERE {FIRST} AND e.was_state IN ({states}) GROUP BY 1, 2"
    )
    counts: dict[tuple[int, str], int] = {}
    for sql in (unchanged, changed):
        for state, node, tasks in db.execute(sql, {"i": at.index}):
            counts[state, node] = counts.get((state, node), 0) + tasks
    return counts


def event_order(event: Event) -> tuple[int, int]:
    """By log index, then by number within the entry."""
    return event.index, int(event.id.partition("-")[2])


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), CHUNK):
        yield list(ids[start : start + CHUNK])


def _task(codec: Codec, values: Iterable[Any]) -> Task:
    row = codec.decode(tuple(values))
    assert isinstance(row, Task)
    return row


def _event(codec: Codec, values: Iterable[Any]) -> Event:
    row = codec.decode(tuple(values))
    assert isinstance(row, Event)
    return row


def _time(at_us: int) -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).isoformat().replace("+00:00", "Z")
