"""What apply still checks of an entry, so that no row ever holds what later steps cannot work with.

These rules are part of the state machine: they change only with a feature level. What a request may ask for is
narrower and stands in node.core.validate.
"""

from __future__ import annotations

import re

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import TaskSubmit
from cortex.v1.types_pb2 import Node, NodeRole, TaskSpec, TaskType

SPEC_LIMIT_BYTES = 256 * 1024
NODE_LIMIT_BYTES = 64 * 1024
NAME_LIMIT_CHARS = 200
REASON_LIMIT_CHARS = 200
LIST_LIMIT = 100
PRIORITY_LIMIT = 10
DURATION_LIMIT_MS = 365 * 24 * 3600 * 1000
AMOUNT_LIMIT = 1 << 50
# Leader time is kept below this, so that sums of times fit into 64 bits.
TIME_LIMIT_US = 1 << 61

SUPPORTED = frozenset(
    {
        types_pb2.TASK_TYPE_SHELL,
        types_pb2.TASK_TYPE_NOOP,
        types_pb2.TASK_TYPE_CONTAINER,
        types_pb2.TASK_TYPE_SUBAGENT,
        types_pb2.TASK_TYPE_CLAUDE_RELAY,
        types_pb2.TASK_TYPE_K8S_JOB,
        types_pb2.TASK_TYPE_SERVICE,
        types_pb2.TASK_TYPE_PYTHON,
    }
)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# C0, DEL, C1, bidi controls and line separators: what can forge a line or a direction on a terminal or in a log.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def is_id(text: str) -> bool:
    """Whether `text` may be an id of a task, node or label key."""
    return _ID.fullmatch(text) is not None


def short(text: str) -> str:
    """At most as much of `text` as a reason may have."""
    return text[:REASON_LIMIT_CHARS]


def text_flaw(field: str, text: str, limit: int = NAME_LIMIT_CHARS) -> str | None:
    """What is wrong with a line of text, in one sentence."""
    if len(text) > limit:
        return f"{field} has {len(text)} characters, the limit is {limit}."
    found = UNSAFE.search(text)
    if found is not None:
        return f"{field} has the control character U+{ord(found[0]):04X} at position {found.start()}."
    return None


def reason_flaw(text: str) -> str | None:
    return text_flaw("reason", text, REASON_LIMIT_CHARS) if text else None


def request_flaw(client: str, request_id: str) -> str | None:
    return text_flaw("client", client) or text_flaw("request_id", request_id)


def flaw(submit: TaskSubmit) -> str | None:
    """What makes a submission impossible to work with, in one sentence; None when apply may take it."""
    if not is_id(submit.id):
        return f"The task id must match {_ID.pattern}."
    if not 0 <= submit.priority <= PRIORITY_LIMIT:
        return f"priority is {submit.priority}, it goes from 0 to {PRIORITY_LIMIT}."
    found = text_flaw("name", submit.name)
    if found is None and submit.submit_key:
        found = text_flaw("submit_key", submit.submit_key)
    return found or spec_flaw(submit.spec)


def spec_flaw(spec: TaskSpec) -> str | None:
    """As flaw(), of a spec alone."""
    if spec.type not in SUPPORTED:
        return f"Tasks of type {spec.type} are not supported yet."
    if spec.ByteSize() > SPEC_LIMIT_BYTES:
        return f"The spec has {spec.ByteSize()} bytes, the limit is {SPEC_LIMIT_BYTES}."
    if spec.type == types_pb2.TASK_TYPE_SHELL and bool(spec.argv) == bool(spec.shell_command):
        return "A shell task has either argv or shell_command."
    if spec.queue_timeout_ms < 0 or spec.queue_timeout_ms > DURATION_LIMIT_MS:
        return f"queue_timeout_ms goes from 0 to {DURATION_LIMIT_MS}."
    if spec.limit_count < 0:
        return "limit_count must not be negative."
    if spec.HasField("requests"):
        for name in ("cpu_millis", "memory_bytes", "gpus"):
            if not 0 <= getattr(spec.requests, name) <= AMOUNT_LIMIT:
                return f"requests.{name} goes from 0 to {AMOUNT_LIMIT}."
    if spec.locks and len(set(spec.locks)) != len(spec.locks):
        return "locks names a lock twice."
    return None


def node_flaw(node: Node) -> str | None:
    """What makes a node's description impossible to work with."""
    if not is_id(node.id):
        return f"The node id must match {_ID.pattern}."
    if node.ByteSize() > NODE_LIMIT_BYTES:
        return f"The node's description has {node.ByteSize()} bytes, the limit is {NODE_LIMIT_BYTES}."
    words = [node.hostname, node.address, node.incarnation, node.version, *node.capabilities]
    words += [text for label in node.labels for text in (label.key, label.value)]
    for word in words:
        found = text_flaw("A word of the node's description", word, 300)
        if found is not None:
            return found
    if len(node.labels) > LIST_LIMIT or len(node.capabilities) > LIST_LIMIT:
        return f"A node has at most {LIST_LIMIT} labels and as many capabilities."
    types = [offer.type for offer in node.slots]
    if len(set(types)) != len(types) or any(not 0 <= offer.count <= 100_000 for offer in node.slots):
        return "slots names each type once, with a count from 0 to 100000."
    if node.role not in NodeRole.values():
        return f"There is no node role {node.role}."
    for name in ("cpu_millis", "memory_bytes", "gpus"):
        if not 0 <= getattr(node.capacity, name) <= AMOUNT_LIMIT:
            return f"capacity.{name} goes from 0 to {AMOUNT_LIMIT}."
    return None


def type_name(value: TaskType.ValueType) -> str:
    """A task type as users write it."""
    try:
        return TaskType.Name(value).removeprefix("TASK_TYPE_").lower()
    except ValueError:
        return str(value)
