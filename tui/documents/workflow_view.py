"""Workflows as JSON documents and as rows of a table in topological order. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.documents import json_view
from tui.documents.json_view import Document
from tui.store.view import ENDED as ENDED_TASKS

ENDED = frozenset(
    {types_pb2.WORKFLOW_STATE_COMPLETED, types_pb2.WORKFLOW_STATE_FAILED, types_pb2.WORKFLOW_STATE_CANCELLED}
)
MAX_INDENT = 8
MAX_NEEDS = 6


def workflow_state(state: types_pb2.WorkflowState.ValueType) -> str:
    return types_pb2.WorkflowState.Name(state).removeprefix("WORKFLOW_STATE_").lower()


def workflow_states() -> list[str]:
    """All state names, as `--state` takes them."""
    states = types_pb2.WorkflowState
    return [workflow_state(states.ValueType(number)) for number in states.values() if number]


def rule_name(rule: types_pb2.Rule.ValueType) -> str:
    return types_pb2.Rule.Name(rule).removeprefix("RULE_").lower() if rule else ""


def policy_name(row: types_pb2.Workflow) -> str:
    """As `continue`, or `max_failures 3`."""
    policy = row.policy or types_pb2.FAILURE_POLICY_CONTINUE
    name = types_pb2.FailurePolicy.Name(policy).removeprefix("FAILURE_POLICY_").lower()
    return f"{name} {row.max_failures}" if policy == types_pb2.FAILURE_POLICY_MAX_FAILURES else name


def reason(row: types_pb2.Task) -> str:
    """Why it was skipped (condition_false, upstream_failed ...), else why it ended or waits."""
    if row.state == types_pb2.TASK_STATE_SKIPPED and row.skip_reason:
        return types_pb2.SkipReason.Name(row.skip_reason).removeprefix("SKIP_REASON_").lower()
    return row.error or row.reason or row.cancel_reason


def reason_text(row: types_pb2.Task) -> str:
    """The reason, of a skip with what it was about: `upstream_failed: lint failed`."""
    word, detail = reason(row), row.condition_error or row.reason
    skipped = row.state == types_pb2.TASK_STATE_SKIPPED and row.skip_reason
    return f"{word}: {detail}" if skipped and detail else word


def show(status: cluster_pb2.WorkflowStatus) -> Document:
    """One workflow with its tasks by key."""
    row = status.workflow
    return {
        "id": row.id,
        "name": row.name,
        "state": workflow_state(row.state),
        "run": row.run,
        "context": {item.key: context_value(item) for item in row.context},
        "tasks": {task.task_key: _task(task) for task in status.tasks},
    }


def listing(reply: cluster_pb2.ListWorkflowsReply) -> Document:
    return {
        "workflows": [summary(row) for row in reply.workflows],
        "total": reply.total,
        "index": reply.index,
        "next_cursor": reply.next_cursor or None,
    }


def summary(row: types_pb2.Workflow) -> Document:
    """One workflow without its tasks."""
    return {
        "id": row.id,
        "name": row.name,
        "state": workflow_state(row.state),
        "run": row.run,
        "tasks": row.count,
        "remaining": row.remaining,
        "failures": row.failures,
        "reason": row.reason or row.cancel_reason or None,
        "created_at": json_view.time(row.created_at_us),
        "started_at": json_view.time(row.started_at_us),
        "completed_at": json_view.time(row.completed_at_us),
    }


def context_value(item: types_pb2.ContextItem) -> object:
    """The JSON value; what is none as text."""
    try:
        value: object = json.loads(item.value)
    except ValueError:
        value = json_view.text(item.value)
    return value


def exit_code(row: types_pb2.Task) -> int | None:
    """Of an ended task; None when it was killed, never ran, or runs again."""
    ended = row.state in ENDED_TASKS and row.HasField("result") and row.result.HasField("exit_code")
    return row.result.exit_code if ended else None


def exit_text(row: types_pb2.Task) -> str:
    """`0`, `sig 9`, or `-` for what did not end by itself."""
    code = exit_code(row)
    if code is None and row.state in ENDED_TASKS and row.HasField("result") and row.result.signal:
        return f"sig {row.result.signal}"
    return "-" if code is None else str(code)


def _task(row: types_pb2.Task) -> Document:
    return {
        "task_id": row.id,
        "state": json_view.task_state(row.state),
        "reason": reason(row) or None,
        "rule": rule_name(row.rule) or None,
        "exit_code": exit_code(row),
        "attempt": row.attempt,
        "run": row.run,
    }


def topological(tasks: Iterable[types_pb2.Task]) -> list[tuple[int, types_pb2.Task]]:
    """Depth and task, each after what it depends on; tasks without dependencies at depth 0, `finally` ones last."""
    rows = sorted(tasks, key=lambda row: row.member)
    waiting = {row.member: row for row in rows}
    depths: dict[int, int] = {}
    for row in rows:
        _sink(row, waiting, depths)
    return sorted(
        ((depths[row.member], row) for row in rows),
        key=lambda found: (getattr(found[1], "finally"), found[0], found[1].member),
    )


def _sink(first: types_pb2.Task, rows: dict[int, types_pb2.Task], depths: dict[int, int]) -> None:
    """Finds the depth of a task and of all it depends on; without recursion, for chains are long."""
    stack = [first.member]
    open_ones: set[int] = set()
    while stack:
        member = stack[-1]
        if member in depths:
            stack.pop()
            continue
        needs = [need for need in rows[member].depends_on if need in rows]
        unknown = [need for need in needs if need not in depths and need not in open_ones]
        if unknown:
            open_ones.add(member)
            stack.extend(unknown)
            continue
        depths[member] = 1 + max((depths.get(need, 0) for need in needs), default=-1)
        stack.pop()


def indented(depth: int, key: str) -> str:
    """The key, further to the right the deeper it stands."""
    if not depth:
        return key
    return "  " * (min(depth, MAX_INDENT) - 1) + "└ " + key


def needs(row: types_pb2.Task, by_member: dict[int, types_pb2.Task]) -> str:
    """Keys of what it depends on; of a map with all its tasks, the map's key."""
    if getattr(row, "finally") and not row.depends_on:
        return "(all others)"
    keys = _folded([by_member[member] for member in row.depends_on if member in by_member])
    more = len(keys) - MAX_NEEDS
    return ", ".join(keys[:MAX_NEEDS]) + (f" and {more} more" if more > 0 else "")


def _folded(rows: Sequence[types_pb2.Task]) -> list[str]:
    found: dict[str, int] = {}
    for row in rows:
        name = row.template or row.task_key
        found[name] = found.get(name, 0) + 1
    templates = {row.template for row in rows if row.template}
    return [f"{name}[{count}]" if name in templates else name for name, count in found.items()]
