"""How attempts end without success, as users are told: the type of the error, and what helps. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from cortex.v1 import types_pb2

Task = types_pb2.Task


class ErrorType(NamedTuple):
    """What scripts may rely on, and a sentence for a person."""

    name: str
    meaning: str
    remedy: str


VALIDATION = ErrorType(
    "validation",
    "Its input is invalid on every node; never retried.",
    "Correct it, for example with `cortex retry --edit`.",
)
NOT_FOUND = ErrorType(
    "not_found",
    "Something it refers to does not exist: an image, a handler, a session, a secret.",
    "Make it available on the node or name another one, then retry.",
)
TIMEOUT = ErrorType("timeout", "It ran longer than its timeout.", "Raise --timeout, or give it less to do.")
OUT_OF_MEMORY = ErrorType(
    "oom",
    "The kernel killed it, since memory ran out.",
    "Reserve more by --request memory=2GiB, its bound in a sandbox or container; --mem asks for a node with more.",
)
SIGNAL = ErrorType(
    "signal",
    "A signal that Cortex did not send killed it.",
    "See its stderr, where a crash often leaves a message.",
)
EXIT = ErrorType(
    "exit", "It ended with an exit code that does not count as success.", "See its output with `cortex logs ID`."
)
RATE_LIMITED = ErrorType(
    "rate_limited",
    "A service it needs limits the rate of requests: put off, costs no attempt.",
    "Wait, or use --limit so that fewer run at once.",
)
INFRASTRUCTURE = ErrorType(
    "infrastructure",
    "A service or program it needs failed or is unavailable: put off, costs no attempt.",
    "Repair that on the node, or choose another node.",
)
CANNOT_START = ErrorType(
    "infrastructure",
    "The node could not start it; another node is tried first, which costs no attempt.",
    "Correct the command, or the node, as the error says.",
)
CANCELLED = ErrorType("cancelled", "Somebody cancelled it.", "`cortex retry` starts it over.")
LOST = ErrorType(
    "lost", "Its machine was lost while it ran.", "See `cortex nodes`; check whether it is safe to run twice."
)
IDLE = ErrorType(
    "idle", "It made no progress for its idle timeout, on every node it ran on.", "Raise --idle-timeout."
)
QUEUE_TIMEOUT = ErrorType(
    "queue_timeout", "It waited longer than its queue timeout.", "See `cortex why ID`, and add or free nodes."
)
DRAINED = ErrorType(
    "drained",
    "Its machine was drained, and it must not be started again automatically.",
    "Retry it if it is safe to run twice.",
)

BY_CAUSE: Mapping[int, ErrorType] = {
    types_pb2.CAUSE_EXIT: EXIT,
    types_pb2.CAUSE_SIGNAL: SIGNAL,
    types_pb2.CAUSE_TIMEOUT: TIMEOUT,
    types_pb2.CAUSE_OUT_OF_MEMORY: OUT_OF_MEMORY,
    types_pb2.CAUSE_CANNOT_START: CANNOT_START,
    types_pb2.CAUSE_CANCEL: CANCELLED,
    types_pb2.CAUSE_MIGRATE: DRAINED,
    types_pb2.CAUSE_LEASE: LOST,
    types_pb2.CAUSE_LOST: LOST,
    types_pb2.CAUSE_QUEUE_TIMEOUT: QUEUE_TIMEOUT,
    types_pb2.CAUSE_DRAINED: DRAINED,
    types_pb2.CAUSE_SUPERVISOR: LOST,
    types_pb2.CAUSE_IDLE: IDLE,
    types_pb2.CAUSE_RATE_LIMITED: RATE_LIMITED,
    types_pb2.CAUSE_VALIDATION: VALIDATION,
    types_pb2.CAUSE_NOT_FOUND: NOT_FOUND,
    types_pb2.CAUSE_INFRASTRUCTURE: INFRASTRUCTURE,
}
"""Every cause but the unknown one."""
_PUT_OFFS = frozenset({types_pb2.CAUSE_RATE_LIMITED, types_pb2.CAUSE_INFRASTRUCTURE})
_SETTLED = frozenset({types_pb2.TASK_STATE_COMPLETED, types_pb2.TASK_STATE_SKIPPED})


def error_type(task: Task) -> ErrorType | None:
    """Of what went wrong last; None when nothing did."""
    if task.state == types_pb2.TASK_STATE_CANCELLED:
        return CANCELLED
    if task.condition_error:
        return VALIDATION
    return BY_CAUSE.get(task.cause) if task.error and task.state not in _SETTLED else None


def type_name(cause: int) -> str:
    """The error type of a cause; empty when that is not known."""
    found = BY_CAUSE.get(cause)
    return found.name if found is not None else ""


def put_off_text(task: Task, now_us: int) -> str:
    """Until when a service's fault puts the task off, and why; empty when none does."""
    due = task.scheduled_after_us
    if task.state != types_pb2.TASK_STATE_QUEUED or task.cause not in _PUT_OFFS or due <= now_us:
        return ""
    seconds = -(-due // 1_000_000) % 86_400
    return f"put off until {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02} UTC, since {task.error}"


def document_text(result: types_pb2.TaskResult) -> str:
    """The JSON that the executor returned, with indents; empty when it returned none."""
    found = document(result)
    return json.dumps(found, indent=2, ensure_ascii=False) if found is not None else ""


def document(result: types_pb2.TaskResult) -> object:
    """As JSON; None when there is none."""
    try:
        return json.loads(result.document) if result.document else None
    except (ValueError, RecursionError):
        return None
