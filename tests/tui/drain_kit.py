"""A drain in the fake cluster: what its rehearsal says, and how it goes on."""

from __future__ import annotations

from cortex.v1 import types_pb2
from tests.tui.console import Session
from tests.tui.fake_source import FakeSource

RENDER, BACKUP, INDEX = "01jx00000001", "01jx00000002", "01jx00000003"


def drained(up_without: int = 2) -> FakeSource:
    """A cluster whose anvil would lose one task to a drain, and move two."""
    source = FakeSource()
    for key in (BACKUP, INDEX):
        source.tasks[key].node = "anvil"
    source.rehearsal = types_pb2.DrainPlan(
        moves=[
            types_pb2.DrainMove(task=BACKUP, to="cedar", reason="Best score with a free slot: 80.0 points."),
            types_pb2.DrainMove(task=INDEX, reason="It waits in the queue until a node has room for it."),
        ],
        stuck=[
            types_pb2.DrainStuck(task=RENDER, dead_letter=True, reason="It is not retryable: it runs on, and then "
                                 "becomes a dead letter at the deadline."),
        ],
        quorum=types_pb2.QuorumEffect(voters=3, up=3, needed=2, up_without=up_without, ok=up_without >= 2),
        eta_ms=12_500,
        former_state=types_pb2.NODE_STATE_ACTIVE,
    )  # fmt: skip
    return source


def told(session: Session, state: types_pb2.OperationState.ValueType, **fields: object) -> types_pb2.Operation:
    """The drain goes on to `state`."""
    known = session.source.operations[f"op-{len(session.source.calls)}"]
    row = types_pb2.Operation()
    row.CopyFrom(known)
    row.state, row.modified_index = state, known.modified_index + 1
    for name, value in fields.items():
        setattr(row, name, value)
    return row


def moved(session: Session, key: str, node: str, state: types_pb2.TaskState.ValueType) -> types_pb2.Task:
    task = types_pb2.Task()
    task.CopyFrom(session.source.tasks[key])
    task.node, task.state, task.modified_index = node, state, 9000
    return task
