"""The placement loop: woken by what changes, one pass and one entry at a time.

A pass waits for its own entry to be applied, so two passes never give away the same capacity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, TaskDeadLetter
from cortex.v1.types_pb2 import Cause, Task, TaskState
from node.core.faults import Fault
from node.core.model import ON_NODE, Change, Table
from node.env import Clock
from node.leader.deadlines import Deadlines
from node.leader.pause import pause
from node.leader.planner import Planner
from node.leader.port import Replica, Settings
from node.leader.quiet import Quiet
from node.leader.recall import Recaller
from node.leader.roster import Roster

_QUEUED = TaskState.TASK_STATE_QUEUED
# What apply refused although it seemed to fit is tried again after that, doubled each time it is refused again.
_REFUSED_RETRY_US = 200_000
_REFUSED_LONGEST_US = 30_000_000
# The same where the log took nothing.
_FAULT_LONGEST_US = 2_000_000
# Beside tasks, what may change where one can be placed.
_WAKING = frozenset({Table.NODES, Table.SETTINGS})
_SAMPLES_S = 0.25
# What waits for its slot anyway is placed this often: each pass costs a commit, unless it shares that of reports.
_PREFETCH_US = 120_000
_JOIN_US = 50_000


class Placement:
    """Places what is due, ends what waited too long in the queue, asks back what would start sooner elsewhere."""

    def __init__(
        self,
        clock: Clock,
        replica: Replica,
        settings: Settings,
        roster: Roster,
        planner: Planner,
        quiet: Quiet,
    ) -> None:
        self._clock = clock
        self._replica = replica
        self._settings = settings
        self._roster = roster
        self._planner = planner
        self._quiet = quiet
        self._recaller = Recaller(clock, replica, roster, planner)
        self._log = structlog.get_logger(node=settings.node_id)
        self._passed_us = -_PREFETCH_US
        self._deadlines = Deadlines(replica)
        self._refusals: dict[str, int] = {}  # by task: how often in a row
        self._faults = 0
        self._sample_timer: asyncio.TimerHandle | None = None
        self._joins = False
        self._wake = asyncio.Event()
        self._wake.set()

    def begin(self) -> None:
        for task in self._replica.state.tasks.values():
            self._deadlines.watch(task)

    def observe(self, changes: Sequence[Change]) -> None:
        """Keep the queue current, and wake when something can be placed that could not be before."""
        self._planner.observe(changes)
        for change in changes:
            if change.table is Table.TASKS:
                old, new = change.old, change.new
                self._refusals.pop(change.id, None)
                if isinstance(new, Task) and new.state == _QUEUED:
                    self._deadlines.watch(new)
                    self._wake.set()
                elif isinstance(old, Task) and old.state in ON_NODE:
                    self._wake.set()
            elif change.table in _WAKING:
                self._wake.set()

    def join(self) -> None:
        """Reports are about to be proposed: what is proposed in the next turn of the loop shares their commit."""
        if self._planner.queued and self._since_pass_us() >= _JOIN_US:
            self._joins = True
            self._wake.set()

    def _since_pass_us(self) -> int:
        return self._clock.boot_us() - self._passed_us

    def wake(self) -> None:
        """Somebody came or went."""
        self._wake.set()

    def sampled(self) -> None:
        """A sample came, which may let a waiting task pass a filter. Those of many nodes share a pass."""
        if self._planner.queued and self._sample_timer is None:
            self._sample_timer = asyncio.get_running_loop().call_later(_SAMPLES_S, self._after_samples)

    def _after_samples(self) -> None:
        self._sample_timer = None
        self._wake.set()

    async def run(self) -> None:
        """Pass after pass. Runs until cancelled."""
        while True:
            self._wake.clear()
            pause_us = await self._pass()
            if pause_us == 0:
                continue
            await pause(self._wake, pause_us)

    async def _pass(self) -> int | None:
        """Propose one entry's worth; microseconds until the next pass if nothing wakes it before."""
        quiet_us = self._quiet.left_us()
        if quiet_us:
            return quiet_us
        joins, self._joins = self._joins, False
        since_us = self._since_pass_us()
        pause_us = 0 if joins and since_us >= _JOIN_US else _PREFETCH_US - since_us
        if pause_us > 0 and not self._deadline_passed() and not self._planner.urgent(self._replica.state):
            return pause_us
        now_us = self._replica.now_us()
        timeouts = self._deadlines.take(now_us, self._settings.placements_per_entry)
        planned = self._planner.plan(self._replica.state, now_us)
        late = {task.id for task in timeouts}
        commands = [_dead_letter(task) for task in timeouts]
        commands += [_assign(task_id, placement) for task_id, placement in planned if task_id not in late]
        if commands and not await self._propose(commands):
            # The log took nothing, but what is to go from its node needs no log.
            self._recaller.recall()
            await asyncio.sleep(_backoff_us(self._faults, _FAULT_LONGEST_US) / 1e6)
            return 0
        if len(planned) >= self._settings.placements_per_entry:
            return 0
        self._passed_us = self._clock.boot_us()
        return _soonest(self._recaller.recall(), self._until_due())

    async def _propose(self, commands: list[Command]) -> bool:
        """Whether the log took them. What was refused stands there with its reason, and is tried again later."""
        try:
            reply = await self._replica.execute(commands)
        except Fault as fault:
            self._log.warning("placement not recorded", error=fault.message)
            self._faults += 1
            for command in commands:
                if command.HasField("task_dead_letter"):
                    self._deadlines.again(self._replica.now_us(), command.task_dead_letter.id)
            return False
        self._faults = 0
        refused = [
            (command, answer)
            for command, answer in zip(commands, reply.commands, strict=True)
            if not answer.accepted
        ]
        if refused:
            self._log.info("placements refused", count=len(refused), reason=refused[0][1].message)
        for command, _ in refused:
            self._refused(command)
        return True

    def _refused(self, command: Command) -> None:
        task_id = command.task_assign.id or command.task_dead_letter.id
        task = self._replica.state.tasks.get(task_id)
        if task is None or task.state != _QUEUED:
            return
        self._refusals[task_id] = count = self._refusals.get(task_id, 0) + 1
        due_us = self._replica.now_us() + _backoff_us(count, _REFUSED_LONGEST_US)
        if command.HasField("task_assign"):
            self._planner.postpone(self._replica.state, task_id, due_us)
        else:
            self._deadlines.again(due_us, task_id)

    def _deadline_passed(self) -> bool:
        next_us = self._deadlines.next_us()
        return next_us is not None and next_us <= self._replica.now_us()

    def _until_due(self) -> int | None:
        """Microseconds until a task becomes due or times out; None when nothing is to come."""
        now_us = self._replica.now_us()
        soonest_us = _soonest(self._planner.next_due_us(), self._deadlines.next_us())
        return None if soonest_us is None else max(1000, soonest_us - now_us)


def _assign(task_id: str, placement: types_pb2.Placement) -> Command:
    """In place: a message made apart would be copied."""
    command = Command()
    assign = command.task_assign
    assign.id = task_id
    assign.placement.CopyFrom(placement)
    return command


def _dead_letter(task: Task) -> Command:
    reason = f"It waited longer than {task.spec.queue_timeout_ms / 1000:g} s in the queue."
    return Command(task_dead_letter=TaskDeadLetter(id=task.id, cause=Cause.CAUSE_QUEUE_TIMEOUT, reason=reason))


def _backoff_us(count: int, longest_us: int) -> int:
    return min(_REFUSED_RETRY_US << min(count - 1, 10), longest_us)


def _soonest(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
