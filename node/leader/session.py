"""One worker's session as the leader holds it: what waits to be sent, and what was last said."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from cortex.v1.types_pb2 import Cause, Node, OnLost, Task
from cortex.v1.worker_pb2 import Assignment, LeaderMessage, StopItem
from node.link import LeaderStream, LinkClosed

_MESSAGE_BYTES = 1024 * 1024
_MESSAGE_ITEMS = 512
_OUTBOX_MESSAGES = 4096
# Looked up once: an enum's names are found by a call.
_HOLD, _WAIT = OnLost.ON_LOST_HOLD, OnLost.ON_LOST_WAIT

Attempt = tuple[str, int]  # task id and fence; tasks placed by one entry share a fence


class Session:
    """Messages are queued by push() and the like, which never wait, and sent in order by drain()."""

    def __init__(self, node: Node, stream: LeaderStream) -> None:
        self.node = node
        self.node_id = node.id
        self.set_version: int | None = None
        self.fences: frozenset[int] = frozenset()
        self.recalled: set[Attempt] = set()
        self.skew_warned = False
        self.closed = asyncio.Event()
        self._stream = stream
        self._outbox: deque[LeaderMessage] = deque()
        self._tail_bytes = 0
        self._wake = asyncio.Event()
        self._finishing = False

    def push(self, message: LeaderMessage) -> None:
        """Queue a message; a worker that is this far behind loses its session and comes back with its inventory."""
        if self._finishing or self.closed.is_set():
            return
        if len(self._outbox) >= _OUTBOX_MESSAGES:
            self.closed.set()
            return
        self._outbox.append(message)
        self._tail_bytes = 0
        self._wake.set()

    def assign(self, task: Task, lease_ms: int) -> None:
        """Queue an assignment; those that wait together travel in one message."""
        tail = self._tail("assignments")
        size = task.spec.ByteSize() + 128
        full = len(tail.assignments.assignments) >= _MESSAGE_ITEMS or self._tail_bytes + size > _MESSAGE_BYTES
        if full:
            tail = self._new_tail("assignments")
        _fill(tail.assignments.assignments.add(), task, lease_ms)
        self._tail_bytes += size

    def stop(self, task: Task, cause: Cause.ValueType) -> None:
        """Queue the order to end an attempt; the worker acknowledges by its report."""
        item = StopItem(task=task.id, fence=task.fence, cause=cause, kill_timeout_ms=task.spec.kill_timeout_ms)
        self._tail("stop").stop.items.append(item)

    def recall(self, tasks: Iterable[Task]) -> None:
        """Ask back what has not started, once per attempt and session."""
        for task in tasks:
            attempt = (task.id, task.fence)
            if attempt in self.recalled:
                continue
            self.recalled.add(attempt)
            recall = self._tail("recall").recall
            recall.fences.append(task.fence)
            recall.tasks.append(task.id)

    def finish(self, last: LeaderMessage) -> None:
        """Send what waits, then `last`, and close."""
        self.push(last)
        self._finishing = True

    async def drain(self) -> None:
        """Send until the session is finished. Raises LinkClosed."""
        while True:
            while self._outbox:
                await self._stream.send(self._outbox.popleft())
            if self._finishing:
                return
            self._wake.clear()
            await self._wake.wait()

    def _tail(self, kind: str) -> LeaderMessage:
        if self._outbox and self._outbox[-1].WhichOneof("kind") == kind:
            return self._outbox[-1]
        return self._new_tail(kind)

    def _new_tail(self, kind: str) -> LeaderMessage:
        message = LeaderMessage()
        getattr(message, kind).SetInParent()
        self.push(message)
        return message


def assignment(task: Task, lease_ms: int) -> Assignment:
    """What the worker needs to run `task` under its current fence."""
    made = Assignment()
    _fill(made, task, lease_ms)
    return made


def _fill(made: Assignment, task: Task, lease_ms: int) -> None:
    """In place: a message made apart would be copied."""
    made.task = task.id
    made.name = task.name
    made.fence = task.fence
    made.attempt = task.attempt
    made.run = task.run
    made.priority = task.priority
    spec = task.spec
    made.spec.CopyFrom(spec)
    made.created_at_us = task.created_at_us
    if task.workflow_id:
        made.workflow_id = task.workflow_id
        made.task_key = task.task_key
    if spec.on_lost == _HOLD:
        made.start_before_ms = lease_ms
    else:
        made.lease_ms = lease_ms_of(task, lease_ms)


def lease_ms_of(task: Task, lease_ms: int) -> int:
    """How long an attempt may go unrenewed before it counts as lost; hold tasks are only marked as lost then.

    One that was lowered since the submission leaves time to end the command in order; the worker counts so, too.
    """
    spec = task.spec
    on_lost = spec.on_lost
    if on_lost == _WAIT:
        lease_ms = spec.wait_ms or lease_ms
    if on_lost == _HOLD:
        return lease_ms
    return max(lease_ms, 3 * spec.kill_timeout_ms)


def stop_if_asked(session: Session, task: Task) -> None:
    """Pass on that an attempt is to end."""
    if task.cancel_requested:
        session.stop(task, Cause.CAUSE_CANCEL)
    elif task.migrate_requested:
        session.stop(task, Cause.CAUSE_IDLE if task.cause == Cause.CAUSE_IDLE else Cause.CAUSE_MIGRATE)


async def run_until_closed(session: Session, *work: asyncio.Task[None]) -> None:
    """Wait for the first of the session's parts to end, then end the others."""
    parts = [*work, asyncio.ensure_future(_closed(session))]
    try:
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
    finally:
        session.closed.set()
        for part in parts:
            part.cancel()
        results = await asyncio.gather(*parts, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, LinkClosed):
            raise result


async def _closed(session: Session) -> None:
    await session.closed.wait()
