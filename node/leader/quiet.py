"""Before a shutdown: nothing is placed any more, and what runs is ended on its nodes and queued again.

Whoever shuts a cluster down tells every daemon. The pause is kept by each for itself and ends with its process, so
it lasts over a change of leader in the middle of the shutdown, and not beyond it; if nobody stops the daemon after
all, the pause ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from cortex.v1.log_pb2 import Command, Noop, TaskMigrate
from cortex.v1.types_pb2 import Task
from node.core.faults import Fault
from node.core.model import QUEUED, Change, Table
from node.env import Clock
from node.leader.pause import pause
from node.leader.port import Replica, Settings
from node.leader.roster import Roster
from node.leader.session import Attempt

_REASON = "The cluster is shut down."


class Quiet:
    """Whether this daemon is about to stop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_us = 0
        self._begun = asyncio.Event()

    def hold(self, duration_us: int) -> None:
        """Be quiet from now on for that long."""
        self._until_us = self._clock.boot_us() + duration_us
        self._begun.set()

    def left_us(self) -> int:
        """How long it still lasts; 0 when it does not hold."""
        return max(0, self._until_us - self._clock.boot_us())

    async def wait(self) -> None:
        """Return while it holds."""
        while not self.left_us():
            self._begun.clear()
            await self._begun.wait()


class Vacate:
    """A duty of a leader that is quiet. Level-triggered: it asks for what is on a node, whoever put it there."""

    def __init__(self, clock: Clock, replica: Replica, settings: Settings, roster: Roster, quiet: Quiet) -> None:
        self._clock = clock
        self._replica = replica
        self._settings = settings
        self._roster = roster
        self._quiet = quiet
        self._asked: set[Attempt] = set()
        self._work = asyncio.Event()
        self._changed = asyncio.Event()
        self._log = structlog.get_logger(node=settings.node_id)

    def observe(self, changes: Sequence[Change]) -> None:
        if self._quiet.left_us() and any(change.table is Table.TASKS for change in changes):
            self._work.set()
            self._changed.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self._quiet.wait()
            tasks = [task for task in self._on_nodes() if not (task.migrate_requested or task.cancel_requested)]
            self._asked.update((task.id, task.fence) for task in tasks)
            self._work.clear()
            size = self._settings.commands_per_entry
            for start in range(0, len(tasks), size):
                await self._migrate(tasks[start : start + size])
            await pause(self._work, self._quiet.left_us())

    async def done(self, wait_s: float) -> tuple[int, int]:
        """Return when nothing runs that can still answer, or after `wait_s`: tasks given back, tasks left."""
        end_us = self._clock.boot_us() + int(wait_s * 1e6)
        # Once this is applied, so is every placement that was under way when the quiet began.
        with contextlib.suppress(Fault):
            await self._replica.execute([Command(noop=Noop())])
        while any(self._roster.session(task.node) for task in self._on_nodes()):
            left_us = end_us - self._clock.boot_us()
            if left_us <= 0 or not self._replica.serving:
                break
            self._changed.clear()
            await pause(self._changed, left_us)
        tasks = self._replica.state.tasks
        given_back = sum(
            task.fence == fence and task.state == QUEUED
            for task_id, fence in self._asked
            if (task := tasks.get(task_id)) is not None
        )
        return given_back, len(self._on_nodes())

    def _on_nodes(self) -> list[Task]:
        """What runs or is about to; but for what is lost, which waits for its machine or an operator."""
        state = self._replica.state
        ids = sorted(task_id for node in state.by_node.values() for task_id in node)
        return [task for task_id in ids if not (task := state.tasks[task_id]).lost_at_us]

    async def _migrate(self, tasks: list[Task]) -> None:
        commands = [Command(task_migrate=TaskMigrate(id=task.id, reason=_REASON)) for task in tasks]
        try:
            await self._replica.execute(commands)
        except Fault as fault:
            self._log.warning("tasks not given back", error=fault.message)
            await asyncio.sleep(self._settings.retry_ms / 1000)
            self._work.set()
