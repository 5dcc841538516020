"""What an operator writes on a task that changes nothing of what it does: its priority, annotations."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import TaskAnnotate, TaskPriority
from cortex.v1.types_pb2 import Task
from node.core import checks
from node.core.faults import Code
from node.core.transitions.draft import Draft, Refusal

ANNOTATIONS_LIMIT = 20
ANNOTATION_LIMIT_CHARS = 500


def set_priority(draft: Draft, task: Task, command: TaskPriority) -> Refusal | None:
    """It takes its new place in the queue; said again it changes nothing."""
    if not 0 <= command.priority <= checks.PRIORITY_LIMIT:
        return Refusal(Code.INVALID, f"priority goes from 0 to {checks.PRIORITY_LIMIT}.")
    if task.priority == command.priority:
        return None
    new = draft.edit(task)
    new.priority = command.priority
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_PRIORITY_CHANGED, new, f"{task.priority} -> {new.priority}")
    return None


def annotate(draft: Draft, task: Task, command: TaskAnnotate) -> Refusal | None:
    """Keep a line of an operator with the task, the last ANNOTATIONS_LIMIT of them."""
    text = command.text.strip()
    flaw = checks.text_flaw("annotation", text, ANNOTATION_LIMIT_CHARS) if text else "The annotation is empty."
    if flaw is not None:
        return Refusal(Code.INVALID, flaw)
    new = draft.edit(task)
    new.annotations.add(at_us=draft.now_us, actor=draft.actor, text=text)
    del new.annotations[:-ANNOTATIONS_LIMIT]
    draft.put(task, new)
    draft.event(types_pb2.EVENT_TYPE_ANNOTATED, new, text)
    return None
