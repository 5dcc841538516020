"""What must hold of the runs and attempts of tasks, read off the log as it is replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from cortex.v1 import types_pb2 as t
from node.core.model import ENDED, ON_NODE, Key, Table
from tests.sim.replay import Step

Report = Callable[[str], None]
_RESULTS = (t.TASK_STATE_COMPLETED, t.TASK_STATE_FAILED, t.TASK_STATE_DEAD_LETTER)
_OF_ATTEMPTS = frozenset(
    {"task_started", "task_complete", "task_failed", "task_stopped", "task_recalled", "task_lost", "task_escalate"}
)
_ENDS = frozenset({"task_complete", "task_failed"})
_NOT_COUNTED = (t.CAUSE_CANNOT_START, t.CAUSE_LOST, t.CAUSE_SUPERVISOR)
_EXCUSED_LIMIT = 1


class Released(NamedTuple):
    """When a member was let go, and whose end it had waited for."""

    at: int
    parents: tuple[str, ...]


@dataclass(slots=True)
class Runs:
    """What the log tells for those who look at commands: when what was released, which attempts ended."""

    released: dict[str, list[Released]] = field(default_factory=dict)
    ends: set[tuple[str, int]] = field(default_factory=set)


class RunChecker:
    """Told of each step."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._results: Counter[tuple[str, int]] = Counter()
        self._excused: Counter[tuple[str, int]] = Counter()
        self._locks: dict[str, str] = {}
        self.runs = Runs()
        self.reached: Counter[str] = Counter()

    def applied(self, step: Step) -> None:
        before = {
            change.id: change.old
            for change in step.changes
            if change.table is Table.TASKS and isinstance(change.old, t.Task)
        }
        accepted: dict[str, set[str]] = {}
        for kind, command, answer in step.commands():
            if kind.startswith("task_") and answer.accepted and kind != "task_submit":
                accepted.setdefault(command.id, set()).add(kind)
                if kind in _OF_ATTEMPTS:
                    self._attempt(step, kind, command, before.get(command.id))
        for change in step.changes:
            if isinstance(change.new, t.Task):
                if isinstance(change.old, t.Task):
                    self._moved(step, change.old, change.new, accepted.get(change.id, set()))
                self._released(step, change.old if isinstance(change.old, t.Task) else None, change.new)
        self._lock(step)

    def _attempt(self, step: Step, kind: str, command: object, old: t.Task | None) -> None:
        """A stale fence never changes anything."""
        fence = getattr(command, "fence")  # noqa: B009
        task = old or step.rows.get(Key(Table.TASKS, getattr(command, "id")))  # noqa: B009
        if not isinstance(task, t.Task) or task.state not in ON_NODE or task.fence != fence:
            self._report(f"{kind} of {getattr(task, 'id', '?')} under fence {fence} was accepted at {step.index}")
        elif kind in _ENDS:
            self.runs.ends.add((task.id, fence))

    def _moved(self, step: Step, old: t.Task, new: t.Task, accepted: set[str]) -> None:
        where = f"{new.id} at {step.index}"
        if new.run not in (old.run, old.run + 1):
            self._report(f"{where} went from run {old.run} to run {new.run}")
        if old.state in ENDED and new.state not in ENDED and new.run == old.run:
            self._report(f"{where} lives again in its run {old.run}, which had ended")
        if new.state in _RESULTS and old.state != new.state:
            self._results[new.id, new.run] += 1
            if self._results[new.id, new.run] > 1:
                self._report(f"{where} has a second result of run {new.run}")
        if new.state in ON_NODE and new.fence != old.fence:
            self._assigned(step, old, new)
        self.reached["given up as idle"] += "task_stopped" in accepted and new.cause == t.CAUSE_IDLE
        self.reached["completed although cancelled"] += "task_complete" in accepted and old.cancel_requested
        if "task_complete" in accepted and new.state != t.TASK_STATE_COMPLETED:
            self._report(f"{where} completed, and is in state {new.state} all the same")
        if new.state == t.TASK_STATE_COMPLETED and old.state != new.state and "task_complete" not in accepted:
            self._report(f"{where} is completed, and nobody said so")
        if new.run == old.run:
            self._counted(where, old, new, accepted)

    def _counted(self, where: str, old: t.Task, new: t.Task, accepted: set[str]) -> None:
        """Only failures use up attempts, and hardly one of them is excused."""
        if new.attempt != old.attempt:
            self.reached["attempts used up"] += 1
            idle = bool(accepted & {"task_stopped", "task_lost"}) and new.cause == t.CAUSE_IDLE
            if new.attempt != old.attempt + 1 or not ("task_failed" in accepted or idle):
                self._report(f"{where} went from attempt {old.attempt} to {new.attempt} by {sorted(accepted)}")
        elif "task_failed" in accepted and new.state == t.TASK_STATE_QUEUED and new.cause not in _NOT_COUNTED:
            self.reached["failures excused"] += 1
            self._excused[new.id, new.run] += 1
            if self._excused[new.id, new.run] > _EXCUSED_LIMIT:
                self._report(f"{where} was excused more often than once in run {new.run}")

    def _assigned(self, step: Step, old: t.Task, new: t.Task) -> None:
        where = f"{new.id} was assigned to {new.node} at {step.index}"
        if new.fence != step.index or old.fence >= new.fence:
            self._report(f"{where} under fence {new.fence}, after {old.fence}")
        if old.state != t.TASK_STATE_QUEUED:
            self._report(f"{where} out of state {old.state}")
        if old.scheduled_after_us > step.entry.at_us:
            self._report(f"{where} {old.scheduled_after_us - step.entry.at_us} µs before it was due")
        node = step.rows.get(Key(Table.NODES, new.node))
        if not isinstance(node, t.Node) or node.state != t.NODE_STATE_ACTIVE:
            self._report(f"{where}, which takes no tasks")

    def _released(self, step: Step, old: t.Task | None, new: t.Task) -> None:
        waited = old is None or old.state == t.TASK_STATE_PENDING or old.run != new.run
        if new.depends_on and waited and new.state == t.TASK_STATE_QUEUED:
            parents = tuple(f"{new.workflow_id}.{member}" for member in new.depends_on)
            self.runs.released.setdefault(new.id, []).append(Released(step.index, parents))

    def _lock(self, step: Step) -> None:
        """A lock is held by one task at a time."""
        tasks = [change for change in step.changes if change.table is Table.TASKS]
        for change in tasks:
            if isinstance(change.old, t.Task) and change.old.state in ON_NODE:
                for lock in change.old.spec.locks:
                    self._locks.pop(lock, None)
        for change in tasks:
            if isinstance(change.new, t.Task) and change.new.state in ON_NODE:
                for lock in change.new.spec.locks:
                    holder = self._locks.setdefault(lock, change.id)
                    if holder != change.id:
                        self._report(f"lock {lock} is held by {holder} and {change.id} at {step.index}")
