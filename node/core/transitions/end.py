"""How attempts and tasks end and come back: complete, failed, stopped, lost, cancel, dead letter, retry."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import (
    TaskCancel,
    TaskComplete,
    TaskDeadLetter,
    TaskFailed,
    TaskLost,
    TaskMigrate,
    TaskRetry,
    TaskStopped,
)
from cortex.v1.types_pb2 import (
    Node,
    Task,
    TaskResult,
    TaskSpec,
    TaskState,
)
from node.core import checks
from node.core.faults import Code
from node.core.model import CANCELLED, COMPLETED, DEAD_LETTER, FAILED, ON_NODE, PENDING, QUEUED, queue_deadline_us
from node.core.transitions import keys
from node.core.transitions.draft import Draft, Refusal

# Machines that may be lost under one run before it is suspected of killing them.
LOSS_LIMIT = 5
RETRY_DELAY_LIMIT_US = 7 * 24 * 3600 * 1_000_000

_ERROR_CHARS = 1000
_FINGERPRINT_CHARS = 64
_FAILURES = frozenset(
    {
        types_pb2.CAUSE_UNSPECIFIED,
        types_pb2.CAUSE_EXIT,
        types_pb2.CAUSE_SIGNAL,
        types_pb2.CAUSE_TIMEOUT,
        types_pb2.CAUSE_OUT_OF_MEMORY,
        types_pb2.CAUSE_CANNOT_START,
        types_pb2.CAUSE_SUPERVISOR,
    }
)
_STOPS = frozenset({types_pb2.CAUSE_CANCEL, types_pb2.CAUSE_MIGRATE, types_pb2.CAUSE_LEASE})


# Steps that several transitions share


def requeue(draft: Draft, new: Task, delay_us: int = 0) -> None:
    """Make `new` wait for a node again, from `delay_us` on."""
    new.state = QUEUED
    new.queued_at_us = draft.now_us
    new.scheduled_after_us = draft.now_us + delay_us if delay_us else 0
    new.lost_at_us = 0
    new.migrate_requested = False


def end(draft: Draft, new: Task, state: TaskState.ValueType) -> None:
    new.state = state
    new.completed_at_us = draft.now_us
    new.lost_at_us = 0
    new.migrate_requested = False
    if state == DEAD_LETTER:
        new.dead_lettered_at_us = draft.now_us
    if new.submit_key:
        keys.ended(draft, new)


def cancelled(draft: Draft, task: Task, reason: str, result: TaskResult | None = None) -> None:
    """End a task for an operator, whatever it was doing."""
    new = draft.edit(task)
    if result is not None:
        new.result.CopyFrom(result)
    end(draft, new, CANCELLED)
    new.cancel_requested = False
    new.cancel_reason = checks.short(reason) or task.cancel_reason
    new.reason = new.cancel_reason
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_CANCELLED, new, new.reason)


def _dead_letter(draft: Draft, new: Task, reason: str) -> None:
    """End `new` as dead letter; put() and event() are the caller's, so that they keep their order."""
    end(draft, new, DEAD_LETTER)
    new.reason = reason


# Transitions


def complete(draft: Draft, task: Task, command: TaskComplete) -> Refusal | None:
    """Guard: exit 0 or listed as success. Wins over a cancel that is only requested."""
    result = command.result
    if result.signal or (result.HasField("exit_code") and not _is_success(task.spec, result)):
        return Refusal(Code.INVALID, f"{_exit_text(result)} is no success of this task.")
    new = draft.edit(task)
    new.result.CopyFrom(result)
    end(draft, new, COMPLETED)
    new.cancel_requested = False
    for name in ("error", "cause", "fingerprint", "reason"):
        new.ClearField(name)
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_COMPLETED, new)
    return None


def failed(draft: Draft, task: Task, command: TaskFailed) -> Refusal | None:
    """Decides in the same entry: cancelled if that was asked for, else retried or ended."""
    result = command.result
    if command.cause not in _FAILURES:
        return Refusal(Code.INVALID, f"Cause {command.cause} is not the cause of a failure.")
    cause = command.cause or (types_pb2.CAUSE_SIGNAL if result.signal else types_pb2.CAUSE_EXIT)
    if cause == types_pb2.CAUSE_EXIT and _is_success(task.spec, result):
        return Refusal(Code.INVALID, f"{_exit_text(result)} is a success of this task.")
    if task.cancel_requested:
        cancelled(draft, task, "", result)
        return None
    if cause == types_pb2.CAUSE_SUPERVISOR:
        _loses(draft, task, command.error or "its supervisor ended under it", result)
        return None
    new = draft.edit(task)
    new.result.CopyFrom(result)
    new.cause = cause
    new.error = command.error[:_ERROR_CHARS] or _exit_text(result)
    new.fingerprint = command.fingerprint[:_FINGERPRINT_CHARS]
    attempts = f"attempt {task.attempt + 1} of {task.spec.retry.max_retries + 1}"
    if cause == types_pb2.CAUSE_CANNOT_START and _excluded(draft, task, new):
        requeue(draft, new)
        draft.put(task, new)
        draft.event(types_pb2.EVENT_TYPE_FAILED, new, f"{task.node} cannot start it: {new.error}")
        draft.event(types_pb2.EVENT_TYPE_RETRIED, new, "elsewhere, nothing counted")
        return None
    delay_us = min(max(command.retry_delay_us, 0), RETRY_DELAY_LIMIT_US)
    final = _why_final(draft, task, new, delay_us)
    if final is None:
        new.attempt = task.attempt + 1
        requeue(draft, new, delay_us)
    elif task.spec.on_exhausted == types_pb2.ON_EXHAUSTED_FAIL:
        end(draft, new, FAILED)
        new.reason = final
    else:
        _dead_letter(draft, new, final)
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_FAILED, new, f"{attempts}: {new.error}")
    if final is None:
        draft.event(types_pb2.EVENT_TYPE_RETRIED, new, f"in {delay_us // 1000} ms")
    elif new.state == DEAD_LETTER:
        draft.event(types_pb2.EVENT_TYPE_DEAD_LETTERED, new, final)
    return None


def stopped(draft: Draft, task: Task, command: TaskStopped) -> Refusal | None:
    """The worker ended it under orders: cancelled if that was asked for, else queued with nothing counted."""
    if command.cause not in _STOPS:
        return Refusal(Code.INVALID, f"Cause {command.cause} is not the cause of a stop.")
    if task.cancel_requested:
        cancelled(draft, task, "", command.result)
        return None
    if command.cause == types_pb2.CAUSE_CANCEL:
        return Refusal(Code.WRONG_STATE, "Nobody asked to cancel it.")
    new = draft.edit(task)
    new.result.CopyFrom(command.result)
    requeue(draft, new)
    draft.put(task, new)
    if command.cause == types_pb2.CAUSE_MIGRATE:
        draft.event(types_pb2.EVENT_TYPE_MIGRATED, new, f"stopped on {task.node}")
    else:
        draft.event(types_pb2.EVENT_TYPE_LOST, new, f"its lease on {task.node} ended; nothing counted")
    return None


def migrate(draft: Draft, task: Task, command: TaskMigrate) -> Refusal | None:
    """Ask its node to end it, in two phases as a cancel; a cancel that was asked for before stands."""
    flaw = checks.reason_flaw(command.reason)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    if task.lost_at_us:
        return Refusal(Code.WRONG_STATE, "Its machine is lost: retry or cancel it.")
    if task.cancel_requested or task.migrate_requested:
        return None
    new = draft.edit(task)
    new.migrate_requested = True
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_MIGRATE_REQUESTED, new, command.reason)
    return None


def lost(draft: Draft, task: Task, command: TaskLost) -> Refusal | None:
    """Hold and wait tasks stay where they are, marked; others are queued until they lost LOSS_LIMIT machines."""
    if task.cancel_requested:
        cancelled(draft, task, "")
        return None
    reason = command.reason[:_ERROR_CHARS]
    # What no lease ends may run on there.
    if task.migrate_requested and task.spec.on_lost != types_pb2.ON_LOST_HOLD:
        new = draft.edit(task)
        requeue(draft, new)
        draft.put(task, new)
        draft.event(types_pb2.EVENT_TYPE_MIGRATED, new, reason)
        return None
    _loses(draft, task, reason, None)
    return None


def _loses(draft: Draft, task: Task, reason: str, result: TaskResult | None) -> None:
    if task.spec.on_lost in (types_pb2.ON_LOST_HOLD, types_pb2.ON_LOST_WAIT):
        if task.lost_at_us:
            return
        new = draft.edit(task)
        new.lost_at_us = draft.now_us
        new.reason = reason
        draft.put(task, new)
        draft.event(types_pb2.EVENT_TYPE_LOST, new, f"{reason or 'its machine is lost'}; it waits for an operator")
        return
    new = draft.edit(task)
    if result is not None:
        new.result.CopyFrom(result)
    new.losses = task.losses + 1
    new.cause = types_pb2.CAUSE_LOST
    new.error = reason
    if new.losses < LOSS_LIMIT:
        requeue(draft, new)
    else:
        _dead_letter(draft, new, f"it lost {new.losses} machines")
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_LOST, new, f"loss {new.losses} of {LOSS_LIMIT}: {reason}")
    if new.state == DEAD_LETTER:
        draft.event(types_pb2.EVENT_TYPE_DEAD_LETTERED, new, new.reason)


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
    _dead_letter(draft, new, new.error)
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
    new.attempt = 0
    new.run = task.run + 1
    new.losses = 0
    new.revived_at_us = draft.now_us
    for name in ("completed_at_us", "dead_lettered_at_us", "cancel_requested", "cancel_reason", "reason"):
        new.ClearField(name)
    new.ClearField("unstartable_nodes")
    requeue(draft, new)
    draft.put(task, new)
    changed = [
        name for name in TaskSpec.DESCRIPTOR.fields_by_name if getattr(task.spec, name) != getattr(new.spec, name)
    ]
    draft.event(types_pb2.EVENT_TYPE_RETRIED, new, f"edited: {', '.join(changed)}" if changed else "by an operator")
    return None


# Judgements


def _is_success(spec: TaskSpec, result: TaskResult) -> bool:
    if result.signal or not result.HasField("exit_code"):
        return False
    return result.exit_code == 0 or result.exit_code in spec.success_codes


def _exit_text(result: TaskResult) -> str:
    if result.signal:
        return f"signal {result.signal}"
    return f"exit code {result.exit_code}" if result.HasField("exit_code") else "no exit code"


def _state_text(task: Task) -> str:
    return TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()


def _excluded(draft: Draft, task: Task, new: Task) -> bool:
    """Exclude the node that could not start it. True when nothing is counted: once, if another may try."""
    first = not task.unstartable_nodes
    if task.node not in task.unstartable_nodes:
        new.unstartable_nodes.append(task.node)
    if any(_may_run(node, new) for node in draft.nodes()):
        return first
    # Nobody is left to try: let all of them try again, and let it count.
    del new.unstartable_nodes[:]
    return False


def _may_run(node: Node, task: Task) -> bool:
    """Whether another node could be asked to start it, as far as the log knows."""
    if node.state != types_pb2.NODE_STATE_ACTIVE or not node.online or node.id in task.unstartable_nodes:
        return False
    limits = task.spec.constraints
    if limits.target_node and limits.target_node not in (node.id, node.hostname):
        return False
    if (limits.allowed_nodes and node.id not in limits.allowed_nodes) or node.id in limits.excluded_nodes:
        return False
    if not set(limits.capabilities) <= set(node.capabilities):
        return False
    labels = {(label.key, value) for label in node.labels for value in ("", label.value)}
    if limits.node_labels and not any((label.key, label.value) in labels for label in limits.node_labels):
        return False
    return any(offer.type == task.spec.type and offer.count > 0 for offer in node.slots)


def _why_final(draft: Draft, task: Task, new: Task, delay_us: int) -> str | None:
    """Why a failed attempt is the last, in words; None when it is retried."""
    policy = task.spec.retry
    if not policy.retryable:
        return "it is not retryable"
    if new.result.HasField("exit_code") and new.result.exit_code in task.spec.no_retry_codes:
        return f"exit code {new.result.exit_code} is never retried"
    if task.attempt >= policy.max_retries:
        return f"{task.attempt + 1} attempts failed" if task.attempt else "its only attempt failed"
    if policy.max_elapsed_ms:
        end_us = (task.revived_at_us or task.created_at_us) + policy.max_elapsed_ms * 1000
        if draft.now_us + delay_us > end_us:
            return f"a retry would come later than {policy.max_elapsed_ms} ms after submission"
    return None
