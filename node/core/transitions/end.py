"""How tasks end and come back: complete, cancel, dead letter, retry, and the steps that other endings share."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import TaskCancel, TaskComplete, TaskDeadLetter, TaskRetry
from cortex.v1.types_pb2 import Task, TaskResult, TaskSpec, TaskState
from node.core import checks
from node.core.faults import Code
from node.core.model import (
    ASSIGNED,
    CANCELLED,
    COMPLETED,
    DEAD_LETTER,
    LIVE,
    ON_NODE,
    PENDING,
    QUEUED,
    queue_deadline_us,
)
from node.core.transitions import keys, restarts, tally
from node.core.transitions.draft import Draft, Refusal

_ERROR_CHARS = 1000
# What no report of an attempt has a fingerprint for is one cause by itself.
_CAUSES = {
    types_pb2.CAUSE_LOST: "lost",
    types_pb2.CAUSE_QUEUE_TIMEOUT: "queue_timeout",
    types_pb2.CAUSE_DRAINED: "drained",
}


# Steps that several transitions share


def requeue(draft: Draft, new: Task, delay_us: int = 0) -> None:
    """Make `new` wait for a node again, from `delay_us` on."""
    new.state = QUEUED
    new.queued_at_us = draft.now_us
    new.scheduled_after_us = draft.now_us + delay_us if delay_us else 0
    new.lost_at_us = 0
    new.migrate_requested = False
    new.drain_ends = False


def end(draft: Draft, new: Task, state: TaskState.ValueType) -> None:
    lived = new.state in LIVE
    new.state = state
    new.completed_at_us = draft.now_us
    new.lost_at_us = 0
    new.migrate_requested = False
    new.drain_ends = False
    if state == DEAD_LETTER:
        new.dead_lettered_at_us = draft.now_us
    if new.submit_key:
        keys.ended(draft, new)
    if new.operation and lived:
        tally.count_end(draft, new)


def cancelled(draft: Draft, task: Task, reason: str, result: TaskResult | None = None) -> None:
    """End a task for an operator, whatever it was doing."""
    new = draft.edit(task)
    if result is not None:
        new.result.CopyFrom(result)
        note_end(draft, task, new, result)
    end(draft, new, CANCELLED)
    new.cancel_requested = False
    new.cancel_reason = checks.short(reason) or task.cancel_reason
    new.reason = new.cancel_reason
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_CANCELLED, new, new.reason)


def end_as_dead_letter(draft: Draft, new: Task, reason: str) -> None:
    """End `new` as dead letter; put() and event() are the caller's, so that they keep their order."""
    new.fingerprint = _CAUSES.get(new.cause, new.fingerprint)
    end(draft, new, DEAD_LETTER)
    new.reason = reason


def begin_run(draft: Draft, new: Task) -> None:
    """What is counted or noted of one run begins anew with the next; its state is the caller's."""
    new.attempt = 0
    new.run += 1
    new.revived_at_us = draft.now_us
    new.fingerprint = ""
    for name in (
        "losses",
        "completed_at_us",
        "dead_lettered_at_us",
        "cancel_requested",
        "cancel_reason",
        "reason",
        "unstartable_nodes",
        "failures",
        "blame",
        "escalated_at_us",
        "dispatches",
        "excused",
        "idles",
        "put_offs",
        "skip_reason",
        "condition_error",
        "condition_crashes",
        "operation",
    ):
        new.ClearField(name)


def note_end(draft: Draft, task: Task, new: Task, result: TaskResult) -> None:
    """Its command has ended; a start that was not reported before it is made up for."""
    if task.state != ASSIGNED or result.started_at_us:
        restarts.begins(draft, new)


def clip_error(text: str) -> str:
    """As much of a sentence as an error may have."""
    return text[:_ERROR_CHARS]


# Transitions


def complete(draft: Draft, task: Task, command: TaskComplete) -> Refusal | None:
    """Guard: exit 0 or listed as success. Wins over a cancel that is only requested."""
    result = command.result
    if result.signal or (result.HasField("exit_code") and not is_success(task.spec, result)):
        return Refusal(Code.INVALID, f"{exit_text(result)} is no success of this task.")
    new = draft.edit(task)
    new.result.CopyFrom(result)
    note_end(draft, task, new, result)
    end(draft, new, COMPLETED)
    new.cancel_requested = False
    for name in ("error", "cause", "fingerprint", "reason"):
        new.ClearField(name)
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_COMPLETED, new)
    return None


def cancel(draft: Draft, task: Task, command: TaskCancel) -> Refusal | None:
    """At once where nothing runs, or nobody knows whether it does; else in two phases. Discards dead letters."""
    flaw = checks.reason_flaw(command.reason)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    if task.state == DEAD_LETTER:
        if not command.reason:
            return Refusal(
                Code.WRONG_STATE,
                f"Task {task.id} is a dead letter: it is not cancelled, but discarded with a reason.",
            )
    elif command.discard:
        return Refusal(Code.WRONG_STATE, f"Task {task.id} is {_state_text(task)}: only a dead letter is discarded.")
    if task.state in (PENDING, QUEUED, DEAD_LETTER) or task.lost_at_us:
        cancelled(draft, task, command.reason)
        return None
    if task.cancel_requested:
        return None
    new = draft.edit(task)
    new.cancel_requested = True
    new.cancel_reason = command.reason
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_CANCEL_REQUESTED, new, command.reason)
    return None


def dead_letter(draft: Draft, task: Task, command: TaskDeadLetter) -> Refusal | None:
    """Guard: its queue timeout has passed."""
    deadline_us = queue_deadline_us(task)
    if command.cause != types_pb2.CAUSE_QUEUE_TIMEOUT:
        return Refusal(Code.INVALID, f"Cause {command.cause} does not make a dead letter of a queued task.")
    if deadline_us is None or draft.now_us < deadline_us:
        return Refusal(Code.WRONG_STATE, "Its queue timeout has not passed.")
    new = draft.edit(task)
    new.cause = command.cause
    new.error = command.reason[:_ERROR_CHARS] or f"waited longer than {task.spec.queue_timeout_ms} ms for a node"
    end_as_dead_letter(draft, new, new.error)
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_DEAD_LETTERED, new, new.error)
    return None


def retry(draft: Draft, task: Task, command: TaskRetry) -> Refusal | None:
    """A new run from attempt 0. A task that is on a node must be lost; its fence is burnt by leaving that state."""
    if task.state in ON_NODE and not task.lost_at_us:
        return Refusal(
            Code.WRONG_STATE,
            f"Task {task.id} is {_state_text(task)}: only what has ended without success, or is lost, is retried.",
        )
    edited = command.HasField("edited_spec")
    if edited:
        flaw = checks.spec_flaw(command.edited_spec)
        if flaw is not None:
            return Refusal(Code.INVALID, flaw)
    if task.submit_key:
        keys.revived(draft, task)
    new = draft.edit(task)
    if edited:
        new.spec.CopyFrom(command.edited_spec)
    if task.lost_at_us:
        restarts.interrupted(draft, task, new, "it was retried while its machine was lost")
    else:
        restarts.over(new)
    begin_run(draft, new)
    # What still waits for its end, as a run on nodes does, goes on waiting.
    new.operation = (task.operation if task.lost_at_us else "") or command.operation
    requeue(draft, new)
    draft.put(task, new)
    names = TaskSpec.DESCRIPTOR.fields_by_name if edited else ()
    changed = [name for name in names if getattr(task.spec, name) != getattr(new.spec, name)]
    draft.event(types_pb2.EVENT_TYPE_RETRIED, new, f"edited: {', '.join(changed)}" if changed else "by an operator")
    return None


# Judgements


def is_success(spec: TaskSpec, result: TaskResult) -> bool:
    """Whether it ended by itself, with 0 or an exit code that is listed as success."""
    if result.signal or not result.HasField("exit_code"):
        return False
    return result.exit_code == 0 or result.exit_code in spec.success_codes


def exit_text(result: TaskResult) -> str:
    """How it ended, in words."""
    if result.signal:
        return f"signal {result.signal}"
    return f"exit code {result.exit_code}" if result.HasField("exit_code") else "no exit code"


def _state_text(task: Task) -> str:
    return TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()
