"""What is true of operations wherever they are shown. Pure."""

from __future__ import annotations

from cortex.v1 import types_pb2

Operation = types_pb2.Operation

LIVE = frozenset({types_pb2.OPERATION_STATE_SCHEDULED, types_pb2.OPERATION_STATE_RUNNING})
_REVIVING = frozenset({types_pb2.OPERATION_KIND_RETRY, types_pb2.OPERATION_KIND_RUN})


def settled(row: Operation) -> bool:
    """Whether nothing of an operation is under way any more, nor of what it queued."""
    if row.state in LIVE:
        return False
    return row.kind not in _REVIVING or row.counts.succeeded + row.counts.failed >= row.counts.issued


def replaces(row: Operation, known: Operation | None) -> bool:
    """Whether a row says more than the one that is known; a list's has not all that the stream's has."""
    if known is None or known.modified_index < row.modified_index:
        return True
    return known.modified_index == row.modified_index and known.ByteSize() <= row.ByteSize()


def age_order(row: Operation) -> tuple[bool, int]:
    """Those that have ended first, the oldest first."""
    return (row.state in LIVE, row.created_index)
