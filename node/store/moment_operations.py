"""Operations, their tasks and the causes of dead letters of the past: as node.store.moment has it for tasks.

Each is a walk over the events since then: they say which operations began or ended, which letters were revived or
discarded, and which tasks another operation took over.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Event, Operation, Task
from node.core.faults import Code, Fault
from node.core.model import DEAD_LETTER, LIVE_OPERATION, Table
from node.store import moment, queries
from node.store.asof import At, operation_as_of
from node.store.operations import CAUSE_NODES, Cause, OperationPage
from node.store.queries import Statement, TaskPage, TaskQuery
from node.store.rows import Codec, row_text

Codecs = Mapping[Table, Codec]

_TURNS = (
    types_pb2.EVENT_TYPE_OPERATION_BEGUN,
    types_pb2.EVENT_TYPE_OPERATION_ENDED,
    types_pb2.EVENT_TYPE_OPERATION_UNDONE,
)


class _Letter(NamedTuple):
    """A dead letter as it was."""

    dead_lettered_at_us: int
    task: str
    fingerprint: str
    node: str


def list_operations(
    db: sqlite3.Connection, codecs: Codecs, live: bool, limit: int, cursor: str, at: At
) -> OperationPage:
    """Newest first. Operations that were trimmed since are absent. Raises Fault for a bad cursor or limit."""
    limit = queries.checked_limit(limit)
    after = moment.max_cursor(queries.decode_cursor(cursor), at)
    codec = codecs[Table.OPERATIONS]
    later = _first_events(db, at)
    if live:
        rows = _were_live(db, codec, later, after, at)
    else:
        rows = [_operation(codec, values) for values in operation_page(codec, after, limit + 1).rows(db)]
    shown = [operation_as_of(row, later.get(row.id), at) for row in rows[:limit]]
    more = queries.encode_cursor(shown[-1].created_index, shown[-1].id) if len(rows) > limit else ""
    return OperationPage(shown, more, at.index)


def operation(db: sqlite3.Connection, codecs: Codecs, operation_id: str, at: At) -> Operation | None:
    """One operation as it was; None when it was not there, or is not any more."""
    codec = codecs[Table.OPERATIONS]
    rows = operations_by_id(codec, [operation_id], at).rows(db)
    if not rows:
        return None
    row = _operation(codec, rows[0])
    return operation_as_of(row, _first_events(db, at).get(row.id), at)


def operation_page(codec: Codec, after: tuple[int, str], count: int) -> Statement:
    sql = (
        f"SELECT {', '.join(codec.columns)} FROM operations WHERE (created_index, id) < (?, ?)"
        " ORDER BY created_index DESC, id DESC LIMIT ?"
    )
    return Statement(sql, (*after, count))


def operations_by_id(codec: Codec, ids: Iterable[str], at: At) -> Statement:
    """Those of them that were there."""
    wanted = tuple(ids)
    marks = ",".join("?" * len(wanted))
    sql = f"SELECT {', '.join(codec.columns)} FROM operations WHERE id IN ({marks}) AND created_index <= ?"
    return Statement(sql, (*wanted, at.index))


def live_operations(codec: Codec) -> Statement:
    states = ",".join(str(int(state)) for state in sorted(LIVE_OPERATION))
    return Statement(f"SELECT {', '.join(codec.columns)} FROM operations WHERE state IN ({states})", ())


def operation_events(at: At) -> Statement:
    """Begins and ends of operations after a moment."""
    sql = (
        "SELECT log_index, number, type, operation FROM te_task_events INDEXED BY te_task_events_rare"
        f" WHERE type NOT IN (1, 2, 3, 4) AND type IN ({', '.join(str(int(one)) for one in _TURNS)})"
        " AND log_index > ?"
    )
    return Statement(sql, (at.index,))


def _first_events(db: sqlite3.Connection, at: At) -> dict[str, types_pb2.EventType.ValueType]:
    """Of each operation that began or ended after that moment, which of both came first."""
    found: dict[str, types_pb2.EventType.ValueType] = {}
    for _, _, kind, operation_id in sorted(operation_events(at).rows(db)):
        found.setdefault(operation_id, kind)
    return found


def _were_live(
    db: sqlite3.Connection, codec: Codec, later: Mapping[str, object], after: tuple[int, str], at: At
) -> list[Operation]:
    """Rows of those that had not ended, newest first."""
    rows = {row.id: row for values in live_operations(codec).rows(db) if (row := _operation(codec, values))}
    changed = sorted(set(later) - set(rows))
    for start in range(0, len(changed), moment.CHUNK):
        for values in operations_by_id(codec, changed[start : start + moment.CHUNK], at).rows(db):
            row = _operation(codec, values)
            rows[row.id] = row
    ordered = sorted(rows.values(), key=lambda row: (row.created_index, row.id), reverse=True)
    return [row for row in ordered if (row.created_index, row.id) < after]


def list_causes(db: sqlite3.Connection, codecs: Codecs, limit: int, at: At) -> list[Cause]:
    """Causes of dead letters as they were, most letters first."""
    groups: dict[str, list[_Letter]] = {}
    for letter in _letters(db, codecs, at):
        groups.setdefault(letter.fingerprint, []).append(letter)
    first = sorted(groups, key=lambda one: (-len(groups[one]), one))[: queries.checked_limit(limit)]
    found = []
    for fingerprint in first:
        letters = groups[fingerprint]
        nodes = sorted(
            Counter(one.node for one in letters if one.node).items(), key=lambda item: (-item[1], item[0])
        )
        newest = max(letters)
        (sample,) = _tasks(db, codecs, [newest.task], at)
        times = [one.dead_lettered_at_us for one in letters]
        names = [node for node, _ in nodes[:CAUSE_NODES]]
        found.append(Cause(fingerprint, len(letters), min(times), max(times), names, sample))
    return found


def list_letters(db: sqlite3.Connection, codecs: Codecs, cause: str, query: TaskQuery, at: At) -> TaskPage:
    """Dead letters of one cause, given by a unique prefix, the latest first. Raises Fault."""
    limit = queries.checked_limit(query.limit)
    after = queries.decode_cursor(query.cursor) or (queries.INT_MAX, "")
    letters = _letters(db, codecs, at)
    wanted = _named({one.fingerprint for one in letters}, cause, at)
    meant = sorted((one for one in letters if one.fingerprint == wanted), reverse=True)
    page = [one for one in meant if (one.dead_lettered_at_us, one.task) < after]
    tasks = _tasks(db, codecs, [one.task for one in page[:limit]], at)
    last = page[min(limit, len(page)) - 1] if page else None
    more = queries.encode_cursor(last.dead_lettered_at_us, last.task) if last and len(page) > limit else ""
    return TaskPage(tasks, len(meant), more, at.index)


def _named(causes: set[str], text: str, at: At) -> str:
    found = sorted(one for one in causes if one.startswith(text)) if text else []
    if text in causes:
        return text
    if not found:
        message = f"No dead letter had the cause {text!r} at index {at.index}."
        raise Fault(Code.NOT_FOUND, message, "See `cortex dead-letters --group --at` with the same moment.")
    if len(found) > 1:
        raise Fault(Code.AMBIGUOUS, f"{text!r} could be {found[0]} or {found[1]}.", "Write more of the cause.")
    return found[0]


def _letters(db: sqlite3.Connection, codecs: Codecs, at: At) -> list[_Letter]:
    """All tasks that were dead letters, in no order."""
    letters = [_Letter(*values) for values in unchanged_letters(at).rows(db)]
    codec = codecs[Table.EVENTS]
    for values in changed_letters(codec, at).rows(db):
        event = codec.decode(values)
        assert isinstance(event, Event)
        was = event.was_letter
        letters.append(_Letter(was.dead_lettered_at_us, event.task, was.fingerprint, event.was_node))
    return letters


def unchanged_letters(at: At) -> Statement:
    sql = (
        "SELECT dead_lettered_at, id, fingerprint, assigned_node FROM te_tasks INDEXED BY te_tasks_by_cause"
        " WHERE state = 9 AND modified_index <= ?"
    )
    return Statement(sql, (at.index,))


def changed_letters(codec: Codec, at: At) -> Statement:
    """The first later events of those that changed since."""
    columns = ", ".join(f"e.{name}" for name in codec.columns)
    sql = f"SELECT {columns} FROM {moment.CHANGED} WHERE {moment.FIRST} AND e.was_state = {int(DEAD_LETTER)}"
    return Statement(sql, {"i": at.index})


def list_tasks(db: sqlite3.Connection, codecs: Codecs, query: TaskQuery, at: At) -> TaskPage:
    """Tasks that an operation had created or revived last, as they were, newest first. Raises Fault."""
    limit = queries.checked_limit(query.limit)
    after = moment.max_cursor(queries.decode_cursor(query.cursor), at)
    keys = _keys_of_operation(db, codecs, query.operation, at)
    others = replace(query, operation="", cursor="")
    total = len(keys)
    if others.states or others.node or others.workflow or others.text:
        kept = [task for task in _tasks(db, codecs, [key for _, key in keys], at) if _matches(task, others)]
        total = len(kept)
        keys = [(task.created_index, task.id) for task in kept]
    page = [key for key in keys if key < after]
    tasks = _tasks(db, codecs, [key for _, key in page[:limit]], at)
    more = queries.encode_cursor(*page[limit - 1]) if len(page) > limit else ""
    return TaskPage(tasks, total, more, at.index)


def _keys_of_operation(db: sqlite3.Connection, codecs: Codecs, wanted: str, at: At) -> list[tuple[int, str]]:
    """Created index and id of its tasks then, newest first."""
    taken = _operations_before(db, codecs[Table.EVENTS], at)
    keys = [key for key in tasks_of_operation(wanted, at).rows(db) if key[1] not in taken]
    theirs = sorted(task for task, before in taken.items() if before == wanted)
    for start in range(0, len(theirs), moment.CHUNK):
        chunk = theirs[start : start + moment.CHUNK]
        marks = ",".join("?" * len(chunk))
        keys += db.execute(f"SELECT created_index, id FROM te_tasks WHERE id IN ({marks})", chunk).fetchall()
    return sorted(((int(index), str(key)) for index, key in keys if index <= at.index), reverse=True)


def tasks_of_operation(wanted: str, at: At) -> Statement:
    sql = (
        "SELECT t.created_index, t.id FROM te_tasks t WHERE t.operation = ? AND t.operation <> ''"
        " AND t.created_index <= ?"
    )
    return Statement(sql, (wanted, at.index))


def _operations_before(db: sqlite3.Connection, codec: Codec, at: At) -> dict[str, str]:
    """Operation at that moment of each task whose operation changed later, by task."""
    found: dict[str, str] = {}
    for values in db.execute(*revivals(codec, at)):
        event = codec.decode(values)
        assert isinstance(event, Event)
        if event.HasField("was_operation"):
            found.setdefault(event.task, event.was_operation)
    return found


def revivals(codec: Codec, at: At) -> Statement:
    """Events of tasks after a moment that may tell of another operation before, in order."""
    sql = (
        f"SELECT {', '.join(codec.columns)} FROM te_task_events WHERE log_index > ? AND task_id <> ''"
        " AND extra IS NOT NULL ORDER BY log_index, number"
    )
    return Statement(sql, (at.index,))


def _matches(task: Task, query: TaskQuery) -> bool:
    return (
        (not query.states or task.state in query.states)
        and query.node in ("", task.node)
        and query.workflow in ("", task.workflow_id)
        and (not query.text or query.text.lower() in row_text(task))
    )


def _tasks(db: sqlite3.Connection, codecs: Codecs, ids: list[str], at: At) -> list[Task]:
    """These tasks as they were, in this order."""
    codec = codecs[Table.TASKS]
    rows: dict[str, Task] = {}
    for start in range(0, len(ids), moment.CHUNK):
        chunk = ids[start : start + moment.CHUNK]
        marks = ",".join("?" * len(chunk))
        sql = f"SELECT {', '.join(codec.columns)} FROM te_tasks WHERE id IN ({marks})"
        for values in db.execute(sql, chunk):
            row = codec.decode(values)
            assert isinstance(row, Task)
            rows[row.id] = row
    return moment.tasks_as_of(db, codecs[Table.EVENTS], [rows[key] for key in ids], at)


def _operation(codec: Codec, values: Iterable[object]) -> Operation:
    row = codec.decode(tuple(values))
    assert isinstance(row, Operation)
    return row
