"""One command on many nodes: when the operation is over."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Operation
from node.core.model import Key, Table
from tests.core.cluster import cluster, complete, fenced
from tests.core.operating import bulk
from tests.core.test_queue_depth import run_on


def test_a_run_waits_for_a_task_that_was_retried_while_its_machine_was_lost() -> None:
    m = cluster()
    command = run_on(m, "n1")
    command.operation_start.operation.run.spec.on_lost = types_pb2.ON_LOST_HOLD
    assert m.one(command).accepted
    assert m.one(fenced("task_lost", "op1.0", m.assign("op1.0"))).accepted
    assert m.one(bulk("retry", "op2", ids=["op1.0"])).accepted
    assert m.one(complete("op1.0", m.assign("op1.0"))).accepted
    run = m.rows[Key(Table.OPERATIONS, "op1")]
    assert isinstance(run, Operation)
    assert (run.state, run.counts.succeeded) == (types_pb2.OPERATION_STATE_DONE, 1)
