"""Rows -> protobuf messages for watchers and lists: what they may see, one row per key, no message too large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cortex.v1 import types_pb2
from node.core.model import Change, Row, Table
from node.feed import Batch

_SHOWN = frozenset({Table.TASKS, Table.NODES, Table.EVENTS, Table.SETTINGS, Table.OPERATIONS, Table.WORKFLOWS})
_FRAME_CHANGES = 500
_FRAME_BYTES = 1024 * 1024
_FAILED = frozenset({types_pb2.TASK_STATE_FAILED, types_pb2.TASK_STATE_DEAD_LETTER})
_LOOKED_AT_BYTES = 4096
_LAST_LINE_BYTES = 200
"""Of the stream's last line, where lists leave out the rest of it."""


def row_change(row: Row) -> types_pb2.Change:
    """A row as a change that puts it."""
    if isinstance(row, types_pb2.Task):
        change = types_pb2.Change()
        change.task.CopyFrom(without_output(row))
        return change
    if isinstance(row, types_pb2.Node):
        return types_pb2.Change(node=row)
    if isinstance(row, types_pb2.Event):
        return types_pb2.Change(event=row)
    if isinstance(row, types_pb2.Setting):
        return types_pb2.Change(setting=row)
    if isinstance(row, types_pb2.Operation):
        return types_pb2.Change(operation=lean_operation(row))
    if isinstance(row, types_pb2.Workflow):
        return types_pb2.Change(workflow=lean_workflow(row))
    raise TypeError(f"{type(row).__name__} is not for watchers")


def merge(batches: Sequence[Batch], *, events: bool) -> Iterator[types_pb2.Change]:
    """The last change of every row that watchers see, in order of first change; each is made when asked for."""
    last: dict[tuple[Table, str], Change] = {}
    for batch in batches:
        for change in batch.changes:
            if change.table in _SHOWN and (events or change.table != Table.EVENTS):
                last[(change.table, change.id)] = change
    return map(_as_message, last.values())


def _as_message(change: Change) -> types_pb2.Change:
    if change.new is None:
        return types_pb2.Change(deleted_table=change.table, deleted_key=change.id)
    return row_change(change.new)


def frames(changes: Iterable[types_pb2.Change], count: int = _FRAME_CHANGES) -> Iterator[list[types_pb2.Change]]:
    """`changes` in order, in parts of at most `count` that each fit into one message; nothing for none."""
    part: list[types_pb2.Change] = []
    size = 0
    for change in changes:
        more = change.ByteSize()
        if part and (len(part) == count or size + more > _FRAME_BYTES):
            yield part
            part, size = [], 0
        part.append(change)
        size += more
    if part:
        yield part


def lean_operation(operation: types_pb2.Operation) -> types_pb2.Operation:
    """The operation without the lists of its plan, which GetOperation has."""
    lean = types_pb2.Operation()
    lean.CopyFrom(operation)
    plan = lean.WhichOneof("plan")
    if plan == "bulk":
        lean.bulk.ClearField("ids")
        lean.bulk.ClearField("edited_spec")
    elif plan == "drain":
        lean.drain.ClearField("moves")
        lean.drain.ClearField("stuck")
    elif plan == "run":
        lean.run.ClearField("nodes")
        lean.run.ClearField("spec")
    return lean


def lean_workflow(workflow: types_pb2.Workflow) -> types_pb2.Workflow:
    """The workflow without its context, which GetWorkflow has; itself when there is none."""
    if not workflow.context:
        return workflow
    lean = types_pb2.Workflow()
    lean.CopyFrom(workflow)
    lean.ClearField("context")
    return lean


def last_line(kept: bytes) -> bytes:
    """The last line that has text, at most 200 bytes of it; empty when there is none."""
    return kept.rstrip()[-_LOOKED_AT_BYTES:].rpartition(b"\n")[2].strip()[:_LAST_LINE_BYTES]


def without_output(task: types_pb2.Task) -> types_pb2.Task:
    """The task without what it wrote, output or context, which GetTask has; itself when that is nothing.

    Of one that failed the last line of each stream stays: lists say with it why.
    """
    result = task.result
    if not (result.stdout.head or result.stderr.head or result.context_update):
        return task
    lean = types_pb2.Task()
    lean.CopyFrom(task)
    for stream in (lean.result.stdout, lean.result.stderr):
        if task.state in _FAILED:
            stream.last_line = last_line(stream.head + stream.tail)
        stream.ClearField("head")
        stream.ClearField("tail")
    lean.result.ClearField("context_update")
    return lean
