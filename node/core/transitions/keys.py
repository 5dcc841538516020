"""Submit keys: which task or workflow each of them stands for, from its submission until 24 h after its end."""

from __future__ import annotations

import hashlib

from cortex.v1.log_pb2 import TaskSubmit, WorkflowSubmit
from cortex.v1.types_pb2 import SubmitKey, Task, Workflow
from node.core.model import Table
from node.core.transitions import batches
from node.core.transitions.draft import Draft

SUBMIT_KEY_KEPT_US = 24 * 3600 * 1_000_000


def submission_sha256(submission: TaskSubmit | WorkflowSubmit) -> bytes:
    """Hash of all that makes two submissions under one key the same: everything but the id."""
    bare = type(submission)()
    bare.CopyFrom(submission)  # type: ignore[arg-type]
    bare.ClearField("id")
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).digest()


def standing(draft: Draft, key: str) -> SubmitKey | None:
    """The row of a key that stands for a task, whether or not one that has expired was trimmed already."""
    row = draft.submit_key(key)
    return None if row is None or is_expired(draft, row) else row


def is_expired(draft: Draft, row: SubmitKey) -> bool:
    return bool(row.ended_at_us) and draft.now_us >= row.ended_at_us + SUBMIT_KEY_KEPT_US


def take(draft: Draft, key: str, task_id: str, spec_sha256: bytes) -> None:
    """From now on `key` stands for this task."""
    draft.put_row(Table.SUBMIT_KEYS, key, SubmitKey(key=key, task_id=task_id, spec_sha256=spec_sha256))


def ended(draft: Draft, holder: Task | Workflow) -> None:
    """Count the time of a task's or workflow's key from its end."""
    row = draft.submit_key(holder.submit_key)
    if row is not None and row.task_id == holder.id:
        new = SubmitKey()
        new.CopyFrom(row)
        new.ended_at_us = holder.completed_at_us
        draft.put_row(Table.SUBMIT_KEYS, row.key, new)


def revived(draft: Draft, holder: Task | Workflow) -> None:
    """What lives again has its key again, unless that stands, or is to stand, for another by now.

    Of a workflow nothing is kept that the key could be compared with: it has it again only within the 24 h.
    """
    row = standing(draft, holder.submit_key)
    if row is not None and row.task_id == holder.id:
        take(draft, row.key, holder.id, row.spec_sha256)
    if row is None and isinstance(holder, Task):
        _take_again(draft, holder)


def _take_again(draft: Draft, task: Task) -> None:
    same = TaskSubmit(name=task.name, priority=task.priority, spec=task.spec, submit_key=task.submit_key)
    digest = submission_sha256(same)
    if not batches.Reserved(draft).clashes(task.submit_key, digest):
        take(draft, task.submit_key, task.id, digest)
