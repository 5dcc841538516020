"""What is said of operations outside of the log, too: limits, the steps of a canary, which letters are meant."""

from __future__ import annotations

from collections.abc import Iterable

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Operation, OperationKind, OperationState, Task
from node.core.model import DEAD_LETTER, ENDED

UNDO_WINDOW_US = 10_000_000
WINDOW_LIMIT_US = 3600 * 1_000_000
# Ids that a plan may name, and those that one entry acts upon beside a start.
IDS_LIMIT = 1000
PAGE_LIMIT = 500
LIVE_LIMIT = 1000
# Workflows whose tasks one entry may revive: each of them needs all its tasks in memory.
WORKFLOWS_LIMIT = 4
OUTCOME_LIMIT_CHARS = 300

SCHEDULED = types_pb2.OPERATION_STATE_SCHEDULED
RUNNING = types_pb2.OPERATION_STATE_RUNNING
DONE = types_pb2.OPERATION_STATE_DONE
STOPPED = types_pb2.OPERATION_STATE_STOPPED
UNDONE = types_pb2.OPERATION_STATE_UNDONE
REFUSED = types_pb2.OPERATION_STATE_REFUSED


def kind_name(kind: OperationKind.ValueType) -> str:
    """A kind as users write it."""
    try:
        return OperationKind.Name(kind).removeprefix("OPERATION_KIND_").lower()
    except ValueError:
        return str(kind)


def title(operation: Operation) -> str:
    """What an operation is about, in a few words."""
    kind, bulk = kind_name(operation.kind), operation.bulk
    if operation.WhichOneof("plan") == "run":
        return f"{kind} of {operation.run.name} on {len(operation.run.nodes)} nodes"
    if operation.WhichOneof("plan") != "bulk":
        return f"{kind} of {operation.node}" if operation.node else kind
    what = f"cause {bulk.fingerprint}" if bulk.fingerprint else f"{len(bulk.ids)} tasks"
    if len(bulk.ids) == 1:
        what = f"task {bulk.ids[0]}"
    if operation.kind == OperationKind.OPERATION_KIND_PRIORITY:
        kind = f"{kind} {bulk.priority}"
    return f"{'canary ' if bulk.canary else ''}{kind} of {what}"


def state_name(state: OperationState.ValueType) -> str:
    """A state as users write it."""
    try:
        return OperationState.Name(state).removeprefix("OPERATION_STATE_").lower()
    except ValueError:
        return str(state)


def spans_too_much(tasks: Iterable[Task | None]) -> bool:
    """Whether tasks belong to more workflows than one entry may revive."""
    return len({task.workflow_id for task in tasks if task is not None} - {""}) > WORKFLOWS_LIMIT


def canary_ends(total: int) -> tuple[int, int, int]:
    """How many of `total` are under way when step 1, 2 and 3 are through: 1, then 10 %, then all."""
    return min(1, total), min(max(2, -(-total // 10)), total), total


def is_meant(operation: Operation, task: Task) -> bool:
    """Whether a task is one that the operator saw: it has not ended again since the commit."""
    if operation.bulk.fingerprint and (task.state != DEAD_LETTER or task.fingerprint != operation.bulk.fingerprint):
        return False
    if task.state not in ENDED or task.completed_at_us < operation.created_at_us:
        return True
    # Entries of one microsecond.
    same = task.completed_at_us == operation.created_at_us
    return same and task.modified_index <= operation.bulk.through_index
