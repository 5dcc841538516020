"""From the submission to the start: submit, assign, started, recalled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import BatchPart, TaskAssign, TaskRecalled, TaskStarted, TaskSubmit
from cortex.v1.types_pb2 import Node, NodeState, Task, TaskSpec
from node.core import checks, settings
from node.core.faults import Code
from node.core.model import ASSIGNED, PREFETCH_LIMIT, QUEUED, RUNNING
from node.core.sandbox import level_name, offers_level
from node.core.transitions import batches, keys, restarts, services
from node.core.transitions.draft import Draft, Refusal
from node.core.transitions.end import cancelled, requeue

# How the answers begin to those submissions that others of their batch took along.
NOTHING = "Nothing of the batch was accepted."


class Submitted(NamedTuple):
    id: str
    deduplicated: bool


class _Claims:
    """What the submissions of one entry have claimed so far, and what batches have reserved."""

    def __init__(self, reserved: batches.Reserved) -> None:
        self.reserved = reserved
        self.ids: set[str] = set()
        self.keys: dict[str, tuple[TaskSubmit, bytes]] = {}


def submit(
    draft: Draft, submits: Sequence[TaskSubmit], part: BatchPart | None = None, operation: str = ""
) -> list[Submitted | Refusal]:
    """All submissions of an entry, all or none; one answer each.

    `part` says which part of a batch they are, `operation` which operation makes them.
    """
    claims = _Claims(batches.Reserved(draft))
    flaw = batches.part_flaw(draft, part, len(submits)) if part is not None else None
    if flaw is not None:
        return _refused(draft, [flaw] * len(submits), "")
    first = part.first if part is not None else 0
    count = part.count if part is not None else len(submits)
    answers = [_check(draft, claims, submission) for submission in submits]
    for line, answer in enumerate(answers, first + 1):
        if isinstance(answer, Refusal):
            more = f"Line {line}: " if count > 1 else ""
            rest = Refusal(answer.code, f"{NOTHING} {more}{answer.message}")
            return _refused(draft, [one if isinstance(one, Refusal) else rest for one in answers], more)
    created = sum(not answer.deduplicated for answer in answers if isinstance(answer, Submitted))
    new = _new_of_batch(draft, claims.reserved, part) if part is not None and not first else created
    flaw = new if isinstance(new, Refusal) else None if first else depth_flaw(draft, claims.reserved.tasks, new)
    if flaw is not None:
        return _refused(draft, [flaw] * len(submits), "")
    for submission, answer in zip(submits, answers, strict=True):
        if isinstance(answer, Submitted) and not answer.deduplicated:
            _create(draft, submission, operation)
    if part is not None and isinstance(new, int):
        batches.advance(draft, part, len(submits), created, new)
    return answers


def _refused(draft: Draft, answers: list[Submitted | Refusal], more: str) -> list[Submitted | Refusal]:
    first = next(answer for answer in answers if isinstance(answer, Refusal))
    draft.cluster_event(types_pb2.EVENT_TYPE_REJECTED, f"task_submit refused: {more}{first.message}")
    return answers


def _new_of_batch(draft: Draft, reserved: batches.Reserved, part: BatchPart) -> int | Refusal:
    """How many tasks a whole batch will become; a refusal if a key of it stands for something else."""
    new = part.count
    claimed: dict[str, tuple[int, bytes]] = {}
    for item in part.keys:
        key, digest = item.key, item.spec_sha256
        earlier = claimed.get(key)
        if earlier is not None:
            if earlier[1] != digest:
                message = f"Submit key {key} is that of line {earlier[0]}, with another spec."
                return Refusal(Code.ALREADY_EXISTS, f"{NOTHING} Line {item.line}: {message}")
            new -= 1
            continue
        claimed[key] = (item.line, digest)
        row = keys.standing(draft, key)
        if row is not None:
            if row.spec_sha256 != digest:
                return _clash(key, row.task_id, "", f"{NOTHING} Line {item.line}: ")
            new -= 1
        elif reserved.clashes(key, digest):
            return _reserved(key, f"{NOTHING} Line {item.line}: ")
    return max(new, 0)


def _check(draft: Draft, claims: _Claims, submission: TaskSubmit) -> Submitted | Refusal:
    flaw = checks.flaw(submission)
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    if submission.submit_key:
        earlier = _same_key(draft, claims, submission)
        if earlier is not None:
            return earlier
    if submission.id in claims.ids or draft.task(submission.id) is not None:
        return Refusal(Code.ALREADY_EXISTS, f"There is a task {submission.id} already.")
    claims.ids.add(submission.id)
    return Submitted(submission.id, False)


def _same_key(draft: Draft, claims: _Claims, submission: TaskSubmit) -> Submitted | Refusal | None:
    """What an earlier submission under the same key makes of this one; None when the key is free."""
    digest = keys.submission_sha256(submission)
    key = submission.submit_key
    claimed = claims.keys.get(key)
    if claimed is not None:
        holder, holder_digest = claimed[0], claimed[1]
        if holder_digest == digest:
            return Submitted(holder.id, True)
        return _clash(key, holder.id, _difference(holder, submission))
    row = keys.standing(draft, key)
    task = draft.task(row.task_id) if row is not None else None
    if row is not None and task is None and draft.workflow(row.task_id) is not None:
        return Refusal(Code.ALREADY_EXISTS, f"Submit key {key} stands for workflow {row.task_id}.")
    if row is None or task is None:
        if claims.reserved.clashes(key, digest):
            return _reserved(key)
        claims.keys[key] = (submission, digest)
        return None
    if row.spec_sha256 == digest:
        return Submitted(task.id, True)
    return _clash(key, task.id, _difference(task, submission))


def _clash(key: str, task_id: str, difference: str, where: str = "") -> Refusal:
    more = f" ({difference})" if difference else ""
    return Refusal(
        Code.ALREADY_EXISTS, f"{where}Submit key {key} stands for task {task_id} with another spec{more}."
    )


def _reserved(key: str, where: str = "") -> Refusal:
    message = f"{where}Submit key {key} belongs to a batch that is being submitted, with another spec."
    return Refusal(Code.ALREADY_EXISTS, message)


def _difference(earlier: Task | TaskSubmit, now: TaskSubmit) -> str:
    """Field by field, in words that are equal on all replicas (a message's own text form is not)."""
    parts = []
    if earlier.name != now.name:
        parts.append(f"name {earlier.name} -> {now.name}")
    if earlier.priority != now.priority:
        parts.append(f"priority {earlier.priority} -> {now.priority}")
    for name in TaskSpec.DESCRIPTOR.fields_by_name:
        old, new = getattr(earlier.spec, name), getattr(now.spec, name)
        if old != new:
            plain = isinstance(old, int | bytes | str) and len(f"{old!a}{new!a}") <= 80
            parts.append(f"{name} {old!a} -> {new!a}" if plain else name)
    return ", ".join(parts) or "its spec was edited since"


def depth_flaw(draft: Draft, coming: int, new: int) -> Refusal | None:
    """Why `new` tasks more would be too many, beside those that live and `coming` ones that batches reserve."""
    limit = settings.max_queue_depth(draft.setting)
    depth = draft.live_count() + coming
    if not new or depth + new <= limit:
        return None
    more = f" ({coming} of them are still to come of batches)" if coming else ""
    return Refusal(
        Code.QUEUE_FULL,
        f"{depth} tasks have not ended{more} and {new} more would pass max_queue_depth, which is {limit}.",
    )


def _create(draft: Draft, submission: TaskSubmit, operation: str) -> None:
    task = Task()
    task.id = submission.id
    task.name = submission.name
    task.state = QUEUED
    task.priority = submission.priority
    task.spec.CopyFrom(submission.spec)
    task.run = 1
    task.created_at_us = task.queued_at_us = draft.now_us
    task.created_index = task.modified_index = draft.index
    if draft.actor:
        task.actor = draft.actor
    task.operation = operation
    if submission.submit_key:
        task.submit_key = submission.submit_key
        keys.take(draft, task.submit_key, task.id, keys.submission_sha256(submission))
    draft.put(None, task)
    draft.event(types_pb2.EVENT_TYPE_SUBMITTED, task)


def assign(draft: Draft, task: Task, command: TaskAssign) -> Refusal | None:
    """Guards: due; node active, online and not cordoned; room, reservations, locks and limits still fit."""
    if task.id in draft.assigned:
        return Refusal(Code.WRONG_STATE, "An entry assigns a task once: its index is the fence.")
    if task.scheduled_after_us > draft.now_us:
        return Refusal(Code.WRONG_STATE, f"It is not due for {task.scheduled_after_us - draft.now_us} µs.")
    placement = command.placement
    node_id = placement.node
    node = draft.node(node_id)
    if node is None:
        return Refusal(Code.NOT_FOUND, f"There is no node {node_id[:64]}.")
    spec = task.spec
    obstacle = _node_obstacle(draft, spec, node) or _shared_obstacle(draft, spec)
    if obstacle is not None:
        return Refusal(Code.WRONG_STATE, obstacle)
    new = draft.edit(task)
    new.state = ASSIGNED
    new.node = node_id
    new.fence = draft.index
    new.assigned_at_us = draft.now_us
    new.started_at_us = 0
    new.scheduled_after_us = 0
    new.escalated_at_us = 0
    new.dispatches = task.dispatches + 1
    new.placement.CopyFrom(placement)
    draft.assigned.add(task.id)
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_ASSIGNED, new, placement.reason)
    return None


def _node_obstacle(draft: Draft, spec: TaskSpec, node: Node) -> str | None:
    if node.state != types_pb2.NODE_STATE_ACTIVE:
        return f"Node {node.id} is {NodeState.Name(node.state).removeprefix('NODE_STATE_').lower()}."
    if not node.online:
        return f"Node {node.id} is offline."
    slots = draft.slots(node).get(spec.type, 0)
    if not slots:
        return f"Node {node.id} has no slots for this type of task."
    if spec.sandbox > types_pb2.SANDBOX_LEVEL_NONE and not offers_level(node, spec.sandbox):
        return f"Node {node.id} does not offer sandbox level {level_name(spec.sandbox)}."
    use = draft.use(node.id)
    if use.counts.get(spec.type, 0) >= slots + PREFETCH_LIMIT:
        return f"Node {node.id} holds its {slots} slots + {PREFETCH_LIMIT} tasks already."
    if not spec.HasField("requests"):
        return None
    wanted, capacity = spec.requests, node.capacity
    for name, free, need in (
        ("cpu_millis", capacity.cpu_millis - use.cpu_millis, wanted.cpu_millis),
        ("memory_bytes", capacity.memory_bytes - use.memory_bytes, wanted.memory_bytes),
        ("gpus", capacity.gpus - use.gpus, wanted.gpus),
    ):
        if need > 0 and need > free:
            return f"Node {node.id} has {max(free, 0)} {name} free, the task reserves {need}."
    return None


def _shared_obstacle(draft: Draft, spec: TaskSpec) -> str | None:
    if locks := spec.locks:
        for lock in locks:
            holder = draft.lock_holder(lock)
            if holder is not None:
                return f"Lock {lock} is held by task {holder}."
    if spec.limit_count and draft.limit_use(spec.limit_key) >= spec.limit_count:
        return f"{spec.limit_count} tasks of limit key {spec.limit_key} run already."
    return None


def started(draft: Draft, task: Task, command: TaskStarted) -> Refusal | None:
    """Repeated by a worker that came back it changes nothing, but that the task is not lost any more."""
    if task.state == RUNNING and not task.lost_at_us:
        return None
    new = draft.edit(task)
    if task.state == ASSIGNED:
        new.state = RUNNING
        new.started_at_us = draft.now_us
        restarts.begins(draft, new)
        services.begun(new)
    if task.lost_at_us:
        new.lost_at_us = 0
        new.reason = ""
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_STARTED, new, "its worker is back" if task.lost_at_us else "")
    return None


def recalled(draft: Draft, task: Task, command: TaskRecalled) -> Refusal | None:
    """The worker's acknowledgement that it never started: nothing is counted."""
    if task.cancel_requested:
        cancelled(draft, task, "")
        return None
    new = draft.edit(task)
    requeue(draft, new)
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_RECALLED, new)
    return None
