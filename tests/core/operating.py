"""Short ways to say what operations do, and to make dead letters."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, OperationAdvance, OperationStart, OperationStop
from cortex.v1.types_pb2 import Operation, OperationKind
from node.core.model import DEAD_LETTER, QUEUED
from tests.core.cluster import Machine, failed

CAUSE = "f00d"

_KINDS: dict[str, OperationKind.ValueType] = {
    "retry": types_pb2.OPERATION_KIND_RETRY,
    "discard": types_pb2.OPERATION_KIND_DISCARD,
    "priority": types_pb2.OPERATION_KIND_PRIORITY,
}


def letter(m: Machine, task_id: str = "", node: str = "n1", fingerprint: str = CAUSE) -> str:
    """A task, new or queued, that fails on a node until it is a dead letter; its id."""
    task_id = task_id or m.submit()
    while m.task(task_id).state == QUEUED:
        command = failed(task_id, m.assign(task_id, node))
        command.task_failed.fingerprint = fingerprint
        assert m.one(command).accepted
    assert m.task(task_id).state == DEAD_LETTER
    return task_id


def start(operation_id: str, kind: OperationKind.ValueType, window_us: int = 0, reason: str = "") -> Command:
    operation = Operation(id=operation_id, kind=kind, reason=reason)
    return Command(operation_start=OperationStart(operation=operation, undo_window_us=window_us))


def bulk(kind: str, operation: str = "op1", window_us: int = 0, reason: str = "", **plan: object) -> Command:
    """Start a retry, discard or priority; `plan` has the fields of a BulkPlan."""
    command = start(operation, _KINDS[kind], window_us, reason)
    command.operation_start.operation.bulk.CopyFrom(types_pb2.BulkPlan(**plan))  # type: ignore[arg-type]
    return command


def retry_all(operation: str = "op1", window_us: int = 0, canary: bool = False) -> Command:
    return bulk("retry", operation, window_us, fingerprint=CAUSE, canary=canary)


def discard(ids: Sequence[str], operation: str = "op1", window_us: int = 0) -> Command:
    return bulk("discard", operation, window_us, "not needed", ids=ids)


def priority(ids: Sequence[str], number: int, operation: str = "op1", window_us: int = 0) -> Command:
    return bulk("priority", operation, window_us, ids=ids, priority=number)


def advance(operation: str, **fields: object) -> Command:
    return Command(operation_advance=OperationAdvance(id=operation, **fields))  # type: ignore[arg-type]


def stop(operation: str, undo: bool = False, reason: str = "") -> Command:
    return Command(operation_stop=OperationStop(id=operation, undo=undo, reason=reason))


def run_on(*nodes: str) -> Command:
    """Start a run of one command on these nodes."""
    command = start("op1", types_pb2.OPERATION_KIND_RUN)
    plan = command.operation_start.operation.run
    plan.nodes.extend(nodes)
    plan.name = "uptime"
    plan.spec.CopyFrom(Machine().submission().spec)
    return command
