"""What apply insists on in a workflow, so that no later step meets a DAG that it cannot work with.

As those of node.core.checks, these rules change only with a feature level.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cortex.v1.log_pb2 import WorkflowSubmit, WorkflowTaskDef
from cortex.v1.types_pb2 import ContextItem, FailurePolicy
from node.core import checks, context
from node.core.dag import find_cycle, is_final
from node.core.rules import RULES

TASKS_LIMIT = 1_000
# A thousand tasks with twenty dependencies each. Every edge is looked at once per end, and once per resume.
EDGES_LIMIT = 20_000
CONDITION_LIMIT_BYTES = 4 * 1024
KEY_LIMIT_CHARS = 100
# In ids of members, beside the workflow's own: a dot and the number.
_ID_LIMIT_CHARS = 58
_NAMED = 10

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(\[[0-9]{1,4}\])?")
# What an expression may be spread over.
_BLANKS = str.maketrans("", "", "\t\n\r")


def flaw(submit: WorkflowSubmit) -> str | None:
    """What makes a workflow impossible to work with, in one sentence; None when apply may take it."""
    if not checks.is_id(submit.id) or len(submit.id) > _ID_LIMIT_CHARS:
        return f"The workflow id must be one word of at most {_ID_LIMIT_CHARS} letters, digits, dots and dashes."
    if not 0 < len(submit.tasks) <= TASKS_LIMIT:
        return f"The workflow has {len(submit.tasks)} tasks, it must have 1 to {TASKS_LIMIT}."
    found = checks.text_flaw("name", submit.name) or checks.text_flaw("submit_key", submit.submit_key)
    if found is not None:
        return found
    if not submit.policy or submit.policy not in FailurePolicy.DESCRIPTOR.values_by_number:
        return f"There is no failure policy {submit.policy}."
    edges = sum(len(task.depends_on) for task in submit.tasks)
    if edges > EDGES_LIMIT:
        return f"The workflow has {edges} dependencies, the limit is {EDGES_LIMIT}."
    return (
        context_flaw(submit.context)
        or next((found for task in submit.tasks if (found := _task_flaw(task)) is not None), None)
        or _graph_flaw(submit.tasks)
    )


def context_flaw(items: Sequence[ContextItem]) -> str | None:
    """What is wrong with a context, whose keys must be in order."""
    size = context.size_bytes(items)
    if size > context.LIMIT_BYTES:
        return f"The context has {size} bytes, the limit is {context.LIMIT_BYTES}."
    keys = [item.key for item in items]
    if keys != sorted(set(keys)):
        return "The context's keys are not in order, or one is there twice."
    for item in items:
        found = context.key_flaw(item.key)
        if found is not None:
            return found
        try:
            context.parse(item.value)
        except context.NotJson as error:
            return f"The context's value of {item.key} cannot be used. {error}"
    return None


def key_flaw(key: str) -> str | None:
    """What is wrong with a task's key."""
    if len(key) > KEY_LIMIT_CHARS:
        return f"A task key has {len(key)} characters, the limit is {KEY_LIMIT_CHARS}."
    if not _KEY.fullmatch(key):
        return f"The task key {key!a} must be made of letters, digits, _, - and dots."
    return None


def condition_flaw(condition: str) -> str | None:
    """What is wrong with the text of a condition; what it says is judged when its dependencies have ended."""
    size = len(condition.encode())
    if size > CONDITION_LIMIT_BYTES:
        return f"condition has {size} bytes, the limit is {CONDITION_LIMIT_BYTES}."
    return checks.text_flaw("condition", condition.translate(_BLANKS), CONDITION_LIMIT_BYTES)


def cycle_text(keys: Sequence[str]) -> str:
    """A cycle by its keys, each of which depends on the one before it."""
    shown = [*keys[:_NAMED], f"... ({len(keys) - _NAMED} more) ..."] if len(keys) > _NAMED + 1 else list(keys)
    return " -> ".join([*shown, keys[0]])


def _task_flaw(task: WorkflowTaskDef) -> str | None:
    found = (
        key_flaw(task.key)
        or checks.text_flaw("name", task.name)
        or checks.text_flaw("template", task.template)
        or condition_flaw(task.condition)
        or checks.spec_flaw(task.spec)
    )
    if found is None and not 0 <= task.priority <= checks.PRIORITY_LIMIT:
        found = f"priority is {task.priority}, it goes from 0 to {checks.PRIORITY_LIMIT}."
    if found is None and task.rule not in RULES:
        found = f"There is no rule {task.rule}."
    return f"Task {task.key[:KEY_LIMIT_CHARS]!a}: {found}" if found is not None else None


def _graph_flaw(tasks: Sequence[WorkflowTaskDef]) -> str | None:
    keys = [task.key for task in tasks]
    if len(set(keys)) != len(keys):
        return "Two tasks have the same key."
    for number, task in enumerate(tasks):
        parents = task.depends_on
        if len(set(parents)) != len(parents) or any(parent >= len(tasks) or parent == number for parent in parents):
            return f"Task {task.key!a} depends on itself, on nothing that is there, or on something twice."
        if not is_final(task):
            final = next((parent for parent in parents if is_final(tasks[parent])), None)
            if final is not None:
                return f"Task {task.key!a} depends on {keys[final]!a}, which runs after all others (finally)."
    cycle = find_cycle([task.depends_on for task in tasks])
    if cycle:
        return f"The dependencies go in a circle: {cycle_text([keys[number] for number in cycle])}."
    return None
