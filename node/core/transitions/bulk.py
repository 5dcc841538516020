"""Retry, discard and priority of many tasks: those that a plan names, or all letters of one cause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cortex.v1.log_pb2 import CommandReply, OperationAdvance, TaskCancel, TaskPriority, TaskRetry
from cortex.v1.types_pb2 import Operation, OperationKind, Task, TaskState
from node.core import checks
from node.core.faults import Code
from node.core.model import DEAD_LETTER, FAILED, PENDING, QUEUED
from node.core.operations import DONE, WORKFLOWS_LIMIT, is_meant, spans_too_much
from node.core.transitions.draft import Draft, Refusal
from node.core.transitions.kinds import Act, Items, Kind

Make = Callable[[Operation, str], Any]

_SHOWN = 5


def _check(draft: Draft, new: Operation) -> Refusal | None:
    """Either tasks, each once, or a cause; a plan of tasks counts them now."""
    plan = new.bulk
    plan.through_index = draft.index
    plan.step = plan.step_end = 0
    if not new.HasField("bulk") or bool(plan.ids) == bool(plan.fingerprint):
        return Refusal(Code.INVALID, "A plan names either tasks or a cause.")
    if len(set(plan.ids)) != len(plan.ids):
        return Refusal(Code.INVALID, "A plan names each task once.")
    flaw = checks.text_flaw("cause", plan.fingerprint)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    if plan.canary and not plan.fingerprint:
        return Refusal(Code.INVALID, "A canary goes through the letters of one cause.")
    new.counts.total = len(plan.ids)
    tasks = [(task_id, draft.task(task_id)) for task_id in plan.ids]
    missing = next((task_id for task_id, task in tasks if task is None), None)
    if missing is not None:
        return Refusal(Code.NOT_FOUND, f"There is no task {checks.short(missing)}.")
    unfit = [task for _, task in tasks if task is not None and not _fits(new.kind, task)]
    if not unfit or new.not_before_us == new.created_at_us:
        return None
    # What is carried out at once tells of each task; what is to come has to be right as a whole.
    told = ", ".join(f"{task.id} is {_state(task)}" for task in unfit[:_SHOWN])
    return Refusal(Code.WRONG_STATE, f"Nothing was begun, since not all can be meant: {told}.")


def _fits(kind: OperationKind.ValueType, task: Task) -> bool:
    """Whether what is meant for a task can be done to it now."""
    if kind == OperationKind.OPERATION_KIND_PRIORITY:
        return task.state in (PENDING, QUEUED)
    if kind == OperationKind.OPERATION_KIND_DISCARD:
        return task.state == DEAD_LETTER
    return task.state in (DEAD_LETTER, FAILED) or bool(task.lost_at_us)


def _state(task: Task) -> str:
    return TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()


def _check_retry(draft: Draft, new: Operation) -> Refusal | None:
    if new.bulk.HasField("edited_spec"):
        if len(new.bulk.ids) != 1:
            return Refusal(Code.INVALID, "One task at a time is edited.")
        flaw = checks.spec_flaw(new.bulk.edited_spec)
        if flaw is not None:
            return Refusal(Code.INVALID, flaw)
    return _check(draft, new)


def _check_discard(draft: Draft, new: Operation) -> Refusal | None:
    if not new.reason:
        return Refusal(Code.INVALID, "A discard needs a reason.")
    if new.bulk.canary:
        return Refusal(Code.INVALID, "A discard has no canary.")
    return _check(draft, new)


def _check_priority(draft: Draft, new: Operation) -> Refusal | None:
    if not 0 <= new.bulk.priority <= checks.PRIORITY_LIMIT:
        return Refusal(Code.INVALID, f"priority goes from 0 to {checks.PRIORITY_LIMIT}.")
    if new.bulk.fingerprint:
        return Refusal(Code.INVALID, "Dead letters have no place in the queue.")
    return _check(draft, new)


def _retry(new: Operation, task_id: str) -> TaskRetry:
    command = TaskRetry(id=task_id, operation=new.id)
    if new.bulk.HasField("edited_spec"):
        command.edited_spec.CopyFrom(new.bulk.edited_spec)
    return command


def _discard(new: Operation, task_id: str) -> TaskCancel:
    return TaskCancel(id=task_id, reason=new.reason, discard=True)


def _priority(new: Operation, task_id: str) -> TaskPriority:
    return TaskPriority(id=task_id, priority=new.bulk.priority)


def _kind(check: Callable[[Draft, Operation], Refusal | None], command: str, make: Make) -> Kind:
    def one(draft: Draft, new: Operation, task_id: str, act: Act) -> Refusal | None:
        task = draft.task(task_id)
        if task is not None and not is_meant(new, task):
            refusal: Refusal | None = Refusal(Code.WRONG_STATE, f"Task {task_id} has changed meanwhile.")
        else:
            refusal = act(draft, command, make(new, task_id))
        if refusal is None:
            new.counts.issued += 1
        else:
            new.counts.passed_over += 1
        return refusal

    def at_once(draft: Draft, new: Operation, act: Act) -> Items | Refusal | None:
        if new.bulk.fingerprint or spans_too_much(map(draft.task, new.bulk.ids)):
            return None
        done = [(task_id, one(draft, new, task_id, act)) for task_id in new.bulk.ids]
        if not new.counts.issued:
            return _nothing_done([refusal for _, refusal in done if refusal is not None])
        new.state = DONE
        new.outcome = _outcome(new, stopped=False)
        return [_item(task_id, refusal) for task_id, refusal in done]

    def step(draft: Draft, new: Operation, command: OperationAdvance, act: Act) -> None:
        if command.begin and new.bulk.fingerprint:
            new.counts.total = command.total
        if command.step:
            new.bulk.step, new.bulk.step_end = command.step, command.step_end
        for task_id in command.ids:
            one(draft, new, task_id, act)
        if command.done or command.stop:
            new.outcome = _outcome(new, stopped=command.stop)

    return Kind(check=check, at_once=at_once, guard=_guard, begin=step, step=step, end=_end)


def _guard(draft: Draft, old: Operation, command: OperationAdvance) -> Refusal | None:
    plan = old.bulk
    if spans_too_much(map(draft.task, command.ids)):
        return Refusal(Code.INVALID, f"A step names tasks of at most {WORKFLOWS_LIMIT} workflows.")
    if command.step and (not plan.canary or command.step != plan.step + 1):
        return Refusal(Code.WRONG_STATE, f"Operation {old.id} is at step {plan.step}.")
    step_end = command.step_end if command.step else plan.step_end
    if plan.canary and old.counts.issued + len(command.ids) > step_end:
        return Refusal(Code.WRONG_STATE, f"Step {plan.step} of operation {old.id} ends at {step_end}.")
    return None


def _outcome(new: Operation, *, stopped: bool) -> str:
    counts = new.counts
    if not stopped:
        return f"{counts.issued} of {counts.total} tasks"
    untouched = max(0, counts.total - counts.issued - counts.passed_over)
    return f"{counts.failed_same} of {counts.issued} failed the same way again; {untouched} are untouched"


def _end(_draft: Draft, new: Operation) -> None:
    """What was not come by any more changed before its turn."""
    if new.state == DONE and new.counts.total > new.counts.issued:
        new.counts.passed_over = new.counts.total - new.counts.issued


def _nothing_done(refusals: list[Refusal]) -> Refusal:
    first = refusals[0]
    if len(refusals) == 1:
        return first
    told = " ".join(refusal.message for refusal in refusals[:_SHOWN])
    return Refusal(first.code, f"0 of {len(refusals)} were changed; refused: {told}")


def _item(task_id: str, refusal: Refusal | None) -> CommandReply:
    if refusal is None:
        return CommandReply(accepted=True, id=task_id)
    return CommandReply(code=refusal.code, message=refusal.message, id=task_id)


RETRY = _kind(_check_retry, "task_retry", _retry)
DISCARD = _kind(_check_discard, "task_cancel", _discard)
PRIORITY = _kind(_check_priority, "task_priority", _priority)
