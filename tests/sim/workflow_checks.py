"""What must hold of workflows and operations, read off the log as it is replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from cortex.v1 import types_pb2 as t
from node.core.model import ENDED, Change, Key, Row, Table

Report = Callable[[str], None]
_FAILED = (t.TASK_STATE_FAILED, t.TASK_STATE_DEAD_LETTER)
_LIVE = (t.WORKFLOW_STATE_PENDING, t.WORKFLOW_STATE_RUNNING)
_DONE, _SKIPPED = t.TASK_STATE_COMPLETED, t.TASK_STATE_SKIPPED


class WorkflowChecker:
    """Told of each entry's changes, and of the rows after it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._revived: Counter[tuple[str, str]] = Counter()
        self.reached: Counter[str] = Counter()

    def applied(self, changes: Sequence[Change], rows: Mapping[Key, Row | None]) -> None:
        for change in changes:
            old, new = change.old, change.new
            if isinstance(new, t.Task) and new.workflow_id:
                self._member(old if isinstance(old, t.Task) else None, new, rows)
            if isinstance(new, t.Task) and isinstance(old, t.Task) and new.operation:
                self._revival(old, new)
            if isinstance(new, t.Workflow):
                self._workflow(new, rows)
            if isinstance(new, t.Operation) and (not isinstance(old, t.Operation) or old.state != new.state):
                kind = t.OperationKind.Name(new.kind).removeprefix("OPERATION_KIND_").lower()
                state = t.OperationState.Name(new.state).removeprefix("OPERATION_STATE_").lower()
                self.reached[f"{kind} {state}"] += 1

    def _member(self, old: t.Task | None, new: t.Task, rows: Mapping[Key, Row | None]) -> None:
        """Nothing leaves PENDING before all that it depends on has ended, and only where its rule lets it."""
        left = old.state if old is not None else t.TASK_STATE_PENDING
        if left != t.TASK_STATE_PENDING or new.state not in (t.TASK_STATE_QUEUED, _SKIPPED):
            return
        parents = [rows.get(Key(Table.TASKS, f"{new.workflow_id}.{member}")) for member in new.depends_on]
        states = [parent.state for parent in parents if isinstance(parent, t.Task)]
        open_ = [state for state in states if state not in ENDED]
        if len(states) != len(parents) or open_:
            self._report(f"{new.id} left pending although {len(open_)} of its dependencies have not ended")
        elif new.state == t.TASK_STATE_QUEUED and parents and not allowed(new.rule, states):
            self._report(f"{new.id} was released although its rule {new.rule} denies {states}")
        elif new.state == _SKIPPED and not new.condition and allowed(new.rule, states):
            self._report(f"{new.id} was skipped although its rule {new.rule} allows {states}")
        else:
            self.reached["skipped" if new.state == _SKIPPED else "released"] += bool(parents)

    def _revival(self, old: t.Task, new: t.Task) -> None:
        """An operation enqueues each letter once."""
        if old.state in _FAILED and new.state in (t.TASK_STATE_QUEUED, t.TASK_STATE_PENDING):
            self._revived[new.operation, new.id] += 1
            if self._revived[new.operation, new.id] > 1:
                self._report(f"operation {new.operation} revived {new.id} twice")

    def _workflow(self, workflow: t.Workflow, rows: Mapping[Key, Row | None]) -> None:
        """What it counts is what its tasks are, and it ends with the last of them."""
        members = [rows.get(Key(Table.TASKS, f"{workflow.id}.{member}")) for member in range(workflow.count)]
        tasks = [member for member in members if isinstance(member, t.Task)]
        remaining = sum(task.state not in ENDED for task in tasks)
        if len(tasks) != workflow.count or remaining != workflow.remaining:
            self._report(f"workflow {workflow.id} says {workflow.remaining} remain, it is {remaining}")
        if bool(remaining) != (workflow.state in _LIVE):
            self._report(f"workflow {workflow.id} is in state {workflow.state} with {remaining} tasks to go")
        failed = any(task.state in _FAILED and not task.can_fail for task in tasks)
        if workflow.state == t.WORKFLOW_STATE_COMPLETED and failed:
            self._report(f"workflow {workflow.id} completed with a failed task")
        self.reached[
            f"workflow {t.WorkflowState.Name(workflow.state).removeprefix('WORKFLOW_STATE_').lower()}"
        ] += 1
        self.reached["workflow resumed"] += workflow.run > 1


def allowed(rule: int, states: Sequence[int]) -> bool:
    """The rules once more, as the documents tell them; a cancel of the whole workflow aside."""
    if rule == t.RULE_ALL_SUCCESS:
        return set(states) <= {_DONE}
    if rule == t.RULE_NONE_FAILED:
        return set(states) <= {_DONE, _SKIPPED}
    if rule == t.RULE_ONE_FAILED:
        return bool(set(states) & set(_FAILED))
    if rule == t.RULE_ONE_SUCCESS:
        return _DONE in states
    return True
