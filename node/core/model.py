"""The replicated state: live rows, the indexes derived from them, and the digest over all rows.

A row is a protobuf message and is never changed in place: apply makes a new one, commit() swaps it in. Rows that
have ended leave memory once the store has them; what is read after that is a cold row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from cortex.v1 import log_pb2, types_pb2
from cortex.v1.types_pb2 import Event, Node, Setting, StoredReply, SubmitKey, Task, TaskState

LEVEL = 1

PENDING = TaskState.TASK_STATE_PENDING
QUEUED = TaskState.TASK_STATE_QUEUED
ASSIGNED = TaskState.TASK_STATE_ASSIGNED
RUNNING = TaskState.TASK_STATE_RUNNING
COMPLETED = TaskState.TASK_STATE_COMPLETED
FAILED = TaskState.TASK_STATE_FAILED
CANCELLED = TaskState.TASK_STATE_CANCELLED
SKIPPED = TaskState.TASK_STATE_SKIPPED
DEAD_LETTER = TaskState.TASK_STATE_DEAD_LETTER

ENDED = frozenset({COMPLETED, FAILED, CANCELLED, SKIPPED, DEAD_LETTER})
LIVE = frozenset({PENDING, QUEUED, ASSIGNED, RUNNING})
ON_NODE = frozenset({ASSIGNED, RUNNING})

# The digest wraps at 128 bits so that it is a sum: the order of changes within one index does not matter.
_DIGEST_BITS = 128
_DIGEST_MASK = (1 << _DIGEST_BITS) - 1

Row = Task | Node | Event | StoredReply | SubmitKey | Setting


class Table(StrEnum):
    TASKS = "tasks"
    NODES = "nodes"
    EVENTS = "events"
    REPLIES = "replies"
    SUBMIT_KEYS = "submit_keys"
    SETTINGS = "settings"


class Key(NamedTuple):
    table: Table
    id: str


class Change(NamedTuple):
    """One row's step: `old` is None when it is new, `new` is None when it goes."""

    table: Table
    id: str
    old: Row | None
    new: Row | None


class Outcome(NamedTuple):
    """What an entry led to. The changes are also what the leader, the feed and the store act upon."""

    changes: tuple[Change, ...]
    reply: log_pb2.Reply


def reply_key(client: str, request_id: str) -> str:
    """Key of a stored reply; NUL cannot occur in either part."""
    return f"{client}\0{request_id}"


def row_digest(table: Table, key: str, row: Row) -> int:
    """128-bit hash of a row in its canonical form (fields in order of number, no maps in rows)."""
    head = f"{table}\0{key}\0".encode()
    body = row.SerializeToString(deterministic=True)
    return int.from_bytes(hashlib.blake2b(head + body, digest_size=_DIGEST_BITS // 8).digest(), "big")


@dataclass(slots=True)
class ClusterState:
    """All live rows at `index`. Only commit() and evict() change it."""

    index: int = 0
    term: int = 0
    at_us: int = 0
    level: int = LEVEL
    digest: int = 0
    tasks: dict[str, Task] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    by_node: dict[str, set[str]] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    limit_use: dict[str, int] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def digest_bytes(self) -> bytes:
        return self.digest.to_bytes(_DIGEST_BITS // 8, "big")

    def load(self, rows: Iterable[Row], index: int, term: int, at_us: int, digest: int) -> None:
        """Take over what the store saved: live rows as of `index`, and the digest over all rows, cold ones too."""
        for row in rows:
            if isinstance(row, Task):
                self._put_task(row.id, None, row)
            elif isinstance(row, Node):
                self.nodes[row.id] = row
            elif isinstance(row, Setting):
                self.settings[row.name] = row
        self.index, self.term, self.at_us, self.digest = index, term, at_us, digest

    def commit(self, outcome: Outcome, index: int, term: int, at_us: int) -> None:
        """Step to `index`. Ended tasks stay until evict()."""
        digest = self.digest
        for change in outcome.changes:
            if change.old is not None:
                digest -= row_digest(change.table, change.id, change.old)
            if change.new is not None:
                digest += row_digest(change.table, change.id, change.new)
            self._swap(change)
        self.digest = digest & _DIGEST_MASK
        self.index, self.term, self.at_us = index, term, max(self.at_us, at_us)

    def evict(self, task_ids: Iterable[str]) -> None:
        """Forget ended tasks that the store has. A task that was revived since is kept."""
        for task_id in task_ids:
            task = self.tasks.get(task_id)
            if task is not None and task.state in ENDED:
                self._put_task(task_id, task, None)

    def _swap(self, change: Change) -> None:
        new = change.new
        if change.table == Table.TASKS:
            old = self.tasks.get(change.id)
            self._put_task(change.id, old, new if isinstance(new, Task) else None)
        elif change.table == Table.NODES:
            if isinstance(new, Node):
                self.nodes[change.id] = new
            else:
                self.nodes.pop(change.id, None)
        elif change.table == Table.SETTINGS:
            if isinstance(new, Setting):
                self.settings[change.id] = new
            else:
                self.settings.pop(change.id, None)

    def _put_task(self, key: str, old: Task | None, new: Task | None) -> None:
        if old is not None:
            self.counts[old.state] -= 1
            if old.state in ON_NODE:
                self._leave_node(old)
        if new is None:
            self.tasks.pop(key, None)
            return
        self.tasks[key] = new
        self.counts[new.state] = self.counts.get(new.state, 0) + 1
        if new.state in ON_NODE:
            self._enter_node(new)

    def _enter_node(self, task: Task) -> None:
        self.by_node.setdefault(task.node, set()).add(task.id)
        for lock in task.spec.locks:
            self.locks[lock] = task.id
        if task.spec.limit_count:
            self.limit_use[task.spec.limit_key] = self.limit_use.get(task.spec.limit_key, 0) + 1

    def _leave_node(self, task: Task) -> None:
        self.by_node[task.node].discard(task.id)
        for lock in task.spec.locks:
            if self.locks.get(lock) == task.id:
                del self.locks[lock]
        if task.spec.limit_count:
            self.limit_use[task.spec.limit_key] -= 1

    def live_count(self) -> int:
        """Tasks that have not ended: what max_queue_depth is compared with."""
        return sum(self.counts.get(state, 0) for state in LIVE)

    def reserved(self, node_id: str) -> types_pb2.Requests:
        """Sum of what the tasks on a node reserve; costs one step per task there."""
        total = types_pb2.Requests()
        for task_id in self.by_node.get(node_id, ()):
            requests = self.tasks[task_id].spec.requests
            total.cpu_millis += requests.cpu_millis
            total.memory_bytes += requests.memory_bytes
            total.gpus += requests.gpus
        return total
