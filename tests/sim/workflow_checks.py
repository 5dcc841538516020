"""What must hold of workflows, read off the log as it is replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from cortex.v1 import types_pb2 as t
from cortex.v1.log_pb2 import WorkflowAdvance
from node.core.model import ENDED, Key, Row, Table
from tests.sim.replay import Step

Report = Callable[[str], None]
_FAILED = (t.TASK_STATE_FAILED, t.TASK_STATE_DEAD_LETTER)
_LIVE = (t.WORKFLOW_STATE_PENDING, t.WORKFLOW_STATE_RUNNING)
_DONE, _SKIPPED = t.TASK_STATE_COMPLETED, t.TASK_STATE_SKIPPED


class WorkflowChecker:
    """Told of each step."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._changed: dict[str, int] = {}  # index at which a member last ended, or lived again
        self.reached: Counter[str] = Counter()

    def applied(self, step: Step) -> None:
        rows = step.rows
        for kind, command, answer in step.commands():
            if kind == "workflow_advance" and answer.accepted:
                self._verdict(command, rows)
        for change in step.changes:
            old, new = change.old, change.new
            if isinstance(new, t.Task) and new.workflow_id:
                was = old if isinstance(old, t.Task) else None
                self._member(was, new, rows)
                if was is None or was.run != new.run or (was.state in ENDED) != (new.state in ENDED):
                    self._changed[new.id] = step.index
                if was is not None and new.state in _FAILED and was.state not in ENDED:
                    self._failed(new, rows)
            if isinstance(new, t.Workflow):
                self._workflow(new, rows)
                if isinstance(old, t.Workflow) and old.state not in _LIVE and new.state in _LIVE:
                    self._resumed(old, new)

    def _verdict(self, command: WorkflowAdvance, rows: Mapping[Key, Row]) -> None:
        """What a verdict was based on still stands."""
        task = rows.get(Key(Table.TASKS, command.task))
        assert isinstance(task, t.Task)
        for member in task.depends_on:
            parent = f"{task.workflow_id}.{member}"
            if self._changed.get(parent, 0) > command.context_index:
                self._report(
                    f"{command.task} got a verdict of index {command.context_index}; {parent} changed since"
                )
        self.reached["verdicts"] += 1

    def _failed(self, task: t.Task, rows: Mapping[Key, Row]) -> None:
        """A failure stops its workflow where that is its policy."""
        workflow = rows.get(Key(Table.WORKFLOWS, task.workflow_id))
        if isinstance(workflow, t.Workflow) and not task.can_fail and workflow.state in _LIVE:
            fast = workflow.policy == t.FAILURE_POLICY_FAIL_FAST
            if fast and not (workflow.stopping or workflow.cancel_requested):
                self._report(f"{task.id} failed, and its workflow, which is to fail fast, goes on")
            self.reached["stopped by a failure"] += fast

    def _resumed(self, old: t.Workflow, new: t.Workflow) -> None:
        if new.run != old.run + 1:
            self._report(f"workflow {new.id} lives again as run {new.run}, after run {old.run}")

    def _member(self, old: t.Task | None, new: t.Task, rows: Mapping[Key, Row]) -> None:
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

    def _workflow(self, workflow: t.Workflow, rows: Mapping[Key, Row]) -> None:
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
