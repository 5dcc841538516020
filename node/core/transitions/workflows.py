"""Workflows: submit, the verdict on a condition, cancel, resume. What an end leads to stands in advance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import (
    CommandReply,
    WorkflowAdvance,
    WorkflowCancel,
    WorkflowResume,
    WorkflowSubmit,
    WorkflowTaskDef,
)
from cortex.v1.types_pb2 import Task, Workflow
from node.core import checks, rules, workflow_checks
from node.core.dag import is_final
from node.core.faults import Code
from node.core.model import COMPLETED, ENDED, LIVE_WORKFLOW, ON_NODE, PENDING, QUEUED, Table, member_id
from node.core.transitions import batches, keys
from node.core.transitions.advance import Play, react
from node.core.transitions.begin import Submitted, depth_flaw
from node.core.transitions.draft import Draft, Refusal
from node.core.transitions.kinds import Items

# Times that a condition is judged while each of them ends the process that judges it.
CONDITION_TRIES = 8

_ERROR_CHARS = 300
_NAMED = 5


class Affected(NamedTuple):
    """What a resume concerns, by member in order."""

    named: list[int]  # by their key; empty when what did not complete is meant
    revived: list[int]  # ended, to be run or judged again
    held: list[int]  # released before, to wait again
    busy: list[int]  # on a node: the reason to refuse


# Submission


def submit(draft: Draft, command: WorkflowSubmit) -> Submitted | Refusal:
    """The workflow and all its tasks, or nothing."""
    flaw = workflow_checks.flaw(command)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    if command.submit_key:
        earlier = _same_key(draft, command)
        if earlier is not None:
            return earlier
    ids = [member_id(command.id, number) for number in range(len(command.tasks))]
    if draft.workflow(command.id) is not None or any(draft.task(one) is not None for one in ids):
        return Refusal(Code.ALREADY_EXISTS, f"There is a workflow {command.id} already.")
    full = depth_flaw(draft, batches.Reserved(draft).tasks, len(ids))
    if full is not None:
        return full
    if command.submit_key:
        keys.take(draft, command.submit_key, command.id, keys.submission_sha256(command))
    workflow = _create(draft, command)
    only_final = all(map(is_final, command.tasks))
    for number, definition in enumerate(command.tasks):
        waits = definition.depends_on or definition.condition or (is_final(definition) and not only_final)
        _create_member(draft, command, number, PENDING if waits else QUEUED)
    draft.put_row(Table.WORKFLOWS, workflow.id, workflow)
    return Submitted(workflow.id, False)


def _same_key(draft: Draft, command: WorkflowSubmit) -> Submitted | Refusal | None:
    """What an earlier submission under the same key makes of this one; None when the key is free."""
    digest = keys.submission_sha256(command)
    key = command.submit_key
    row = keys.standing(draft, key)
    if row is not None:
        if row.spec_sha256 == digest:
            return Submitted(row.task_id, True)
        return Refusal(Code.ALREADY_EXISTS, f"Submit key {key} stands for {row.task_id}, which is not the same.")
    if batches.Reserved(draft).clashes(key, digest):
        message = f"Submit key {key} belongs to a batch that is being submitted, with another spec."
        return Refusal(Code.ALREADY_EXISTS, message)
    return None


def _create(draft: Draft, command: WorkflowSubmit) -> Workflow:
    workflow = Workflow(
        id=command.id,
        name=command.name,
        state=types_pb2.WORKFLOW_STATE_PENDING,
        run=1,
        context=command.context,
        policy=command.policy,
        max_failures=command.max_failures,
        count=len(command.tasks),
        remaining=len(command.tasks),
        actor=draft.actor,
        submit_key=command.submit_key,
        created_at_us=draft.now_us,
        created_index=draft.index,
        modified_index=draft.index,
    )
    draft.workflow_event(types_pb2.EVENT_TYPE_WORKFLOW_SUBMITTED, workflow, f"{workflow.count} tasks")
    return workflow


def _create_member(
    draft: Draft, command: WorkflowSubmit, number: int, state: types_pb2.TaskState.ValueType
) -> None:
    definition: WorkflowTaskDef = command.tasks[number]
    task = Task(
        id=member_id(command.id, number),
        name=definition.name or definition.key,
        state=state,
        priority=definition.priority,
        spec=definition.spec,
        workflow_id=command.id,
        task_key=definition.key,
        run=1,
        created_at_us=draft.now_us,
        created_index=draft.index,
        modified_index=draft.index,
        actor=draft.actor,
        member=number,
        depends_on=definition.depends_on,
        condition=definition.condition,
        rule=definition.rule,
        can_fail=definition.can_fail,
        template=definition.template,
    )
    if is_final(definition):
        setattr(task, "finally", True)
    if state == QUEUED:
        task.queued_at_us = draft.now_us
    draft.put(None, task)
    draft.event(types_pb2.EVENT_TYPE_SUBMITTED, task)


# A verdict


def advance(draft: Draft, task: Task, command: WorkflowAdvance) -> Refusal | None:
    """Guards: all that it waits for have ended, with the runs, states and results that were judged."""
    workflow = draft.workflow(task.workflow_id)
    if workflow is None or workflow.state not in LIVE_WORKFLOW or not task.condition:
        return Refusal(Code.WRONG_STATE, f"Task {task.id} waits for no verdict.")
    play = Play(draft, workflow)
    if not play.is_ready(task):
        return Refusal(Code.WRONG_STATE, f"Task {task.id} waits for tasks that have not ended.")
    if rules.input_sha256(play.parents(task)) != command.input_sha256:
        return Refusal(Code.WRONG_STATE, f"What the verdict on task {task.id} was based on has changed since.")
    denied = play.denial(task)
    if command.unanswered and denied is None:
        _unanswered(draft, play, task, command)
        react(draft, play)
        return None
    error = checks.UNSAFE.sub("?", command.condition_error)[:_ERROR_CHARS]
    if command.timed_out:
        play.new.condition_timeouts += 1
    if denied is not None:
        play.skip(task, *denied)
    elif error:
        play.skip(task, types_pb2.SKIP_REASON_CONDITION_ERROR, error, error)
    elif command.verdict:
        play.release(task, f"its condition is true, read at index {command.context_index}")
    else:
        text = f"its condition is false, read at index {command.context_index}"
        play.skip(task, types_pb2.SKIP_REASON_CONDITION_FALSE, text)
    react(draft, play)
    return None


def _unanswered(draft: Draft, play: Play, task: Task, command: WorkflowAdvance) -> None:
    """It is judged again, unless it was the last try; said again it changes nothing but the number of tries."""
    text = checks.UNSAFE.sub("?", command.unanswered)[:_ERROR_CHARS]
    count = task.condition_crashes + command.crashed
    if command.crashed and count >= CONDITION_TRIES:
        error = f"judged {count} times, and each time {text}"
        play.skip(task, types_pb2.SKIP_REASON_CONDITION_ERROR, error, error)
        return
    tried = f" (try {count} of {CONDITION_TRIES})" if command.crashed else ""
    reason = f"its condition could not be judged{tried}: {text}"
    if task.reason == reason:
        return
    new = draft.edit(task)
    new.condition_crashes = count
    new.reason = reason
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_CONDITION_UNANSWERED, new, reason)


# Operators


def cancel(draft: Draft, command: WorkflowCancel) -> Refusal | None:
    """At once where nothing runs, else in two phases; what runs finally still does."""
    flaw = checks.reason_flaw(command.reason)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    workflow = draft.workflow(command.id)
    if workflow is None:
        return _no_workflow(command.id)
    if workflow.state not in LIVE_WORKFLOW:
        return Refusal(Code.WRONG_STATE, f"Workflow {workflow.id} has ended: there is nothing to cancel.")
    if workflow.cancel_requested:
        return None
    play = Play(draft, workflow)
    play.new.cancel_requested = True
    play.new.cancel_reason = command.reason
    play.new.reason = command.reason
    play.event(types_pb2.EVENT_TYPE_WORKFLOW_CANCEL_REQUESTED, command.reason)
    play.cancel_open(command.reason or "its workflow was cancelled")
    react(draft, play)
    return None


def resume(draft: Draft, command: WorkflowResume) -> Items | Refusal:
    """Run again what did not complete and all that comes after it, or one task and all that comes after that."""
    workflow = draft.workflow(command.id)
    if workflow is None:
        return _no_workflow(command.id)
    play = Play(draft, workflow)
    found = affected(play, command.key)
    if isinstance(found, Refusal):
        return found
    play.live_again(f"from {command.key}" if command.key else f"{len(found.revived)} tasks that did not complete")
    for number in found.held:
        play.hold(number)
    for number in found.revived:
        play.revive(number)
    play.chosen([*found.revived, *found.held, *found.named], forced=found.named)
    react(draft, play)
    return [CommandReply(accepted=True, id=member_id(workflow.id, number)) for number in found.revived]


def rehearse(draft: Draft, command: WorkflowResume) -> list[str] | Refusal:
    """Ids of the tasks that resume() would revive; nothing is changed."""
    workflow = draft.workflow(command.id)
    if workflow is None:
        return _no_workflow(command.id)
    found = affected(Play(draft, workflow), command.key)
    return found if isinstance(found, Refusal) else [member_id(workflow.id, number) for number in found.revived]


def affected(play: Play, key: str) -> Affected | Refusal:
    """What a resume from `key`, or of what did not complete, concerns; why it is refused otherwise."""
    tasks = {task.member: task for task in play.members()}
    if key:
        named = [task.member for task in tasks.values() if key in (task.task_key, task.template)]
        if not named:
            return Refusal(Code.NOT_FOUND, f"Workflow {play.new.id} has no task {checks.short(key)!a}.")
        start: Sequence[int] = named
    else:
        named = []
        start = [task.member for task in tasks.values() if task.state in ENDED and task.state != COMPLETED]
    descendants = play.descendants(start)
    after = sorted({*start, *descendants})
    busy = [number for number in after if tasks[number].state in ON_NODE]
    if busy:
        words = ", ".join(tasks[number].task_key for number in busy[:_NAMED])
        more = f" and {len(busy) - _NAMED} more" if len(busy) > _NAMED else ""
        return Refusal(Code.WRONG_STATE, f"On a node still, and to be run again: {words}{more}.")
    revived = [number for number in after if tasks[number].state in ENDED]
    if not revived:
        what = f"{key} has not ended" if key else "every task that has ended completed"
        return Refusal(Code.WRONG_STATE, f"There is nothing to resume: {what}.")
    # An instance of the key that waits in the queue has nothing to wait for that is run again.
    return Affected(named, revived, [number for number in descendants if tasks[number].state == QUEUED], busy)


# The past


def trim(draft: Draft, before_us: int, workflow_id: str) -> int:
    """Forget a workflow that ended before that, with all its tasks; how many those were, 0 when it stays."""
    workflow = draft.workflow(workflow_id)
    if workflow is None or workflow.state in LIVE_WORKFLOW or workflow.completed_at_us >= before_us:
        return 0
    if workflow.submit_key:
        if draft.now_us < workflow.completed_at_us + keys.SUBMIT_KEY_KEPT_US:
            return 0
        row = draft.submit_key(workflow.submit_key)
        if row is not None and row.task_id == workflow.id:
            draft.put_row(Table.SUBMIT_KEYS, row.key, None)
    for number in range(workflow.count):
        task = draft.task(member_id(workflow.id, number))
        if task is not None:
            draft.delete_task(task)
    draft.put_row(Table.WORKFLOWS, workflow.id, None)
    return workflow.count


def trimmed_tasks(draft: Draft, workflow_ids: Iterable[str]) -> int:
    """How many tasks a trim of these workflows may take along."""
    rows = map(draft.workflow, set(workflow_ids))
    return sum(workflow.count for workflow in rows if workflow is not None)


def retry_refusal(draft: Draft, task: Task) -> Refusal | None:
    """Why a member may not be retried now: its workflow is being stopped."""
    workflow = draft.workflow(task.workflow_id)
    if workflow is None or workflow.state not in LIVE_WORKFLOW or is_final(task) or task.state not in ENDED:
        return None
    if not (workflow.stopping or workflow.cancel_requested):
        return None
    return Refusal(
        Code.WRONG_STATE, f"Workflow {workflow.id} is being stopped: retry task {task.id} when it has ended."
    )


def _no_workflow(workflow_id: str) -> Refusal:
    return Refusal(Code.NOT_FOUND, f"There is no workflow {checks.short(workflow_id)}.")
