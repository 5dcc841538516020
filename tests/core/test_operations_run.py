"""One command on many nodes: what is made, when the operation is over."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, CommandReply
from cortex.v1.types_pb2 import Operation
from node.core.faults import Code
from node.core.model import Key, Table
from node.core.operations import DONE, RUNNING
from tests.core.cluster import Machine, assign, cluster, complete, fenced
from tests.core.operating import bulk, run_on


def row(m: Machine) -> Operation:
    found = m.rows[Key(Table.OPERATIONS, "op1")]
    assert isinstance(found, Operation)
    return found


def test_a_run_makes_one_pinned_task_per_node() -> None:
    m = cluster(nodes=2)
    reply = m.one(run_on("n1", "n2"))
    assert [item.id for item in reply.items] == ["op1.0", "op1.1"]
    assert m.task("op1.1").spec.constraints.target_node == "n2"
    assert (row(m).state, row(m).counts.issued) == (RUNNING, 2)
    for number in (0, 1):
        task_id = f"op1.{number}"
        m.one(assign(task_id, f"n{number + 1}"))
        fence = m.state.index
        m.one(fenced("task_started", task_id, fence))
        m.one(complete(task_id, fence))
    assert (row(m).state, row(m).counts.succeeded) == (DONE, 2)
    assert row(m).outcome == "2 of 2 nodes succeeded"


def test_a_run_needs_nodes_that_work() -> None:
    m = cluster(nodes=2)
    assert m.one(run_on("n1", "n3")).code == Code.NOT_FOUND
    assert m.one(run_on("n1", "n1")).code == Code.INVALID
    assert m.one(run_on()).code == Code.INVALID
    m.one(Command(node_cordon={"id": "n2", "cordoned": True}))
    refused: CommandReply = m.one(run_on("n1", "n2"))
    assert (refused.code, refused.message) == (Code.WRONG_STATE, "Node n2 is cordoned: nothing was run.")
    m.one(Command(node_leave={"id": "n1"}))
    assert "offline" in m.one(run_on("n1")).message
    assert not m.state.tasks


def test_a_run_has_no_undo_window() -> None:
    """It would be kept for a begin that makes no task."""
    m = cluster()
    command = run_on("n1")
    command.operation_start.undo_window_us = 1
    refused = m.one(command)
    assert refused.code == Code.INVALID
    assert refused.message == "A run begins at once: there is no undo window for it, so nothing was run."
    assert not m.state.operations
    assert not m.state.tasks


def test_a_run_has_a_bound_on_its_size() -> None:
    m = cluster(nodes=40)
    command = run_on(*(f"n{number}" for number in range(1, 41)))
    command.operation_start.operation.run.spec.argv.append(b"x" * 200_000)
    assert m.one(command).accepted
    command.operation_start.operation.run.spec.argv.append(b"x" * 20_000)
    command.operation_start.operation.id = "op2"
    assert m.one(command).code == Code.TOO_LARGE


def test_a_run_waits_for_a_task_that_was_retried_while_its_machine_was_lost() -> None:
    m = cluster()
    command = run_on("n1")
    command.operation_start.operation.run.spec.on_lost = types_pb2.ON_LOST_HOLD
    assert m.one(command).accepted
    assert m.one(fenced("task_lost", "op1.0", m.assign("op1.0"))).accepted
    assert m.one(bulk("retry", "op2", ids=["op1.0"])).accepted
    assert m.one(complete("op1.0", m.assign("op1.0"))).accepted
    assert (row(m).state, row(m).counts.succeeded) == (DONE, 1)
