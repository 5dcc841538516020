"""How the tasks of an operation ended, counted by the entries that end them."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Operation, Task
from node.core import operations
from node.core.model import COMPLETED, DEAD_LETTER, FAILED, LIVE_OPERATION, Table
from node.core.transitions.draft import Draft


def count_end(draft: Draft, task: Task) -> None:
    """A task that an operation created or revived ended as `task` says; counted after the operation's end, too.

    What a workflow ends is not named by the entry, so that an operation that has ended may not be known then.
    """
    old = draft.operation_row(task.operation)
    if old is None or (task.workflow_id and old.state not in LIVE_OPERATION):
        return
    new = edit(draft, old)
    if task.state == COMPLETED:
        new.counts.succeeded += 1
    else:
        new.counts.failed += 1
        same = task.state in (DEAD_LETTER, FAILED) and task.fingerprint == new.bulk.fingerprint
        if new.bulk.fingerprint and same:
            new.counts.failed_same += 1
    counts, runs = new.counts, new.kind == types_pb2.OPERATION_KIND_RUN and new.state == operations.RUNNING
    if runs and counts.succeeded + counts.failed == counts.issued:
        close(draft, new, operations.DONE, f"{counts.succeeded} of {counts.issued} nodes succeeded")
    put(draft, new)


def edit(draft: Draft, old: Operation) -> Operation:
    """A copy to be changed and put()."""
    new = Operation()
    new.CopyFrom(old)
    new.modified_index = draft.index
    return new


def put(draft: Draft, new: Operation) -> None:
    draft.put_row(Table.OPERATIONS, new.id, new)


def close(
    draft: Draft, new: Operation, state: types_pb2.OperationState.ValueType, outcome: str, by: str = ""
) -> None:
    """End `new`, with its event; put() is the caller's."""
    new.state = state
    new.ended_at_us = draft.now_us
    new.outcome = outcome[: operations.OUTCOME_LIMIT_CHARS]
    undone = state == operations.UNDONE
    kind = types_pb2.EVENT_TYPE_OPERATION_UNDONE if undone else types_pb2.EVENT_TYPE_OPERATION_ENDED
    word = f"{operations.title(new)} {operations.state_name(state)}"
    with draft.on_behalf(new):
        # Who undid or stopped it need not be who asked for it.
        draft.actor = by or draft.actor
        draft.cluster_event(kind, f"{word}: {outcome}" if outcome else word, node=new.node)
