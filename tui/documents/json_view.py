"""Protobuf -> the JSON documents that scripts rely on: snake_case, absent = null, RFC 3339 times. Pure."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from cortex.v1 import cluster_pb2, types_pb2
from tui.documents import resources_view
from tui.drawing.format import rfc3339
from tui.store import ends
from tui.store.progress import is_starting
from tui.store.score import judged_by

# Head and tail that the log has of a stream.
_KEPT_BYTES = 16 * 1024

Document = dict[str, Any]

NODE_STATES_ONLINE_DECIDES = frozenset(
    {
        types_pb2.NODE_STATE_ACTIVE,
        types_pb2.NODE_STATE_CORDONED,
        types_pb2.NODE_STATE_DRAINING,
        types_pb2.NODE_STATE_DRAINED,
    }
)


def task_state(state: types_pb2.TaskState.ValueType) -> str:
    return types_pb2.TaskState.Name(state).removeprefix("TASK_STATE_").lower()


def task_states() -> list[str]:
    """All state names, as `--state` takes them."""
    return [task_state(types_pb2.TaskState.ValueType(number)) for number in types_pb2.TaskState.values() if number]


def node_state(node: types_pb2.Node) -> str:
    """The node's state, `offline` for a member without a session."""
    if not node.online and node.state in NODE_STATES_ONLINE_DECIDES:
        return "offline"
    return types_pb2.NodeState.Name(node.state).removeprefix("NODE_STATE_").lower()


def node_role(role: types_pb2.NodeRole.ValueType) -> str:
    return types_pb2.NodeRole.Name(role).removeprefix("NODE_ROLE_").lower()


def role_of(row: types_pb2.Node) -> str:
    """What a node is, in a word: its role, or its kind where it is no machine."""
    return row.kind or node_role(row.role)


def event_type(kind: types_pb2.EventType.ValueType) -> str:
    return types_pb2.EventType.Name(kind).removeprefix("EVENT_TYPE_").lower()


def event_types() -> dict[str, types_pb2.EventType.ValueType]:
    """All types of events by their names."""
    kinds = [types_pb2.EventType.ValueType(number) for number in types_pb2.EventType.values() if number]
    return {event_type(kind): kind for kind in kinds}


def event_order(row: types_pb2.Event) -> tuple[int, int]:
    """By log index, then by number within the entry."""
    number = row.id.rpartition("-")[2]
    return row.index, int(number) if number.isdecimal() else 0


def stream_name(kind: cluster_pb2.StreamKind.ValueType) -> str:
    return "stderr" if kind == cluster_pb2.STREAM_KIND_STDERR else "stdout"


def command(spec: types_pb2.TaskSpec) -> list[str] | str | None:
    """The argument list, or the string that `sh -c` gets; None for other types."""
    if spec.argv:
        return [text(part) for part in spec.argv]
    return text(spec.shell_command) if spec.shell_command else None


def task(
    row: types_pb2.Task,
    events: Sequence[types_pb2.Event] | None = None,
    told: types_pb2.TaskProgress | None = None,
) -> Document:
    """One task; `events` None = not asked for. `told`: how far it is, if it runs and said so."""
    result = row.result if row.HasField("result") else None
    starting = is_starting(row, told)
    return {
        "id": row.id,
        "name": row.name or None,
        "type": types_pb2.TaskType.Name(row.spec.type).removeprefix("TASK_TYPE_").lower(),
        "state": task_state(row.state),
        "priority": row.priority,
        "command": command(row.spec),
        "node": row.node or None,
        "attempt": row.attempt,
        "run": row.run,
        "fence": row.fence or None,
        "exit_code": result.exit_code if result is not None and result.HasField("exit_code") else None,
        "signal": (result.signal or None) if result is not None else None,
        "error": row.error or row.condition_error or None,
        "error_type": kind.name if (kind := ends.error_type(row)) is not None else None,
        "remedy": kind.remedy if kind is not None else None,
        "put_offs": row.put_offs,
        "reason": row.reason or row.cancel_reason or None,
        "created_at": time(row.created_at_us),
        "assigned_at": time(row.assigned_at_us),
        "started_at": time(row.started_at_us),
        "ready_at": time(0 if starting else row.ready_at_us),
        "completed_at": time(row.completed_at_us),
        "dead_lettered_at": time(row.dead_lettered_at_us),
        "endpoints": None if starting else {item.name: item.value for item in row.endpoints} or None,
        "progress": progress(told) if told is not None else None,
        "workflow_id": row.workflow_id or None,
        "task_key": row.task_key or None,
        "operation_id": row.operation or None,
        "fingerprint": row.fingerprint or None,
        "blame": blame(row.blame),
        "failures": [_failure(item) for item in row.failures],
        "annotations": [
            {"at": time(item.at_us), "actor": item.actor or None, "text": item.text} for item in row.annotations
        ],
        "placement": _placement(row.placement) if row.HasField("placement") else None,
        "result": _result(result) if result is not None else None,
        "events": None if events is None else [event(item) for item in events],
    }


def tasks(reply: cluster_pb2.ListTasksReply) -> Document:
    told = {item.task: item for item in reply.progress}
    return {
        "tasks": [task(row, told=told.get(row.id)) for row in reply.tasks],
        "total": reply.total,
        "index": reply.index,
        "next_cursor": reply.next_cursor or None,
    }


def progress(row: types_pb2.TaskProgress) -> Document:
    return {
        "current": row.current,
        "total": row.total or None,
        "message": row.message or None,
        "at": time(row.at_us),
    }


def event(row: types_pb2.Event) -> Document:
    return {
        "id": row.id,
        "index": row.index,
        "task": row.task or None,
        "type": event_type(row.type),
        "node": row.node or None,
        "detail": row.detail or None,
        "at": time(row.at_us),
        "actor": row.actor or None,
        "operation": row.operation or None,
        "workflow": row.workflow or None,
    }


def node(view: cluster_pb2.NodeView) -> Document:
    row = view.node
    return {
        "id": row.id,
        "address": row.address or None,
        "state": node_state(row),
        "message": row.message or None,
        "alarm": row.alarm or None,
        "suspect_reason": row.suspect_reason or None,
        "operation": row.operation or None,
        "role": role_of(row),
        "kind": row.kind or None,
        "leader": view.leader,
        "score": view.score if view.scored else None,
        "terms": terms(view.terms) if view.scored else None,
        **({"weights": view.weights} if view.weights else {}),
        "resources": resources_view.resources(view.resources) if view.HasField("resources") else None,
        "benchmark": resources_view.benchmark(view.resources.benchmark)
        if view.resources.HasField("benchmark")
        else None,
        "executors": resources_view.executors(row),
        "sandboxes": resources_view.sandboxes(row),
        "slots": slots(row),
        "running": view.running,
        "assigned": view.assigned,
        "labels": [label(item) for item in row.labels],
        "capabilities": list(row.capabilities),
        "age_s": view.age_us / 1e6 if view.age_us >= 0 else None,
    }


def nodes(reply: cluster_pb2.ListNodesReply) -> Document:
    return {"nodes": [node(view) for view in reply.nodes], "index": reply.index}


def status(reply: cluster_pb2.StatusReply) -> Document:
    return {
        "leader": reply.leader or None,
        "term": reply.term,
        "index": reply.index,
        "applied": reply.applied,
        "voters": [voter(item) for item in reply.voters],
        "learners": [voter(item) | {"role": "learner"} for item in reply.learners],
        "workers": reply.workers,
        "healthy": reply.healthy,
        "level": reply.level,
        "version": reply.version or None,
        "notice": reply.notice or None,
        "alarms": [{"node": item.node, "alarm": item.alarm} for item in reply.alarms],
    }


def voter(row: cluster_pb2.VoterStatus) -> Document:
    return {"id": row.id, "address": row.address or None, "role": "voter", "up": row.up}


def why(reply: cluster_pb2.WhyReply) -> Document:
    weights = judged_by(reply, live=None, then=None)
    return {
        "task": reply.task.id,
        "state": task_state(reply.task.state),
        "nodes": [verdict(item) for item in reply.nodes],
        "index": reply.index,
        "past": reply.past,
        "note": reply.note or None,
        **({"weights": weights} if weights else {}),
    }


def verdict(row: cluster_pb2.NodeVerdict) -> Document:
    return {
        "node": row.node,
        "verdict": "eligible" if row.eligible else "ineligible",
        "score": row.score if row.eligible and row.HasField("terms") else None,
        "terms": terms(row.terms) if row.eligible and row.HasField("terms") else None,
        "reason": row.reason or None,
        "flip": row.flip or None,
    }


def mutation(reply: cluster_pb2.MutationReply) -> Document:
    return {"operation_id": reply.operation_id or None, "index": reply.index, "ids": list(reply.ids)}


def output(kind: cluster_pb2.StreamKind.ValueType, offset: int, data: bytes) -> Document:
    return {"stream": stream_name(kind), "offset": offset, "data_b64": base64.b64encode(data).decode()}


def terms(row: types_pb2.ScoreTerms) -> Document:
    """The points of profile resources; others only where they count. They sum to the score."""
    always = ("cpu", "memory", "disk", "network", "gpu", "tasks", "gaming")
    rest = ("preferred", "suspect", "priority", "capability", "load", "fairness")
    return {name: getattr(row, name) for name in (*always, *rest) if name in always or getattr(row, name)}


def slots(row: types_pb2.Node) -> int:
    """Shell tasks that the node runs at once."""
    return sum(item.count for item in row.slots if item.type == types_pb2.TASK_TYPE_SHELL)


def label(row: types_pb2.Label) -> str:
    return f"{row.key}={row.value}" if row.value else row.key


def time(at_us: int) -> str | None:
    return rfc3339(at_us) if at_us else None


def text(data: bytes) -> str:
    """Bytes as text, with what is not UTF-8 replaced."""
    return data.decode("utf-8", "replace")


def cause(number: types_pb2.Cause.ValueType) -> str | None:
    """Why an attempt ended; None when it is not known."""
    return types_pb2.Cause.Name(number).removeprefix("CAUSE_").lower() if number else None


def blame(number: types_pb2.Blame.ValueType) -> str | None:
    """Whose fault a failure is; None when it is not known."""
    return types_pb2.Blame.Name(number).removeprefix("BLAME_").lower() if number else None


def _failure(row: types_pb2.Failure) -> Document:
    return {
        "run": row.run,
        "attempt": row.attempt,
        "node": row.node or None,
        "cause": cause(row.cause),
        "error_type": ends.type_name(row.cause) or None,
        "exit_code": row.exit_code if row.HasField("exit_code") else None,
        "signal": row.signal or None,
        "fingerprint": row.fingerprint or None,
        "blame": blame(row.blame),
        "error": row.error or None,
        "at": time(row.at_us),
    }


def _placement(row: types_pb2.Placement) -> Document:
    found: Document = {"node": row.node, "score": row.score, "terms": terms(row.terms)}
    return found | {name: text for name, text in (("profile", row.profile), ("weights", row.weights)) if text}


def _result(row: types_pb2.TaskResult) -> Document:
    usage = row.usage
    return {
        "stdout_head": _kept(row.stdout, row.stdout.head),
        "stdout_tail": _kept(row.stdout, row.stdout.tail),
        "stderr_head": _kept(row.stderr, row.stderr.head),
        "stderr_tail": _kept(row.stderr, row.stderr.tail),
        "truncated": _truncated(row.stdout) or _truncated(row.stderr),
        "document": ends.document(row),
        "usage": {
            "wall_us": usage.wall_us,
            "cpu_user_us": usage.cpu_user_us,
            "cpu_system_us": usage.cpu_system_us,
            "max_rss_bytes": usage.max_rss_bytes,
            "read_bytes": usage.read_bytes,
            "written_bytes": usage.written_bytes,
            "peak_memory_bytes": usage.peak_memory_bytes or None,
            "peak_gpu_memory_bytes": usage.peak_gpu_memory_bytes or None,
        }
        if row.HasField("usage")
        else None,
    }


def _kept(row: types_pb2.StreamSummary, part: bytes) -> str | None:
    return None if _is_left_out(row) else text(part)


def _is_left_out(row: types_pb2.StreamSummary) -> bool:
    """Whether head and tail are elsewhere, as those of a task in a list."""
    return bool(row.total_bytes) and not row.head


def _truncated(row: types_pb2.StreamSummary) -> bool:
    """Whether head and tail are less than what was written."""
    kept = _KEPT_BYTES if _is_left_out(row) else len(row.head) + len(row.tail)
    return row.total_bytes > kept
