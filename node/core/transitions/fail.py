"""How attempts end without success, and tasks leave their nodes: failed, stopped, lost, migrate, escalate."""

from __future__ import annotations

from contextlib import nullcontext

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import TaskEscalate, TaskFailed, TaskLost, TaskMigrate, TaskStopped
from cortex.v1.types_pb2 import Failure, Task, TaskResult
from node.core import checks
from node.core.exclusion import placeable
from node.core.faults import Code
from node.core.filters import ask_of, node_info
from node.core.model import DEAD_LETTER, FAILED, RUNNING
from node.core.transitions import restarts, services
from node.core.transitions.draft import Draft, Refusal
from node.core.transitions.end import (
    cancelled,
    clip_error,
    end,
    end_as_dead_letter,
    exit_text,
    is_success,
    note_end,
    requeue,
)

# Machines that may be lost under one run before it is suspected of killing them.
LOSS_LIMIT = 5
# Failures of one run that cost no attempt, since their node is to blame.
EXCUSED_LIMIT = 1
# Times that a run may be taken from an idle agent before that costs an attempt.
IDLE_LIMIT = 5
RETRY_DELAY_LIMIT_US = 7 * 24 * 3600 * 1_000_000

_FINGERPRINT_CHARS = 64
_FAILURES_KEPT = 10
_FAILURE_CHARS = 200
_FAILURES = frozenset(
    {
        types_pb2.CAUSE_UNSPECIFIED,
        types_pb2.CAUSE_EXIT,
        types_pb2.CAUSE_SIGNAL,
        types_pb2.CAUSE_TIMEOUT,
        types_pb2.CAUSE_OUT_OF_MEMORY,
        types_pb2.CAUSE_CANNOT_START,
        types_pb2.CAUSE_SUPERVISOR,
        types_pb2.CAUSE_RATE_LIMITED,
        types_pb2.CAUSE_VALIDATION,
        types_pb2.CAUSE_NOT_FOUND,
        types_pb2.CAUSE_INFRASTRUCTURE,
    }
)
_STOPS = frozenset({types_pb2.CAUSE_CANCEL, types_pb2.CAUSE_MIGRATE, types_pb2.CAUSE_LEASE, types_pb2.CAUSE_IDLE})
_IDLE = types_pb2.CAUSE_IDLE


def failed(draft: Draft, task: Task, command: TaskFailed) -> Refusal | None:
    """Decides in the same entry: cancelled if that was asked for, else retried or ended."""
    result = command.result
    if command.cause not in _FAILURES:
        return Refusal(Code.INVALID, f"Cause {command.cause} is not the cause of a failure.")
    cause = command.cause or (types_pb2.CAUSE_SIGNAL if result.signal else types_pb2.CAUSE_EXIT)
    if cause == types_pb2.CAUSE_EXIT and is_success(task.spec, result):
        return Refusal(Code.INVALID, f"{exit_text(result)} is a success of this task.")
    if task.cancel_requested:
        cancelled(draft, task, "", result)
        return None
    if cause == types_pb2.CAUSE_SUPERVISOR:
        _loses(draft, task, command.error or "its supervisor ended under it", result)
        return None
    new = draft.edit(task)
    new.result.CopyFrom(result)
    new.cause = cause
    new.error = clip_error(command.error) or exit_text(result)
    new.fingerprint = command.fingerprint[:_FINGERPRINT_CHARS]
    new.blame = command.blame
    _record(draft, new)
    if cause == types_pb2.CAUSE_CANNOT_START:
        if _excluded(draft, task, new):
            requeue(draft, new)
            draft.put(task, new)
            draft.event(types_pb2.EVENT_TYPE_FAILED, new, f"{task.node} cannot start it: {new.error}")
            draft.event(types_pb2.EVENT_TYPE_RETRIED, new, "elsewhere, nothing counted")
            return None
    else:
        note_end(draft, task, new, result)
    restarts.over(new)
    put_off_us = min(max(command.put_off_us, 0), RETRY_DELAY_LIMIT_US)
    if _why_never(draft, task, new, put_off_us) is None and services.put_off(draft, task, new, put_off_us):
        return None
    if _excused(draft, task, new):
        draft.put(task, new)
        draft.event(types_pb2.EVENT_TYPE_FAILED, new, f"{task.node} is to blame, nothing counted: {new.error}")
        draft.event(types_pb2.EVENT_TYPE_RETRIED, new, "elsewhere, nothing counted")
        return None
    _count(draft, task, new, min(max(command.retry_delay_us, 0), RETRY_DELAY_LIMIT_US))
    return None


def stopped(draft: Draft, task: Task, command: TaskStopped) -> Refusal | None:
    """The worker ended it under orders: cancelled if that was asked for, else queued with nothing counted.

    What a drain or a shutdown had to end, and may not begin again, is a dead letter.
    """
    if command.cause not in _STOPS:
        return Refusal(Code.INVALID, f"Cause {command.cause} is not the cause of a stop.")
    if task.cancel_requested:
        cancelled(draft, task, "", command.result)
        return None
    if command.cause == types_pb2.CAUSE_CANCEL:
        return Refusal(Code.WRONG_STATE, "Nobody asked to cancel it.")
    new = draft.edit(task)
    new.result.CopyFrom(command.result)
    if task.drain_ends:
        _drained(draft, task, new)
    elif command.cause == types_pb2.CAUSE_MIGRATE and _may_not_begin_again(task, command.result):
        _drained(draft, task, new, f"{task.node} was shut down under it")
    elif command.cause == types_pb2.CAUSE_LEASE:
        reason = f"its lease on {task.node} ended"
        restarts.interrupted(draft, task, new, reason)
        requeue(draft, new)
        draft.put(task, new)
        draft.event(types_pb2.EVENT_TYPE_LOST, new, f"{reason}; nothing counted")
    else:
        _moves(draft, task, new, f"stopped on {task.node}")
    return None


def migrate(draft: Draft, task: Task, command: TaskMigrate) -> Refusal | None:
    """Ask its node to end it, in two phases as a cancel; a cancel that was asked for before stands."""
    flaw = checks.reason_flaw(command.reason)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    if command.fence and command.fence != task.fence:
        return Refusal(Code.STALE_FENCE, f"Fence {command.fence} of task {task.id} does not hold any more.")
    asker = draft.operation_row(command.operation) if command.operation else None
    if command.operation and (asker is None or asker.state != types_pb2.OPERATION_STATE_RUNNING):
        return Refusal(Code.WRONG_STATE, "The drain that asks for it is over.")
    if command.dead_letter and (asker is None or (task.spec.retry.retryable and not task.lost_at_us)):
        return Refusal(Code.WRONG_STATE, "Only a drain makes a dead letter, and only of what may not move.")
    if asker is not None and task.lost_at_us and not task.cancel_requested and command.dead_letter:
        with draft.on_behalf(asker):
            _drained(draft, task, draft.edit(task))
        return None
    if task.lost_at_us:
        return Refusal(Code.WRONG_STATE, "Its machine is lost: retry or cancel it.")
    if task.cancel_requested or (task.migrate_requested and task.drain_ends >= command.dead_letter):
        return None
    new = draft.edit(task)
    new.migrate_requested = True
    new.drain_ends = command.dead_letter
    if command.idle:
        new.cause = _IDLE
    elif task.cause == _IDLE:
        new.ClearField("cause")
    draft.put(task, new)
    with draft.on_behalf(asker) if asker is not None else nullcontext():
        draft.event(types_pb2.EVENT_TYPE_MIGRATE_REQUESTED, new, command.reason)
    return None


def lost(draft: Draft, task: Task, command: TaskLost) -> Refusal | None:
    """Hold and wait tasks stay where they are, marked; others are queued until they lost LOSS_LIMIT machines."""
    if task.cancel_requested:
        cancelled(draft, task, "")
        return None
    reason = clip_error(command.reason)
    # What no lease ends may run on there.
    if task.drain_ends:
        _drained(draft, task, draft.edit(task))
        return None
    if task.migrate_requested and task.spec.on_lost != types_pb2.ON_LOST_HOLD:
        _moves(draft, task, draft.edit(task), reason)
        return None
    _loses(draft, task, reason, None)
    return None


def escalate(draft: Draft, task: Task, command: TaskEscalate) -> Refusal | None:
    """A person should look at it: once per assignment."""
    if task.escalated_at_us:
        return None
    new = draft.edit(task)
    new.escalated_at_us = draft.now_us
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_ESCALATED, new, command.reason)
    return None


def _drained(draft: Draft, task: Task, new: Task, error: str = "") -> None:
    """It may not move, and its node had to be empty: a dead letter."""
    new.cause = types_pb2.CAUSE_DRAINED
    new.error = error or f"{task.node} had to be empty at the deadline of its drain"
    restarts.over(new)
    end_as_dead_letter(draft, new, "its machine was lost" if task.lost_at_us else "it is not retryable")
    _record(draft, new)
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_DEAD_LETTERED, new, new.error)


def _moves(draft: Draft, task: Task, new: Task, detail: str) -> None:
    """It left its node because it was asked to: queued with nothing counted, but for what is idle everywhere."""
    idle = task.migrate_requested and task.cause == _IDLE
    restarts.interrupted(draft, task, new, "its agent was idle" if idle else "it was moved")
    if not idle:
        requeue(draft, new)
        draft.put(task, new)
        draft.event(types_pb2.EVENT_TYPE_MIGRATED, new, detail)
        return
    new.error = f"made no progress for {task.spec.idle_timeout_ms // 1000} s on {task.node}"
    new.idles = task.idles + 1
    _record(draft, new)
    if new.idles > IDLE_LIMIT:
        restarts.over(new)
        _count(draft, task, new, 0)
        return
    _avoid(draft, task, new)
    requeue(draft, new)
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_REASSIGNED, new, f"{new.error}; nothing counted")


def _loses(draft: Draft, task: Task, reason: str, result: TaskResult | None) -> None:
    if task.spec.on_lost in (types_pb2.ON_LOST_HOLD, types_pb2.ON_LOST_WAIT):
        if task.lost_at_us:
            return
        new = draft.edit(task)
        new.lost_at_us = draft.now_us
        new.reason = reason
        draft.put(task, new)
        why = reason.rstrip(".") or "its machine is lost"
        draft.event(types_pb2.EVENT_TYPE_LOST, new, f"{why}; it waits for an operator")
        return
    new = draft.edit(task)
    if result is not None:
        new.result.CopyFrom(result)
    new.losses = task.losses + 1
    new.cause = types_pb2.CAUSE_LOST
    new.error = reason
    _record(draft, new)
    restarts.interrupted(draft, task, new, reason or "its machine is lost")
    if new.losses < LOSS_LIMIT:
        requeue(draft, new)
    else:
        end_as_dead_letter(draft, new, f"it lost {new.losses} machines")
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_LOST, new, f"loss {new.losses} of {LOSS_LIMIT}: {reason}")
    if new.state == DEAD_LETTER:
        draft.event(types_pb2.EVENT_TYPE_DEAD_LETTERED, new, new.reason)


def _count(draft: Draft, task: Task, new: Task, delay_us: int) -> None:
    """The attempt is used up: `new` is retried after `delay_us`, or ends."""
    final = _why_never(draft, task, new, delay_us) or _why_exhausted(task)
    if final is None:
        new.attempt = task.attempt + 1
        requeue(draft, new, delay_us)
    elif task.can_fail or task.spec.on_exhausted == types_pb2.ON_EXHAUSTED_FAIL:
        end(draft, new, FAILED)
        new.reason = final
    else:
        end_as_dead_letter(draft, new, final)
    draft.put(task, new)
    attempts = f"attempt {task.attempt + 1} of {task.spec.retry.max_retries + 1}"
    draft.event(types_pb2.EVENT_TYPE_FAILED, new, f"{attempts}: {new.error}")
    if final is None:
        draft.event(types_pb2.EVENT_TYPE_RETRIED, new, f"in {delay_us // 1000} ms")
    elif new.state == DEAD_LETTER:
        draft.event(types_pb2.EVENT_TYPE_DEAD_LETTERED, new, final)


def _record(draft: Draft, new: Task) -> None:
    """Keep this failure with the run's last ones."""
    failure = Failure(
        run=new.run,
        attempt=new.attempt,
        node=new.node,
        cause=new.cause,
        at_us=draft.now_us,
        error=new.error[:_FAILURE_CHARS],
    )
    if new.cause not in (types_pb2.CAUSE_LOST, _IDLE):
        failure.fingerprint, failure.blame, failure.signal = new.fingerprint, new.blame, new.result.signal
        if new.result.HasField("exit_code"):
            failure.exit_code = new.result.exit_code
    new.failures.append(failure)
    del new.failures[:-_FAILURES_KEPT]


# Judgements


def _may_not_begin_again(task: Task, result: TaskResult) -> bool:
    """Whether it has begun, and is to do so once."""
    return not task.spec.retry.retryable and (task.state == RUNNING or result.started_at_us > 0)


def _excused(draft: Draft, task: Task, new: Task) -> bool:
    """Whether its node takes the blame; `new` then waits for another one with nothing counted.

    What is never to be retried is not begun again for that either.
    """
    blamed = new.blame == types_pb2.BLAME_NODE and task.excused < EXCUSED_LIMIT
    if new.cause == types_pb2.CAUSE_CANNOT_START:
        return False  # that has its own rule
    if not blamed or not task.spec.retry.max_retries or _why_never(draft, task, new, 0) is not None:
        return False
    if not _avoid(draft, task, new):
        return False
    new.excused = task.excused + 1
    requeue(draft, new)
    return True


def _avoid(draft: Draft, task: Task, new: Task) -> bool:
    """Keep `new` away from the node that it left, if another may run it; whether that is so."""
    if task.node in new.unstartable_nodes:
        return False
    new.unstartable_nodes.append(task.node)
    if _may_run_elsewhere(draft, new):
        return True
    new.unstartable_nodes.remove(task.node)
    return False


def _excluded(draft: Draft, task: Task, new: Task) -> bool:
    """Exclude the node that could not start it. True when nothing is counted: once, if another may try."""
    first = not task.unstartable_nodes
    if task.node not in task.unstartable_nodes:
        new.unstartable_nodes.append(task.node)
    if _may_run_elsewhere(draft, new):
        return first
    # Nobody is left to try: let all of them try again, and let it count.
    del new.unstartable_nodes[:]
    return False


def _may_run_elsewhere(draft: Draft, task: Task) -> bool:
    """Whether another node could be asked to start it, as far as the log knows."""
    ask = ask_of(task.spec)
    others = (node_info(node, None) for node in draft.nodes() if node.id not in task.unstartable_nodes)
    return any(placeable(info, ask) for info in others)


def _why_never(draft: Draft, task: Task, new: Task, delay_us: int) -> str | None:
    """Why no failure of this kind is retried, in words; None when it may be."""
    policy = task.spec.retry
    if not policy.retryable:
        return "it is not retryable"
    if new.result.HasField("exit_code") and new.result.exit_code in task.spec.no_retry_codes and new.cause != _IDLE:
        return f"exit code {new.result.exit_code} is never retried"
    if new.cause == types_pb2.CAUSE_VALIDATION:
        return "what it was given cannot be right anywhere"
    if policy.max_elapsed_ms:
        end_us = (task.revived_at_us or task.created_at_us) + policy.max_elapsed_ms * 1000
        if draft.now_us + delay_us > end_us:
            return f"a retry would come later than {policy.max_elapsed_ms} ms after submission"
    return None


def _why_exhausted(task: Task) -> str | None:
    if task.attempt < task.spec.retry.max_retries:
        return None
    return f"{task.attempt + 1} attempts failed" if task.attempt else "its only attempt failed"
