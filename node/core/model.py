"""Rows of the replicated state, their keys, changes and digests.

A row is a protobuf message and is never changed in place: apply makes a new one. What is kept in memory of them is
node.core.state.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple, Protocol

from cortex.v1 import log_pb2, types_pb2
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
    Workflow,
)

LEVEL = 1
# What a cluster begins with.
FIRST_LEVEL = 1

PENDING = types_pb2.TASK_STATE_PENDING
QUEUED = types_pb2.TASK_STATE_QUEUED
ASSIGNED = types_pb2.TASK_STATE_ASSIGNED
RUNNING = types_pb2.TASK_STATE_RUNNING
COMPLETED = types_pb2.TASK_STATE_COMPLETED
FAILED = types_pb2.TASK_STATE_FAILED
CANCELLED = types_pb2.TASK_STATE_CANCELLED
SKIPPED = types_pb2.TASK_STATE_SKIPPED
DEAD_LETTER = types_pb2.TASK_STATE_DEAD_LETTER

ENDED = frozenset({COMPLETED, FAILED, CANCELLED, SKIPPED, DEAD_LETTER})
LIVE = frozenset({PENDING, QUEUED, ASSIGNED, RUNNING})
ON_NODE = frozenset({ASSIGNED, RUNNING})

# Assignments beyond its slots that a node may hold, whatever the leader would like.
PREFETCH_LIMIT = 512

LIVE_WORKFLOW = frozenset({types_pb2.WORKFLOW_STATE_PENDING, types_pb2.WORKFLOW_STATE_RUNNING})
LIVE_OPERATION = frozenset({types_pb2.OPERATION_STATE_SCHEDULED, types_pb2.OPERATION_STATE_RUNNING})

# The digest wraps at 128 bits so that it is a sum: the order of changes within one index does not matter.
DIGEST_BYTES = 16
DIGEST_MASK = (1 << (8 * DIGEST_BYTES)) - 1

Row = Task | Node | Event | StoredReply | SubmitKey | Setting | Batch | Workflow | Operation | DoubleRun


class Table(StrEnum):
    TASKS = "tasks"
    NODES = "nodes"
    EVENTS = "events"
    REPLIES = "replies"
    SUBMIT_KEYS = "submit_keys"
    SETTINGS = "settings"
    BATCHES = "batches"
    WORKFLOWS = "workflows"
    OPERATIONS = "operations"
    DOUBLE_RUNS = "double_runs"

    # Enum's own is Python, and every key of a row is hashed.
    __hash__ = str.__hash__


class Key(NamedTuple):
    table: Table
    id: str


class Reader(Protocol):
    """Rows as of one index, wherever they are kept."""

    def get(self, table: Table, key: str) -> Row | None: ...


class Change(NamedTuple):
    """One row's step: `old` is None when it is new, `new` is None when it goes."""

    table: Table
    id: str
    old: Row | None
    new: Row | None

    @property
    def weight(self) -> int:
        """What it costs to keep, against limits that count changes: 1, and 1 for each KiB of the row."""
        if self.new is None or self.table is Table.EVENTS:
            return 1
        return 1 + (self.new.ByteSize() >> 10)


def weigh(changes: Iterable[Change]) -> int:
    """Their weights together."""
    return sum([change.weight for change in changes])


class Outcome(NamedTuple):
    """What an entry led to, at most one change per row. The leader, the feed and the store act upon the changes."""

    changes: tuple[Change, ...]
    reply: log_pb2.Reply


def member_id(workflow_id: str, member: int) -> str:
    """Task id of a workflow's task by its number."""
    return f"{workflow_id}.{member}"


def reply_key(client: str, request_id: str) -> str:
    """Key of a stored reply, and of a batch; NUL cannot occur in either part."""
    return f"{client}\0{request_id}"


def row_key(row: Row) -> Key:
    """The table and key under which a row is kept."""
    if isinstance(row, Task):
        return Key(Table.TASKS, row.id)
    if isinstance(row, Node):
        return Key(Table.NODES, row.id)
    if isinstance(row, Event):
        return Key(Table.EVENTS, row.id)
    if isinstance(row, StoredReply):
        return Key(Table.REPLIES, reply_key(row.client, row.request_id))
    if isinstance(row, SubmitKey):
        return Key(Table.SUBMIT_KEYS, row.key)
    if isinstance(row, Batch):
        return Key(Table.BATCHES, reply_key(row.client, row.id))
    if isinstance(row, Workflow):
        return Key(Table.WORKFLOWS, row.id)
    if isinstance(row, Operation):
        return Key(Table.OPERATIONS, row.id)
    if isinstance(row, DoubleRun):
        return Key(Table.DOUBLE_RUNS, row.id)
    return Key(Table.SETTINGS, row.name)


def row_digest(table: Table, key: str, row: Row) -> int:
    """128-bit hash of a row in its canonical form: fields in order of number; rows have no maps to be sorted."""
    return hash_row(table.encode(), key, row)


def hash_row(table: bytes, key: str, row: Row) -> int:
    """As row_digest(), for a table whose name is encoded already."""
    return hash_data(table, key, row.SerializeToString())


def hash_data(table: bytes, key: str, data: bytes) -> int:
    """As hash_row(), of a row that is serialised already."""
    whole = b"\0".join((table, key.encode(), data))
    return int.from_bytes(blake2b(whole, digest_size=DIGEST_BYTES).digest(), "big")


def recount(rows: Iterable[Row]) -> int:
    """The digest over `rows` from scratch: what the incremental one must equal when they are all rows."""
    return sum(row_digest(*row_key(row), row) for row in rows) & DIGEST_MASK


def has_ended(row: Row) -> bool:
    """Whether a row may leave memory once it is saved."""
    if isinstance(row, Task):
        return row.state in ENDED
    if isinstance(row, Workflow):
        return row.state not in LIVE_WORKFLOW
    return isinstance(row, Operation) and row.state not in LIVE_OPERATION


def holds(task: Task, fence: int) -> bool:
    """Whether `fence` is the task's current assignment: reports under any other are refused."""
    return task.fence == fence and task.state in ON_NODE


def queue_deadline_us(task: Task) -> int | None:
    """Leader time at which a queued task has waited too long; None when its wait is not limited."""
    if not task.spec.queue_timeout_ms:
        return None
    return max(task.queued_at_us, task.scheduled_after_us) + task.spec.queue_timeout_ms * 1000
