"""Rows -> protobuf messages for watchers and lists: what they may see, one row per key, no message too large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cortex.v1 import cluster_pb2 as pb
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


def merge(batches: Sequence[Batch], *, events: bool) -> Iterator[Row | Change]:
    """The last row of every key that watchers see, or the change that deleted it, in order of first change."""
    last: dict[tuple[Table, str], Change] = {}
    for batch in batches:
        for change in batch.changes:
            if change.table in _SHOWN and (events or change.table is not Table.EVENTS):
                last[change[:2]] = change
    return (change if change.new is None else change.new for change in last.values())


def are_small(batches: Sequence[Batch]) -> bool:
    """Whether any _FRAME_CHANGES rows of these, events aside, surely fit into one message."""
    room_kib = (_FRAME_BYTES >> 10) - _FRAME_CHANGES
    for batch in batches:
        if batch.more_kib is None:
            return False
        room_kib -= batch.more_kib
    return room_kib >= 0


def frames(
    rows: Iterable[Row | Change], count: int = _FRAME_CHANGES, *, small: bool = False
) -> Iterator[pb.WatchReply]:
    """`rows` in order, in parts of at most `count` that each fit into one message; nothing for none.

    Each row is copied once, into its message. `small`: they need not be measured, which costs as much.
    """
    part = pb.WatchReply()
    size = held = 0
    for row in rows:
        if held == count:
            yield part
            part, size, held = pb.WatchReply(), 0, 0
        change = part.changes.add()
        _fill(change, row)
        more = 0 if small else change.ByteSize()
        if held and size + more > _FRAME_BYTES:
            following = pb.WatchReply(changes=(change,))
            del part.changes[-1]
            yield part
            part, size, held = following, 0, 0
        size += more
        held += 1
    if held:
        yield part


def _fill(change: types_pb2.Change, row: Row | Change) -> None:
    if isinstance(row, Change):
        change.deleted_table, change.deleted_key = row.table, row.id
    elif isinstance(row, types_pb2.Task):
        change.task.CopyFrom(without_output(row))
    elif isinstance(row, types_pb2.Event):
        change.event.CopyFrom(row)
    elif isinstance(row, types_pb2.Node):
        change.node.CopyFrom(row)
    elif isinstance(row, types_pb2.Setting):
        change.setting.CopyFrom(row)
    elif isinstance(row, types_pb2.Operation):
        change.operation.CopyFrom(lean_operation(row))
    elif isinstance(row, types_pb2.Workflow):
        change.workflow.CopyFrom(lean_workflow(row))
    else:
        raise TypeError(f"{type(row).__name__} is not for watchers")


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
    if not task.HasField("result"):
        return task
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
