"""What an expression sees of the tasks that its own depends on, and of its workflow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from cortex.v1.types_pb2 import StreamSummary, Task, TaskState, Workflow
from node.conditions.port import Question

# Of all outputs together. A condition on a thousand tasks would carry 32 MiB otherwise.
OUTPUT_LIMIT_BYTES = 1024 * 1024


def question(task: Task, parents: Sequence[Task], workflow: Workflow) -> Question:
    """What `task.condition` comes to, once `parents` have ended."""
    seen: dict[str, Any] = {}
    left = OUTPUT_LIMIT_BYTES
    # Those that the expression names come first, so that theirs are whole.
    for parent in sorted(parents, key=lambda one: one.task_key not in task.condition):
        view = _view(parent, left)
        left -= len(view["stdout"]) + len(view["stderr"])
        seen[parent.task_key] = view
    for template, members in _templates(parents).items():
        seen[template] = [seen[member.task_key] for member in members]
    items = ",".join(f"{json.dumps(item.key)}:{item.value.decode()}" for item in workflow.context)
    inputs = f'{{"parent":{json.dumps(seen)},"workflow":{{"context":{{{items}}}}}}}'
    return Question(task.condition, inputs.encode())


def _view(task: Task, left: int) -> dict[str, Any]:
    state = TaskState.Name(task.state).removeprefix("TASK_STATE_").lower()
    view: dict[str, Any] = {"exitCode": None, "stdout": "", "stderr": "", "state": state, "truncated": False}
    # What is skipped now may have run before.
    if task.state == TaskState.TASK_STATE_SKIPPED or not task.HasField("result"):
        return view
    result = task.result
    if result.HasField("exit_code"):
        view["exitCode"] = result.exit_code
    for name, stream in (("stdout", result.stdout), ("stderr", result.stderr)):
        text, whole = _text(stream, left)
        left -= len(text)
        view[name] = text
        view["truncated"] |= not whole
    return view


def _text(stream: StreamSummary, left: int) -> tuple[str, bool]:
    """Head and tail as text, at most `left` bytes, and whether that is all that was written."""
    data = stream.head + stream.tail
    whole = stream.total_bytes <= len(data) <= left
    return data[: max(left, 0)].decode("utf-8", "replace"), whole


def _templates(parents: Iterable[Task]) -> dict[str, list[Task]]:
    """Instances of maps by the key that they were made from, in order."""
    found: dict[str, list[Task]] = {}
    for parent in sorted(parents, key=lambda one: one.member):
        if parent.template:
            found.setdefault(parent.template, []).append(parent)
    return found
