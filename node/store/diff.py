"""What differs between two moments: rows that have events in between, field by field."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Node, Task, TaskSpec, Workflow
from node.core.model import Table
from node.store import moment, moment_workflows
from node.store.asof import At, task_as_of
from node.store.queries import Statement
from node.store.rows import Codec, spec_text

LIMIT_DEFAULT = 1_000
LIMIT_MAX = 10_000
_CHUNK = 128
_VALUE_CHARS = 1_000

Fields = Mapping[str, str]
Differences = tuple[tuple[str, str, str], ...]
R = TypeVar("R", Task, Node, Workflow)


class RowDiff(NamedTuple):
    """`fields`: name, before and after, each empty where the row or the value was not there."""

    table: str
    id: str
    name: str
    fields: Differences


def diff(
    db: sqlite3.Connection, codecs: dict[Table, Codec], begin: At, end: At, limit: int
) -> tuple[list[RowDiff], bool]:
    """At most `limit` rows that are not the same at both moments, and whether there are more.

    Costs a walk over the events in between. Only what is known exactly of both moments is compared.
    """
    rows = list(islice(_rows(db, codecs, begin, end), limit + 1))
    return rows[:limit], len(rows) > limit


def _rows(db: sqlite3.Connection, codecs: dict[Table, Codec], begin: At, end: At) -> Iterator[RowDiff]:
    yield from _tasks(db, codecs, begin, end)
    before = {node.id: node for node in moment.nodes_as_of(db, codecs, begin)}
    after = {node.id: node for node in moment.nodes_as_of(db, codecs, end)}
    for key in sorted({**before, **after}):
        yield from _compared("nodes", key, before.get(key), after.get(key), _node_fields)
    yield from _workflows(db, codecs, begin, end)


def _tasks(db: sqlite3.Connection, codecs: dict[Table, Codec], begin: At, end: At) -> Iterator[RowDiff]:
    for ids in _chunks(key for (key,) in db.execute(*changed_tasks(begin, end))):
        codec = codecs[Table.TASKS]
        marks = ",".join("?" * len(ids))
        sql = f"SELECT {', '.join(codec.columns)} FROM te_tasks WHERE id IN ({marks}) ORDER BY id"
        found = [row for values in db.execute(sql, ids) if isinstance(row := codec.decode(values), Task)]
        events = moment.events_of(db, codecs[Table.EVENTS], [row.id for row in found])
        for row in found:
            own = events.get(row.id, ())
            before = task_as_of(row, own, begin) if row.created_index <= begin.index else None
            after = task_as_of(row, own, end) if row.created_index <= end.index else None
            yield from _compared("tasks", row.id, before, after, _task_fields, _spec_difference)


def changed_tasks(begin: At, end: At) -> Statement:
    sql = (
        "SELECT DISTINCT task_id FROM te_task_events WHERE log_index > ? AND log_index <= ? AND task_id <> ''"
        " AND type <> ? ORDER BY task_id"
    )
    return Statement(sql, (begin.index, end.index, int(types_pb2.EVENT_TYPE_REJECTED)))


def _workflows(db: sqlite3.Connection, codecs: dict[Table, Codec], begin: At, end: At) -> Iterator[RowDiff]:
    codec = codecs[Table.WORKFLOWS]
    for ids in _chunks(key for (key,) in db.execute(*changed_workflows(begin, end))):
        marks = ",".join("?" * len(ids))
        sql = f"SELECT {', '.join(codec.columns)} FROM te_workflows WHERE id IN ({marks}) ORDER BY id"
        for values in db.execute(sql, ids).fetchall():
            row = codec.decode(values)
            assert isinstance(row, Workflow)
            before, after = (
                moment_workflows.as_of(db, codecs, row, at)[0] if row.created_index <= at.index else None
                for at in (begin, end)
            )
            yield from _compared("workflows", row.id, before, after, _workflow_fields)


def changed_workflows(begin: At, end: At) -> Statement:
    sql = (
        "SELECT DISTINCT workflow_id FROM te_task_events WHERE log_index > ? AND log_index <= ?"
        " AND workflow_id <> '' ORDER BY workflow_id"
    )
    return Statement(sql, (begin.index, end.index))


def _compared(
    table: str,
    key: str,
    before: R | None,
    after: R | None,
    fields: Callable[[R], Fields],
    more: Callable[[R, R], Differences] = lambda _before, _after: (),
) -> Iterator[RowDiff]:
    if before is None and after is None:
        return
    old = fields(before) if before is not None else {}
    new = fields(after) if after is not None else {}
    differ = tuple(
        (name, old.get(name, ""), new.get(name, ""))
        for name in {**old, **new}
        if old.get(name, "") != new.get(name, "")
    )
    if before is not None and after is not None:
        differ += more(before, after)
    if differ:
        known = after if after is not None else before
        name = known.hostname if isinstance(known, Node) else known.name if known is not None else ""
        yield RowDiff(table, key, name, differ)


def _task_fields(task: Task) -> Fields:
    return {
        "state": _name(types_pb2.TaskState, task.state),
        "node": task.node,
        "attempt": str(task.attempt),
        "run": str(task.run),
        "priority": str(task.priority),
        "command": spec_text(task.spec)[:_VALUE_CHARS],
    }


def _spec_difference(before: Task, after: Task) -> Differences:
    """What an edited retry changed, the command aside."""
    if before.spec == after.spec:
        return ()
    names = (name for name in TaskSpec.DESCRIPTOR.fields_by_name if name not in ("argv", "shell_command"))
    pairs = ((name, getattr(before.spec, name), getattr(after.spec, name)) for name in names)
    return tuple((f"spec.{name}", _text(old), _text(new)) for name, old, new in pairs if old != new)


def _node_fields(node: Node) -> Fields:
    labels = sorted(f"{label.key}={label.value}" if label.value else label.key for label in node.labels)
    return {
        "state": _name(types_pb2.NodeState, node.state),
        "online": _flag(node.online),
        "address": node.address,
        "role": _name(types_pb2.NodeRole, node.role),
        "slots": ", ".join(f"{_name(types_pb2.TaskType, slot.type)}={slot.count}" for slot in node.slots),
        "labels": ", ".join(labels)[:_VALUE_CHARS],
        "capabilities": ", ".join(node.capabilities)[:_VALUE_CHARS],
        "incarnation": node.incarnation,
        "message": node.message,
        "suspect_reason": node.suspect_reason,
        "alarm": node.alarm,
        "operation": node.operation,
        "version": node.version,
    }


def _workflow_fields(workflow: Workflow) -> Fields:
    return {
        "state": _name(types_pb2.WorkflowState, workflow.state),
        "run": str(workflow.run),
        "remaining": str(workflow.remaining),
        "failures": str(workflow.failures),
    }


def _name(enum: Any, value: int) -> str:
    """running for TASK_STATE_RUNNING."""
    prefix = "".join(f"_{one}" if one.isupper() else one.upper() for one in enum.DESCRIPTOR.name).lstrip("_")
    name: str = enum.Name(value)
    return name.removeprefix(f"{prefix}_").lower()


def _flag(value: bool) -> str:
    return "yes" if value else "no"


def _text(value: Any) -> str:
    """A field's value on one line."""
    if isinstance(value, Message):
        return text_format.MessageToString(value, as_one_line=True)[:_VALUE_CHARS]
    if isinstance(value, bytes):
        return value.decode(errors="replace")[:_VALUE_CHARS]
    if isinstance(value, int | float | str):
        return str(value)[:_VALUE_CHARS]
    return ", ".join(_text(one) for one in value)[:_VALUE_CHARS]


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    todo = iter(keys)
    while chunk := list(islice(todo, _CHUNK)):
        yield chunk
