"""How each kind of row becomes columns, and exactly the same row again.

No row has a map, so its bytes are the same each time without asking for that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import compress
from operator import attrgetter
from typing import Any, Protocol

from google.protobuf.message import Message

from cortex.v1.types_pb2 import (
    Batch,
    DoubleRun,
    Event,
    Node,
    Operation,
    Setting,
    StoredReply,
    SubmitKey,
    Task,
    TaskSpec,
    Workflow,
)
from node.core.model import Row, Table, reply_key

Values = tuple[Any, ...]

# A text filter sees this much of a command.
TEXT_LIMIT_CHARS = 2_000

_EVENT_ID = re.compile(r"^(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,18})$")


class Codec(Protocol):
    """One table of rows. `columns` begin with the `keys` columns, its primary key."""

    @property
    def table(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def fixed(self) -> tuple[str, ...]:
        """Columns that never change while a row keeps its key."""

    def encode(self, row: Any) -> Values: ...

    def decode(self, values: Sequence[Any]) -> Row: ...

    def key_values(self, key: str) -> Values | None:
        """Primary key of the row with this id; None when no row can have it."""

    def key_of(self, row: Any) -> str:
        """Id of a row, as its Change names it."""


_PLAIN = (int, float, str, bytes)


class _Extra:
    """Fields of a message that have no column: kept as one message, so that a new field is never lost."""

    def __init__(self, kind: type[Message], fields: Sequence[str]) -> None:
        self._kind = kind
        rest = [item for item in kind.DESCRIPTOR.fields if item.name not in fields]
        self._present = [item.name for item in rest if item.has_presence]
        self._plain = [item.name for item in rest if not item.has_presence]
        self._values = attrgetter(*self._plain)

    def pack(self, row: Message) -> bytes | None:
        has = row.HasField
        names = [*compress(self._plain, self._values(row))]
        names += [name for name in self._present if has(name)]
        if not names:
            return None
        made = self._kind()
        for name in names:
            value = getattr(row, name)
            if isinstance(value, _PLAIN):
                setattr(made, name, value)
            elif name in self._present:
                getattr(made, name).CopyFrom(value)
            else:
                getattr(made, name).extend(value)
        return made.SerializeToString()


_SPEC = Task.SPEC_FIELD_NUMBER
_PLACEMENT = Task.PLACEMENT_FIELD_NUMBER
_RESULT = Task.RESULT_FIELD_NUMBER
_CONSTRAINTS = TaskSpec.CONSTRAINTS_FIELD_NUMBER
_RETRY = TaskSpec.RETRY_FIELD_NUMBER


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _embedded(number: int, body: bytes | None) -> bytes:
    """A sub-message in wire format; nothing when it is absent, which is not the same as empty."""
    if body is None:
        return b""
    return _varint(number << 3 | 2) + _varint(len(body)) + body


_TASK_SCALARS = {
    "id": "id",
    "workflow_id": "workflow_id",
    "task_key": "task_key",
    "name": "name",
    "state": "state",
    "priority": "priority",
    "assigned_node": "node",
    "attempt": "attempt",
    "run": "run",
    "fence": "fence",
    "losses": "losses",
    "cause": "cause",
    "error": "error",
    "reason": "reason",
    "scheduled_after": "scheduled_after_us",
    "created_at": "created_at_us",
    "queued_at": "queued_at_us",
    "assigned_at": "assigned_at_us",
    "started_at": "started_at_us",
    "completed_at": "completed_at_us",
    "dead_lettered_at": "dead_lettered_at_us",
    "lost_at": "lost_at_us",
    "created_index": "created_index",
    "modified_index": "modified_index",
    "cancel_requested": "cancel_requested",
    "cancel_reason": "cancel_reason",
    "migrate_requested": "migrate_requested",
    "submit_key": "submit_key",
    "actor": "actor",
    "fingerprint": "fingerprint",
    "operation": "operation",
}
_TASK_REST = (
    "type",
    "unstartable_nodes",
    "placement",
    "constraints",
    "retry_policy",
    "spec",
    "extra",
    "result",
)


_NO_SPEC: Values = (0, None, None, None)


class TaskCodec:
    table = "te_tasks"
    columns = (*_TASK_SCALARS, *_TASK_REST)
    keys = ("id",)
    fixed = ("created_index", "workflow_id")

    def __init__(self, scalars: dict[str, str] | None = None) -> None:
        scalars = _TASK_SCALARS if scalars is None else scalars
        self.columns = (*scalars, *_TASK_REST)
        self._fields = tuple(scalars.values())
        self._scalars = attrgetter(*self._fields)
        self._extra = _Extra(Task, (*self._fields, "unstartable_nodes", "placement", "spec", "result"))
        # One pair, set at once: writer and readers may use it from their threads.
        self._last: tuple[bytes | None, Values] = (None, _NO_SPEC)

    def encode(self, row: Task) -> Values:
        kind, constraints, retry, spec = self._spec_values(row) if row.HasField("spec") else _NO_SPEC
        unstartable = row.unstartable_nodes
        return (
            *self._scalars(row),
            kind,
            json.dumps(list(unstartable)) if unstartable else None,
            row.placement.SerializeToString() if row.HasField("placement") else None,
            constraints,
            retry,
            spec,
            self._extra.pack(row),
            row.result.SerializeToString() if row.HasField("result") else None,
        )

    def _spec_values(self, row: Task) -> Values:
        """What a spec becomes. Tasks of a batch follow each other and often ask for the same."""
        whole = row.spec.SerializeToString()
        known = self._last
        if known[0] == whole:
            return known[1]
        constraints = retry = None
        rest = TaskSpec.FromString(whole)
        if rest.HasField("constraints"):
            constraints = rest.constraints.SerializeToString()
            rest.ClearField("constraints")
        if rest.HasField("retry"):
            retry = rest.retry.SerializeToString()
            rest.ClearField("retry")
        values = (rest.type, constraints, retry, rest.SerializeToString())
        self._last = (whole, values)
        return values

    def decode(self, values: Sequence[Any]) -> Task:
        count = len(self._fields)
        _type, unstartable, placement, constraints, retry, spec, extra, result = values[count:]
        task = Task(**dict(zip(self._fields, values[:count], strict=True)))
        if spec is not None:
            spec += _embedded(_CONSTRAINTS, constraints) + _embedded(_RETRY, retry)
        rest = (_embedded(_SPEC, spec), _embedded(_PLACEMENT, placement), _embedded(_RESULT, result), extra or b"")
        task.MergeFromString(b"".join(rest))
        if unstartable is not None:
            task.unstartable_nodes.extend(json.loads(unstartable))
        return task

    def key_values(self, key: str) -> Values | None:
        return (key,)

    def key_of(self, row: Task) -> str:
        return row.id


_EVENT_SCALARS = {
    "task_id": "task",
    "type": "type",
    "node": "node",
    "detail": "detail",
    "at": "at_us",
    "state": "state",
    "attempt": "attempt",
    "run": "run",
    "node_state": "node_state",
    "actor": "actor",
    "workflow_id": "workflow",
    "operation": "operation",
    "was_state": "was_state",
    "was_node": "was_node",
    "was_attempt": "was_attempt",
    "was_run": "was_run",
    "was_workflow_state": "was_workflow_state",
}


class EventCodec:
    table = "te_task_events"
    columns = ("log_index", "number", *_EVENT_SCALARS, "extra")
    keys = ("log_index", "number")
    fixed: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._fields = tuple(_EVENT_SCALARS.values())
        self._scalars = attrgetter(*self._fields)
        self._extra = _Extra(Event, ("id", "index", *self._fields))

    def encode(self, row: Event) -> Values:
        index, _, number = row.id.partition("-")
        if index != str(row.index) or not number.isdecimal():
            raise ValueError(f"event id {row.id!r} is not <{row.index}>-<number>")
        return (row.index, int(number), *self._scalars(row), self._extra.pack(row))

    def decode(self, values: Sequence[Any]) -> Event:
        index, number, *scalars, extra = values
        fields = dict(zip(self._fields, scalars, strict=True))
        event = Event(id=f"{index}-{number}", index=index, **fields)
        if extra is not None:
            event.MergeFromString(extra)
        return event

    def key_values(self, key: str) -> Values | None:
        match = _EVENT_ID.match(key)
        return (int(match[1]), int(match[2])) if match else None

    def key_of(self, row: Event) -> str:
        return row.id


class BlobCodec:
    """A small table: the whole row as one blob, and the columns by which it is looked for."""

    keys = ("id",)
    fixed: tuple[str, ...] = ()

    def __init__(self, table: str, kind: type[Any], id_field: str, fields: dict[str, str]) -> None:
        self.table = table
        self.columns = ("id", *fields, "row")
        self._kind = kind
        self._id = attrgetter(id_field)
        self._fields = tuple(fields.values())

    def encode(self, row: Any) -> Values:
        return (self.key_of(row), *[getattr(row, name) for name in self._fields], row.SerializeToString())

    def decode(self, values: Sequence[Any]) -> Row:
        row: Row = self._kind.FromString(values[-1])
        return row

    def key_values(self, key: str) -> Values | None:
        return (key,)

    def key_of(self, row: Any) -> str:
        key: str = self._id(row)
        return key


class BatchCodec(BlobCodec):
    def __init__(self) -> None:
        super().__init__("batches", Batch, "id", {})

    def key_of(self, row: Batch) -> str:
        return reply_key(row.client, row.id)


class ReplyCodec(BlobCodec):
    def __init__(self) -> None:
        super().__init__("replies", StoredReply, "request_id", {"at": "at_us"})

    def key_of(self, row: StoredReply) -> str:
        return reply_key(row.client, row.request_id)


_WORKFLOW_FIELDS = {
    "name": "name",
    "state": "state",
    "created_index": "created_index",
    "created_at": "created_at_us",
    "completed_at": "completed_at_us",
}
_DOUBLE_RUN_FIELDS = {"task_id": "task", "at": "at_us", "log_index": "index"}
_OPERATION_FIELDS = {"state": "state", "created_index": "created_index", "ended_at": "ended_at_us"}


def codecs() -> dict[Table, Codec]:
    """The codec of every table of the state."""
    node_fields = {"hostname": "hostname", "state": "state", "online": "online"}
    return {
        Table.TASKS: TaskCodec(),
        Table.EVENTS: EventCodec(),
        Table.NODES: BlobCodec("nodes", Node, "id", node_fields),
        Table.REPLIES: ReplyCodec(),
        Table.SUBMIT_KEYS: BlobCodec(
            "submit_keys", SubmitKey, "key", {"task_id": "task_id", "ended_at": "ended_at_us"}
        ),
        Table.SETTINGS: BlobCodec("settings", Setting, "name", {}),
        Table.BATCHES: BatchCodec(),
        Table.WORKFLOWS: BlobCodec("te_workflows", Workflow, "id", _WORKFLOW_FIELDS),
        Table.OPERATIONS: BlobCodec("operations", Operation, "id", _OPERATION_FIELDS),
        Table.DOUBLE_RUNS: BlobCodec("double_runs", DoubleRun, "id", _DOUBLE_RUN_FIELDS),
    }


def spec_text(spec: TaskSpec) -> str:
    """The command of a spec as one line, for a text filter; bytes that are no UTF-8 are replaced."""
    command = spec.shell_command or b" ".join(spec.argv)
    return command.decode(errors="replace")


def task_operation(extra: bytes | None) -> str:
    """Operation of a task whose row has no column for it."""
    return Task.FromString(extra or b"").operation


def task_text(task_id: str, name: str, spec: bytes | None) -> str:
    """What a text filter looks through. `spec` is the saved column."""
    parsed = TaskSpec.FromString(spec) if spec is not None else TaskSpec()
    return _text(task_id, name, parsed)


def row_text(task: Task) -> str:
    return _text(task.id, task.name, task.spec)


def _text(task_id: str, name: str, spec: TaskSpec) -> str:
    return "\n".join((task_id, name, spec_text(spec)))[:TEXT_LIMIT_CHARS].lower()
