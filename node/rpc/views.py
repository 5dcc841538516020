"""Rows -> protobuf messages for watchers: what they may see, and one row per key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cortex.v1 import cluster_pb2, types_pb2
from node.core.model import Change, Row, Table
from node.feed import Batch

_SHOWN = frozenset({Table.TASKS, Table.NODES, Table.EVENTS, Table.SETTINGS})


def row_change(row: Row) -> types_pb2.Change:
    """A row as a change that puts it."""
    if isinstance(row, types_pb2.Task):
        return types_pb2.Change(task=row)
    if isinstance(row, types_pb2.Node):
        return types_pb2.Change(node=row)
    if isinstance(row, types_pb2.Event):
        return types_pb2.Change(event=row)
    if isinstance(row, types_pb2.Setting):
        return types_pb2.Change(setting=row)
    raise TypeError(f"{type(row).__name__} is not for watchers")


def merge(batches: Sequence[Batch], *, events: bool) -> list[types_pb2.Change]:
    """The last change of every row that watchers see, in order of first change."""
    last: dict[tuple[Table, str], Change] = {}
    for batch in batches:
        for change in batch.changes:
            if change.table in _SHOWN and (events or change.table != Table.EVENTS):
                last[(change.table, change.id)] = change
    return [_as_message(change) for change in last.values()]


def _as_message(change: Change) -> types_pb2.Change:
    if change.new is None:
        return types_pb2.Change(deleted_table=change.table, deleted_key=change.id)
    return row_change(change.new)


def chunks(rows: Iterable[Row], size: int = 500) -> Iterable[cluster_pb2.WatchReply]:
    """Rows as messages of at most `size` changes."""
    reply = cluster_pb2.WatchReply()
    for row in rows:
        reply.changes.append(row_change(row))
        if len(reply.changes) == size:
            yield reply
            reply = cluster_pb2.WatchReply()
    if reply.changes:
        yield reply
