"""Retries, discards and priorities of many tasks, carried on by whoever leads.

Nothing is remembered but what the operation's row says: how far it is, and how what it revived has ended.
Each step names its tasks and the cursor that it starts from; repeated, or begun from an older row, it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog

from cortex.v1.log_pb2 import Command, OperationAdvance
from cortex.v1.types_pb2 import Operation, OperationKind
from node.core.faults import Fault
from node.core.model import LIVE_OPERATION, Change, Table
from node.core.operations import PAGE_LIMIT, SCHEDULED, WORKFLOWS_LIMIT, canary_ends
from node.env import Clock
from node.leader.pause import UndoWindow, pause
from node.leader.port import Replica, Settings

_KINDS = frozenset(
    {
        OperationKind.OPERATION_KIND_RETRY,
        OperationKind.OPERATION_KIND_DISCARD,
        OperationKind.OPERATION_KIND_PRIORITY,
    }
)
_STEPS = 3


class _Page(NamedTuple):
    ids: list[str]
    next_cursor: str
    last: bool


class Operations:
    """A duty: run() runs while this daemon leads."""

    def __init__(self, clock: Clock, replica: Replica, settings: Settings) -> None:
        self._replica = replica
        self._retry_us = settings.retry_ms * 1000
        self._window = UndoWindow(clock, replica)
        self._wake = asyncio.Event()
        self._log = structlog.get_logger(node=settings.node_id)

    def observe(self, changes: Sequence[Change]) -> None:
        if any(change.table is Table.OPERATIONS for change in changes):
            self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            self._wake.clear()
            pause_us = await self._round()
            await pause(self._wake, pause_us)

    async def _round(self) -> int | None:
        """One step of every operation; microseconds until the next, None when only a change can bring one."""
        pauses: list[int] = []
        for operation in _live(self._replica.state.operations.values()):
            try:
                pause_us = await self._step(operation)
            except Fault as fault:
                self._log.warning("operation waits", operation=operation.id, error=fault.message)
                pause_us = self._retry_us
            if pause_us is not None:
                pauses.append(pause_us)
        return min(pauses, default=None)

    async def _step(self, operation: Operation) -> int | None:
        if operation.state == SCHEDULED:
            left_us = self._window.left_us(operation)
            if left_us > 0:
                return left_us
        if operation.bulk.fingerprint:
            # What died before the commit is in the store once the commit is.
            await self._replica.saved_through(operation.created_index)
        if operation.bulk.canary and operation.counts.failed:
            await self._replica.saved_through(operation.modified_index)
        command = self._begin(operation) if operation.state == SCHEDULED else self._next(operation)
        if command is None:
            return None
        reply = await self._replica.execute([Command(operation_advance=command)])
        answer = reply.commands[0]
        if not answer.accepted:
            self._log.info("operation has moved on", operation=operation.id, reason=answer.message)
            return self._retry_us
        return 0

    def _begin(self, operation: Operation) -> OperationAdvance:
        command = OperationAdvance(
            id=operation.id, cursor=operation.cursor, next_cursor=operation.cursor, begin=True
        )
        plan = operation.bulk
        if plan.fingerprint:
            command.total = self._replica.past.letter_count(plan.fingerprint, operation.created_at_us)
            command.done = not command.total
        if plan.canary and command.total:
            command.step, command.step_end = 1, canary_ends(command.total)[0]
        return command

    def _next(self, operation: Operation) -> OperationAdvance | None:
        """What comes next; None while a canary waits for the ends of what it has retried."""
        plan, counts = operation.bulk, operation.counts
        command = OperationAdvance(id=operation.id, cursor=operation.cursor, next_cursor=operation.cursor)
        room = PAGE_LIMIT
        if plan.canary:
            if counts.failed_same:
                command.stop = True
                return command
            step_end = plan.step_end
            if counts.issued >= step_end and plan.step < _STEPS:
                if counts.succeeded + counts.failed < counts.issued:
                    return None
                # What was cancelled has shown nothing, and somebody did not want it to run.
                cancelled = self._replica.past.cancelled_count(operation.id) if counts.failed else 0
                if cancelled:
                    command.stop, left = True, max(0, counts.total - counts.issued - counts.passed_over)
                    command.outcome = f"{cancelled} of {counts.issued} were cancelled; {left} are untouched"
                    return command
                command.step, step_end = plan.step + 1, canary_ends(counts.total)[plan.step]
                command.step_end = step_end
            room = min(room, step_end - counts.issued)
        page = self._page(operation, room)
        command.ids.extend(page.ids)
        command.next_cursor = page.next_cursor
        command.done = page.last
        return command

    def _page(self, operation: Operation, limit: int) -> _Page:
        """The next tasks of the plan, at most `limit`."""
        plan, cursor = operation.bulk, operation.cursor
        if not plan.fingerprint:
            start = int(cursor or 0)
            ids = few_workflows(list(plan.ids[start : start + limit]))
            return _Page(ids, str(start + len(ids)), start + len(ids) >= len(plan.ids))
        at_us, _, after = cursor.partition(" ")
        found = self._replica.past.letters(
            plan.fingerprint, operation.created_at_us, (int(at_us or 0), after), limit + 1
        )
        ids = few_workflows([item.id for item in found[:limit]])
        page = found[: len(ids)]
        next_cursor = f"{page[-1].at_us} {page[-1].id}" if page else cursor
        return _Page(ids, next_cursor, len(found) == len(page))


def few_workflows(ids: list[str]) -> list[str]:
    """As many of the first ids as may be revived by one entry; a member's id begins with its workflow's."""
    workflows: set[str] = set()
    for count, task_id in enumerate(ids):
        workflow_id, _, _ = task_id.rpartition(".")
        workflows |= {workflow_id} - {""}
        if len(workflows) > WORKFLOWS_LIMIT:
            return ids[:count]
    return ids


def _live(operations: Iterable[Operation]) -> list[Operation]:
    """Those of this duty that have not ended, oldest first."""
    found = [one for one in operations if one.kind in _KINDS and one.state in LIVE_OPERATION]
    return sorted(found, key=lambda one: (one.created_index, one.id))
