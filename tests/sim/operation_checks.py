"""What must hold of operations, read off the log as it is replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from cortex.v1 import types_pb2 as t
from node.core.model import ENDED, Key, Table
from tests.sim.replay import Step

Report = Callable[[str], None]
_FAILED = (t.TASK_STATE_FAILED, t.TASK_STATE_DEAD_LETTER)
_LIVE = (t.OPERATION_STATE_SCHEDULED, t.OPERATION_STATE_RUNNING)
_MAKES_TASKS = (t.OPERATION_KIND_RETRY, t.OPERATION_KIND_RUN)


@dataclass(slots=True)
class _Seen:
    """What tasks did on behalf of one operation; of what a workflow ended it need not know."""

    issued: int = 0
    discarded: int = 0
    succeeded: int = 0
    failed: int = 0
    perhaps: int = 0


class OperationChecker:
    """Told of each step."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._seen: dict[str, _Seen] = {}
        self._revived: Counter[tuple[str, str]] = Counter()
        self.reached: Counter[str] = Counter()

    def applied(self, step: Step) -> None:
        before = {change.id: change.old for change in step.changes if isinstance(change.old, t.Operation)}
        for kind, command, answer in step.commands():
            if answer.accepted and kind == "operation_stop":
                self._stopped(command.undo, before.get(command.id))
            elif answer.accepted and kind == "operation_advance":
                self._advanced(command.cursor, command.id, before.get(command.id))
        for change in step.changes:
            if isinstance(change.new, t.Task):
                self._task(step, change.old if isinstance(change.old, t.Task) else None, change.new, before)
            elif isinstance(change.new, t.Event):
                discarded = change.new.type == t.EVENT_TYPE_CANCELLED and change.new.operation
                if discarded:
                    self._of(change.new.operation).discarded += 1
        for change in step.changes:
            if isinstance(change.new, t.Operation):
                self._operation(step, change.old if isinstance(change.old, t.Operation) else None, change.new)

    def _of(self, operation: str) -> _Seen:
        return self._seen.setdefault(operation, _Seen())

    def _stopped(self, undo: bool, old: t.Operation | None) -> None:
        self.reached["undos" if undo else "stops"] += 1
        if undo and old is not None and old.state != t.OPERATION_STATE_SCHEDULED:
            self._report(f"operation {old.id} was undone after it had begun")

    def _advanced(self, cursor: str, operation: str, old: t.Operation | None) -> None:
        """A step is taken from where the operation stands, or not at all."""
        if old is None or old.state not in _LIVE or old.cursor != cursor:
            stands = old.cursor if old is not None else None
            self._report(f"a step of {operation} from {cursor!r} was accepted, it stood at {stands!r}")

    def _task(self, step: Step, old: t.Task | None, new: t.Task, before: dict[str, t.Operation]) -> None:
        if old is not None and old.state not in ENDED and new.state in ENDED and new.operation:
            self._ended(new)
        if not new.operation:
            return
        if old is None:
            self._of(new.operation).issued += 1
        elif new.run != old.run:
            self._of(new.operation).issued += 1
            self._revival(step, old, new, before.get(new.operation))

    def _ended(self, new: t.Task) -> None:
        seen = self._of(new.operation)
        if new.workflow_id:
            seen.perhaps += 1
        elif new.state == t.TASK_STATE_COMPLETED:
            seen.succeeded += 1
        else:
            seen.failed += 1

    def _revival(self, step: Step, old: t.Task, new: t.Task, before: t.Operation | None) -> None:
        """An operation enqueues each letter once: one that was there when it was committed."""
        self._revived[new.operation, new.id] += 1
        if self._revived[new.operation, new.id] > 1:
            self._report(f"operation {new.operation} revived {new.id} twice")
        operation = before or step.rows.get(Key(Table.OPERATIONS, new.operation))
        if not isinstance(operation, t.Operation):
            self._report(f"{new.id} was revived by {new.operation}, which is no operation")
            return
        if old.state in _FAILED and old.completed_at_us > operation.created_at_us:
            self._report(f"operation {new.operation} revived {new.id}, which ended after its commit")
        if operation.bulk.canary and operation.counts.failed_same and before is not None:
            self._report(f"canary {new.operation} revived {new.id} after one had failed the same way")

    def _operation(self, step: Step, old: t.Operation | None, new: t.Operation) -> None:
        if old is not None and old.state not in _LIVE and old.state != new.state:
            self._report(f"operation {new.id} went on from state {old.state} to {new.state}")
        if old is None or old.state != new.state:
            kind = t.OperationKind.Name(new.kind).removeprefix("OPERATION_KIND_").lower()
            state = t.OperationState.Name(new.state).removeprefix("OPERATION_STATE_").lower()
            self.reached[f"{kind} {state}"] += 1
            if new.begun_at_us and new.begun_at_us < new.not_before_us:
                self._report(f"operation {new.id} began {new.not_before_us - new.begun_at_us} µs too early")
        seen, counts = self._of(new.id), new.counts
        if new.kind in _MAKES_TASKS and counts.issued != seen.issued:
            self._report(f"operation {new.id} says {counts.issued} tasks, it was {seen.issued}")
        if new.kind == t.OPERATION_KIND_DISCARD and counts.issued != seen.discarded:
            self._report(f"operation {new.id} says {counts.issued} letters, it was {seen.discarded}")
        if counts.succeeded < seen.succeeded or counts.failed < seen.failed:
            self._report(f"operation {new.id} forgot ends: {counts} against {seen}")
        if counts.succeeded + counts.failed > seen.succeeded + seen.failed + seen.perhaps:
            self._report(f"operation {new.id} counts ends that were not: {counts} against {seen}")
        if new.kind != t.OPERATION_KIND_DRAIN and new.state == t.OPERATION_STATE_UNDONE and counts.issued:
            self._report(f"operation {new.id} was undone, and {counts.issued} tasks had been changed")
        done = new.kind == t.OPERATION_KIND_RETRY and new.state == t.OPERATION_STATE_DONE
        if done and counts.issued + counts.passed_over != counts.total:
            self._report(f"operation {new.id} is done, {counts} do not add up")
