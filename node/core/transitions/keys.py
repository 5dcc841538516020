"""Submit keys: which task each of them stands for, from its submission until 24 h after its end."""

from __future__ import annotations

import hashlib

from cortex.v1.log_pb2 import TaskSubmit
from cortex.v1.types_pb2 import SubmitKey, Task
from node.core.model import Table
from node.core.transitions import batches
from node.core.transitions.draft import Draft

SUBMIT_KEY_KEPT_US = 24 * 3600 * 1_000_000


def submission_sha256(submission: TaskSubmit) -> bytes:
    """Hash of all that makes two submissions under one key the same: everything but the id."""
    bare = TaskSubmit()
    bare.CopyFrom(submission)
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


def ended(draft: Draft, task: Task) -> None:
    """Count the time of a task's key from its end."""
    row = draft.submit_key(task.submit_key)
    if row is not None and row.task_id == task.id:
        new = SubmitKey()
        new.CopyFrom(row)
        new.ended_at_us = task.completed_at_us
        draft.put_row(Table.SUBMIT_KEYS, row.key, new)


def revived(draft: Draft, task: Task) -> None:
    """A task that is retried has its key again, unless that stands, or is to stand, for another by now."""
    row = standing(draft, task.submit_key)
    if row is not None:
        if row.task_id == task.id:
            take(draft, row.key, task.id, row.spec_sha256)
        return
    same = TaskSubmit(name=task.name, priority=task.priority, spec=task.spec, submit_key=task.submit_key)
    digest = submission_sha256(same)
    if not batches.Reserved(draft).clashes(task.submit_key, digest):
        take(draft, task.submit_key, task.id, digest)
