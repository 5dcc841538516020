"""Operations, causes of dead letters and runs on many nodes -> the JSON documents that scripts rely on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cortex.v1 import cluster_pb2, types_pb2
from tui.documents import drain_view, json_view
from tui.documents.json_view import Document, text, time
from tui.store.ends import type_name

LIVE = frozenset({types_pb2.OPERATION_STATE_SCHEDULED, types_pb2.OPERATION_STATE_RUNNING})


def kind(row: types_pb2.Operation) -> str:
    return types_pb2.OperationKind.Name(row.kind).removeprefix("OPERATION_KIND_").lower()


def state(row: types_pb2.Operation) -> str:
    return types_pb2.OperationState.Name(row.state).removeprefix("OPERATION_STATE_").lower()


def operation(row: types_pb2.Operation, *, past: bool = False) -> Document:
    """One operation, as a list shows it; `past`: counts may be unknown."""
    counts = {field.name: getattr(row.counts, field.name) for field in row.counts.DESCRIPTOR.fields}
    return {
        "id": row.id,
        "kind": kind(row),
        "state": state(row),
        "counts": None if past and not row.HasField("counts") else counts,
        "not_before": time(row.not_before_us),
        "actor": row.actor or None,
        "reason": row.reason or None,
        "outcome": row.outcome or None,
        "node": row.node or None,
        "cause": row.bulk.fingerprint or None,
        "canary": row.bulk.canary,
        "step": row.bulk.step or None,
        "created_at": time(row.created_at_us),
        "begun_at": time(row.begun_at_us),
        "ended_at": time(row.ended_at_us),
        "deadline": time(row.deadline_us),
    }


def operation_in_full(row: types_pb2.Operation, *, past: bool = False) -> Document:
    """One operation with the tasks or nodes that its plan names."""
    plan: Document = {}
    if row.WhichOneof("plan") == "bulk":
        plan = {"tasks": list(row.bulk.ids)}
        if row.kind == types_pb2.OPERATION_KIND_PRIORITY:
            plan["priority"] = row.bulk.priority
    elif row.WhichOneof("plan") == "run":
        tasks = [f"{row.id}.{number}" for number in range(len(row.run.nodes))]
        plan = {"nodes": list(row.run.nodes), "tasks": tasks, "command": json_view.command(row.run.spec)}
    elif row.WhichOneof("plan") == "drain":
        plan = {"tasks": [*(move.task for move in row.drain.moves), *(item.task for item in row.drain.stuck)]}
        plan |= drain_view.forecast(row)
    return {**operation(row, past=past), **plan}


def operations(reply: cluster_pb2.ListOperationsReply) -> Document:
    return {
        "operations": [operation(row, past=reply.HasField("at")) for row in reply.operations],
        "next_cursor": reply.next_cursor or None,
        "index": reply.index,
    }


def causes(reply: cluster_pb2.ListCausesReply) -> Document:
    """Dead letters by cause, most first; `sample` is the id of the newest."""
    return {"causes": [_cause(row) for row in reply.causes], "index": reply.index}


def _cause(row: cluster_pb2.DeadLetterCause) -> Document:
    return {
        "fingerprint": row.fingerprint or None,
        "count": row.count,
        "first_at": time(row.first_at_us),
        "last_at": time(row.last_at_us),
        "nodes": list(row.nodes),
        "sample": row.sample.id or None,
        "error": row.sample.error or None,
        "error_type": type_name(row.sample.cause) or None,
    }


def output(stream: types_pb2.StreamSummary) -> str:
    """What the log has of a stream: all, or its begin and end."""
    if stream.total_bytes > len(stream.head) + len(stream.tail):
        left_out = stream.total_bytes - len(stream.head) - len(stream.tail)
        return f"{text(stream.head)}\n[{left_out} bytes left out]\n{text(stream.tail)}"
    return text(stream.head + stream.tail)


def _way(task: types_pb2.Task) -> tuple[Any, ...]:
    """What two tasks that ended the same way have in common."""
    result = task.result
    return (
        task.state,
        result.exit_code if result.HasField("exit_code") else None,
        result.signal,
        *(
            (stream.total_bytes, stream.sha256, stream.head, stream.tail)
            for stream in (result.stdout, result.stderr)
        ),
    )


def same_ends(tasks: Iterable[types_pb2.Task]) -> list[list[types_pb2.Task]]:
    """Tasks that ended the same way with the same output together, most first."""
    groups: dict[tuple[Any, ...], list[types_pb2.Task]] = {}
    for task in tasks:
        groups.setdefault(_way(task), []).append(task)
    return sorted(groups.values(), key=lambda group: (-len(group), target(group[0])))


def target(task: types_pb2.Task) -> str:
    """The node that a task was pinned to."""
    return task.spec.constraints.target_node or task.node


def run(reply: cluster_pb2.RunOnNodesReply, groups: Sequence[Sequence[types_pb2.Task]]) -> Document:
    return {
        "operation_id": reply.operation_id,
        "task_ids": list(reply.task_ids),
        "groups": [_group(group) for group in groups],
        "skipped": [{"node": row.node, "reason": row.reason} for row in reply.skipped],
    }


def _group(group: Sequence[types_pb2.Task]) -> Document:
    first = group[0]
    result = first.result
    return {
        "nodes": sorted(target(task) for task in group),
        "exit_code": result.exit_code if result.HasField("exit_code") else None,
        "signal": result.signal or None,
        "state": json_view.task_state(first.state),
        "error": first.error or first.reason or None,
        "stdout": output(result.stdout),
        "stderr": output(result.stderr),
    }
