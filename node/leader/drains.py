"""Drains, carried on by whoever leads: begun when nobody can undo them any more, done when the node is empty.

Nothing is remembered but what the state says: which tasks are on the node, which were asked to leave, and how late
it is. So a new leader goes on where the last one stood.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from cortex.v1.log_pb2 import Command, CommandReply, OperationAdvance, TaskMigrate
from cortex.v1.types_pb2 import DrainMove, DrainPlan, NodeState, Operation, OperationKind, OperationState, Task
from node.core.drain_plan import may_migrate
from node.core.faults import Fault
from node.core.model import LIVE_OPERATION, QUEUED, RUNNING, Change, Table
from node.env import Clock
from node.leader.pause import UndoWindow, pause
from node.leader.port import Replica, Settings
from node.leader.rehearsals import Rehearsals

_SCHEDULED = OperationState.OPERATION_STATE_SCHEDULED
_DRAINED = NodeState.NODE_STATE_DRAINED
# What has just left an empty node may find its place before the forecast is compared with what happened.
_SETTLE_US: Final = 1_000_000
_LOOK_UPS: Final = 200


class Drains:
    """A duty of the leader."""

    def __init__(self, clock: Clock, replica: Replica, settings: Settings, rehearsals: Rehearsals) -> None:
        self._clock = clock
        self._replica = replica
        self._settings = settings
        self._rehearsals = rehearsals
        self._retry_us = settings.retry_ms * 1000
        self._begun_us = clock.boot_us()
        self._window = UndoWindow(clock, replica)
        self._nodes: set[str] = set()
        self._emptied: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._log = structlog.get_logger(node=settings.node_id)

    def observe(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.table is Table.OPERATIONS:
                self._wake.set()
            elif change.table is Table.TASKS and self._nodes and not self._wake.is_set():
                old, new = change.old, change.new
                if (isinstance(old, Task) and old.node in self._nodes) or (
                    isinstance(new, Task) and new.node in self._nodes
                ):
                    self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            self._wake.clear()
            pause_us = await self._round()
            await pause(self._wake, pause_us)

    async def _round(self) -> int | None:
        """One look at every drain; microseconds until the next, None when only a change can bring something new."""
        drains = _live(self._replica.state.operations.values())
        self._nodes = {operation.node for operation in drains}
        self._emptied = {key: at_us for key, at_us in self._emptied.items() if any(key == one.id for one in drains)}
        pauses: list[int] = []
        for operation in drains:
            try:
                pause_us = await self._step(operation)
            except Fault as fault:
                self._log.warning("drain waits", operation=operation.id, error=fault.message)
                pause_us = self._retry_us
            if pause_us is not None:
                pauses.append(pause_us)
        return max(1000, min(pauses)) if pauses else None

    async def _step(self, operation: Operation) -> int | None:
        if operation.node == self._settings.node_id and await self._hand_over(operation):
            return self._retry_us
        if operation.state == _SCHEDULED:
            left_us = self._window.left_us(operation)
            return left_us if left_us > 0 else await self._begin(operation)
        tasks = self._on_node(operation)
        return await self._carry_on(operation, tasks) if tasks else await self._finish(operation)

    async def _hand_over(self, operation: Operation) -> bool:
        """Let another voter lead, if one can that is not leaving too. False when this one has to do it itself."""
        nodes = self._replica.state.nodes
        leaving = {row.id for row in nodes.values() if row.operation or row.state == _DRAINED}
        able = [peer for peer in self._replica.peers if peer.voter and peer.up and peer.id not in leaving]
        if not able:
            return False
        to = max(able, key=lambda peer: (peer.match_index, peer.id)).id
        self._log.info("hands over before its drain", to=to, operation=operation.id)
        await self._replica.transfer(to)
        return True

    async def _begin(self, operation: Operation) -> int | None:
        why = self._rehearsals.broken(operation.drain)
        young_us = self._begun_us + self._settings.offline_ms * 1000 - self._clock.boot_us()
        if why is not None and young_us > 0:
            # Not all have come back to a new leader that will.
            return min(self._retry_us, young_us)
        if why is None:
            answer = await self._advance(OperationAdvance(id=operation.id, cursor=operation.cursor, begin=True))
            if answer.accepted or not self._same(operation):
                return None
            why = answer.message
        refusal = OperationAdvance(
            id=operation.id, cursor=operation.cursor, begin=True, refused=True, outcome=why[:200]
        )
        await self._advance(refusal)
        return self._retry_us

    def _on_node(self, operation: Operation) -> list[Task]:
        state = self._replica.state
        return [state.tasks[task_id] for task_id in sorted(state.by_node.get(operation.node, ()))]

    async def _carry_on(self, operation: Operation, tasks: list[Task]) -> int | None:
        """Ask those to leave whose turn it is."""
        self._emptied.pop(operation.id, None)
        now_us = self._replica.now_us()
        turns, due, next_us = _due(operation, tasks, now_us)
        commands = [Command(task_migrate=self._order(operation, task)) for task in (*due, *turns)]
        size = self._settings.commands_per_entry
        if commands:
            reply = await self._replica.execute(commands[:size])
            refused = [answer for answer in reply.commands if not answer.accepted]
            if refused:
                self._log.info("not moved", count=len(refused), reason=refused[0].message)
                return self._retry_us
            if len(commands) > size:
                return 0
        return None if next_us is None else max(0, next_us - self._replica.now_us())

    def _order(self, operation: Operation, task: Task) -> TaskMigrate:
        return TaskMigrate(
            id=task.id,
            fence=task.fence,
            operation=operation.id,
            dead_letter=not may_migrate(task),
            reason=operation.drain.message or f"Node {operation.node} is drained.",
        )

    async def _finish(self, operation: Operation) -> int | None:
        """The node is empty: compare the forecast with what happened, and say so."""
        now_us = self._clock.boot_us()
        settled_us = self._emptied.setdefault(operation.id, now_us) + _SETTLE_US
        state = self._replica.state
        if now_us < settled_us and any(
            _waits(state.tasks.get(move.task)) for move in operation.drain.moves if move.to
        ):
            return min(settled_us - now_us, _SETTLE_US // 10)
        moves = await self._landed(operation)
        if state is not self._replica.state or not self._same(operation) or self._on_node(operation):
            return 0
        done = OperationAdvance(
            id=operation.id,
            cursor=operation.cursor,
            next_cursor=operation.cursor,
            done=True,
            outcome=_outcome(operation, moves),
            drain=DrainPlan(moves=moves),
        )
        answer = await self._advance(done)
        return None if answer.accepted else self._retry_us

    async def _landed(self, operation: Operation) -> list[DrainMove]:
        """Where the tasks of the plan are, or were last."""
        moves: list[DrainMove] = []
        for number, move in enumerate(operation.drain.moves):
            if number % _LOOK_UPS == _LOOK_UPS - 1:
                await asyncio.sleep(0)
            task = self._replica.task(move.task)
            if task is not None and task.state != QUEUED:
                moves.append(DrainMove(task=move.task, actual=task.node))
        return moves

    def _same(self, operation: Operation) -> bool:
        """Whether the operation stands as this step found it."""
        row = self._replica.state.operations.get(operation.id)
        return row is not None and row.state == operation.state and row.cursor == operation.cursor

    async def _advance(self, command: OperationAdvance) -> CommandReply:
        reply = await self._replica.execute([Command(operation_advance=command)])
        return reply.commands[0]


def _live(operations: Iterable[Operation]) -> list[Operation]:
    """Drains that have not ended, oldest first."""
    found = [
        one for one in operations if one.kind == OperationKind.OPERATION_KIND_DRAIN and one.state in LIVE_OPERATION
    ]
    return sorted(found, key=lambda one: (one.created_index, one.id))


def _due(operation: Operation, tasks: list[Task], now_us: int) -> tuple[list[Task], list[Task], int | None]:
    """Whose turn it is to migrate, who has to go for the deadline, and when to look again if nothing changes."""
    plan = operation.drain
    last = {item.task for item in plan.stuck}
    under_way = sum(task.migrate_requested for task in tasks if not task.lost_at_us)
    room = max(0, plan.max_parallel - under_way) if plan.max_parallel else len(tasks)
    turns: list[Task] = []
    due: list[Task] = []
    later: list[int] = []
    here = [task for task in tasks if _is_to_leave(task)]
    for task in sorted(here, key=lambda task: (task.id in last, -task.priority, task.created_at_us, task.id)):
        at_us = _last_call_us(operation, task)
        if at_us is not None and at_us <= now_us:
            due.append(task)
        elif may_migrate(task) and len(turns) < room:
            turns.append(task)
        elif at_us is not None:
            later.append(at_us)
    return turns[: max(0, room - len(due))] if plan.max_parallel else turns, due, min(later, default=None)


def _is_to_leave(task: Task) -> bool:
    """Whether it has to be told: what has not started is asked back, what is cancelled or was told ends there."""
    if task.cancel_requested or task.drain_ends or (task.state != RUNNING and not task.lost_at_us):
        return False
    return not (may_migrate(task) and task.migrate_requested)


def _last_call_us(operation: Operation, task: Task) -> int | None:
    """When it must be told to end so that it is gone at the deadline; None when it may stay."""
    if not operation.deadline_us or (operation.drain.hold and not may_migrate(task)):
        return None
    return operation.deadline_us - (0 if task.lost_at_us else task.spec.kill_timeout_ms * 1000)


def _waits(task: Task | None) -> bool:
    return task is not None and task.state == QUEUED


def _outcome(operation: Operation, moves: Iterable[DrainMove]) -> str:
    forecast = {move.task: move.to for move in operation.drain.moves if move.to}
    actual = {move.task: move.actual for move in moves}
    right = sum(actual.get(task) == to for task, to in forecast.items())
    return f"{right} of {len(forecast)} tasks landed where they were forecast" if forecast else ""
