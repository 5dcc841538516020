"""Drains as the log carries them out: the node's states, what apply itself refuses, what ends at the deadline."""

from __future__ import annotations

from typing import Any

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import (
    Command,
    CommandReply,
    NodeAlarm,
    NodeCordon,
    NodeJoin,
    NodeLeave,
    OperationAdvance,
    OperationStart,
    OperationStop,
    TaskMigrate,
)
from cortex.v1.types_pb2 import Cause, DrainPlan, DrainStuck, EventType, Node, NodeState, Operation, RetryPolicy
from node.core.faults import Code
from node.core.model import CANCELLED, COMPLETED, DEAD_LETTER, QUEUED, RUNNING, Key, Table
from tests.core.cluster import Machine, cancel, cluster, complete, fenced

WINDOW_US = 10_000_000
ACTIVE, CORDONED = NodeState.NODE_STATE_ACTIVE, NodeState.NODE_STATE_CORDONED
DRAINING, DRAINED = NodeState.NODE_STATE_DRAINING, NodeState.NODE_STATE_DRAINED
ONCE = RetryPolicy(retryable=False)


def plan_of(node: str = "n1", **fields: Any) -> DrainPlan:
    stuck = [DrainStuck(task=task_id, dead_letter=True) for task_id in fields.pop("stuck", ())]
    return DrainPlan(id="p1", node=node, deadline_ms=fields.pop("deadline_ms", 60_000), stuck=stuck, **fields)


def start(operation_id: str = "op1", window_us: int = WINDOW_US, **plan: Any) -> Command:
    made = plan_of(**plan)
    kind = types_pb2.OPERATION_KIND_DRAIN
    operation = Operation(id=operation_id, kind=kind, node=made.node, drain=made)
    return Command(operation_start=OperationStart(operation=operation, undo_window_us=window_us))


def advance(operation_id: str = "op1", **fields: Any) -> Command:
    return Command(operation_advance=OperationAdvance(id=operation_id, **fields))


def begin(m: Machine, **fields: Any) -> CommandReply:
    return m.one(advance(begin=True, **fields), after_us=WINDOW_US + 1)


def move(task_id: str, *, dead_letter: bool = False, operation: str = "op1") -> Command:
    return Command(task_migrate=TaskMigrate(id=task_id, operation=operation, dead_letter=dead_letter))


def cordon(cordoned: bool, node: str = "n1", message: str = "") -> Command:
    return Command(node_cordon=NodeCordon(id=node, cordoned=cordoned, message=message))


def row(m: Machine, operation_id: str = "op1") -> Operation:
    found = m.rows[Key(Table.OPERATIONS, operation_id)]
    assert isinstance(found, Operation)
    return found


def kinds(m: Machine) -> list[int]:
    return [event.type for event in m.last_events()]


def draining(**plan: Any) -> tuple[Machine, str, int]:
    """A node under a drain that has begun, with one running task; its id and fence."""
    m = cluster()
    spec = {"retry": ONCE} if plan.pop("once", False) else {}
    task_id, fence = m.running(**spec)  # type: ignore[arg-type]
    stuck = [task_id] if spec else []
    assert m.one(start(stuck=stuck, **plan)).accepted
    assert begin(m).accepted
    return m, task_id, fence


def test_a_drain_cordons_drains_and_leaves_the_node_drained() -> None:
    m = cluster()
    task_id, fence = m.running()
    committed_us = m.now_us + 1000
    assert m.one(start(message="new disk")).accepted
    assert (m.node("n1").state, m.node("n1").operation, m.node("n1").message) == (CORDONED, "op1", "new disk")
    assert row(m).deadline_us == committed_us + 60_000_000
    assert EventType.EVENT_TYPE_NODE_CORDONED in kinds(m)
    assert m.one(advance(begin=True)).code == Code.WRONG_STATE
    assert begin(m).accepted
    assert m.node("n1").state == DRAINING
    assert EventType.EVENT_TYPE_NODE_DRAINING in kinds(m)
    assert m.one(move(task_id)).accepted
    assert [(event.type, event.operation) for event in m.last_events()] == [
        (EventType.EVENT_TYPE_MIGRATE_REQUESTED, "op1")
    ]
    assert m.one(advance(done=True)).message == "Node n1 holds 1 tasks yet."
    assert m.one(fenced("task_stopped", task_id, fence, cause=Cause.CAUSE_MIGRATE)).accepted
    task = m.task(task_id)
    assert (task.state, task.attempt, task.losses) == (QUEUED, 0, 0)
    assert m.one(advance(done=True, outcome="fine")).accepted
    assert (m.node("n1").state, m.node("n1").operation) == (DRAINED, "")
    assert EventType.EVENT_TYPE_NODE_DRAINED in kinds(m)
    assert row(m).outcome == "fine"
    assert m.one(cordon(False)).accepted
    assert m.node("n1").state == ACTIVE


def test_the_end_records_where_the_tasks_went_and_how_long_it_took() -> None:
    m = cluster()
    moves = [types_pb2.DrainMove(task="a", to="n2", reason="why"), types_pb2.DrainMove(task="b")]
    assert m.one(start(moves=moves)).accepted
    assert begin(m).accepted
    told = DrainPlan(moves=[types_pb2.DrainMove(task="a", actual="n3")])
    assert m.one(advance(done=True, drain=told), after_us=5_000_000).accepted
    found = row(m).drain
    assert [(one.task, one.to, one.actual, one.reason) for one in found.moves] == [
        ("a", "n2", "n3", "why"),
        ("b", "", "", ""),
    ]
    assert found.took_ms == 5000


@pytest.mark.parametrize("former", [ACTIVE, CORDONED])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("how", ["undo", "stop", "refuse"])
def test_what_is_not_carried_out_restores_the_former_state(former: int, keep: bool, how: str) -> None:
    m = cluster()
    if former == CORDONED:
        m.one(cordon(True, message="before"))
    m.one(start(keep_cordoned=keep, message="for now"))
    if how == "refuse":
        assert begin(m, refused=True, outcome="the plan does not hold").accepted
        expected, state = former, types_pb2.OPERATION_STATE_REFUSED
    else:
        if how == "stop":
            assert begin(m).accepted
        assert m.one(Command(operation_stop=OperationStop(id="op1", undo=how == "undo"))).accepted
        expected = CORDONED if keep else former
        state = types_pb2.OPERATION_STATE_UNDONE if how == "undo" else types_pb2.OPERATION_STATE_STOPPED
    assert (m.node("n1").state, m.node("n1").operation) == (expected, "")
    assert row(m).state == state
    restored = "before" if former == CORDONED else ""
    assert m.node("n1").message == ("for now" if keep and how != "refuse" else restored)
    wanted = EventType.EVENT_TYPE_NODE_UNCORDONED if expected == ACTIVE else EventType.EVENT_TYPE_NODE_CORDONED
    assert wanted in kinds(m)


def test_one_drain_at_a_time_and_a_drained_node_says_so() -> None:
    m = cluster()
    assert m.one(start()).accepted
    assert m.one(start("op2")).message == "Node n1 is being drained already, by operation op1."
    assert m.one(start("op2", node="n2")).accepted
    begin(m)
    m.one(advance(done=True))
    assert m.one(start("op3")).message == "Node n1 is drained already."
    assert m.one(start("op4", node="n9")).code == Code.NOT_FOUND
    assert m.one(Command(node_leave=NodeLeave(id="n1", removed=True))).accepted
    assert m.one(start("op5")).message == "Node n1 is removed."


def test_what_may_not_move_and_is_outside_the_plan_refuses_commit_and_begin() -> None:
    m = cluster()
    once, _ = m.running(retry=ONCE)
    refused = m.one(start())
    assert refused.message == f"The plan does not hold: task {once} on n1 is not in it, and it is not retryable."
    assert m.node("n1").state == ACTIVE
    assert m.one(start(stuck=[once])).accepted
    assert begin(m).accepted


def test_a_task_lost_since_the_commit_refuses_the_begin() -> None:
    m = cluster()
    task_id, fence = m.running(on_lost=types_pb2.ON_LOST_HOLD)
    assert m.one(start()).accepted
    m.one(fenced("task_lost", task_id, fence))
    assert "its machine is lost" in begin(m).message
    assert m.node("n1").state == CORDONED


def test_bad_plans_are_refused() -> None:
    m = cluster()
    for command in (
        start(deadline_ms=-1),
        start(max_parallel=1_000_000),
        start(message="x" * 201),
        Command(operation_start=OperationStart(operation=Operation(id="op1", kind=types_pb2.OPERATION_KIND_DRAIN))),
    ):
        assert m.one(command).code == Code.INVALID
    assert m.node("n1").state == ACTIVE


# What an operator decides meanwhile


def test_uncordon_ends_a_drain() -> None:
    for begun in (False, True):
        m = cluster()
        m.one(start())
        if begun:
            begin(m)
        assert m.one(cordon(False)).accepted
        undone, stopped = types_pb2.OPERATION_STATE_UNDONE, types_pb2.OPERATION_STATE_STOPPED
        assert row(m).state == (stopped if begun else undone)
        assert (m.node("n1").state, m.node("n1").operation) == (ACTIVE, "")


def test_a_cordon_by_hand_outlasts_the_undo_of_a_drain() -> None:
    m = cluster()
    m.one(start())
    assert m.one(cordon(True)).accepted
    assert m.one(Command(operation_stop=OperationStop(id="op1", undo=True))).accepted
    assert m.node("n1").state == CORDONED


@pytest.mark.parametrize("begun", [False, True])
def test_an_alarm_outlasts_the_drain_that_it_was_raised_in(begun: bool) -> None:
    m, task_id, _ = draining() if begun else (cluster(), "", 0)
    if not begun:
        task_id, _ = m.running()
        m.one(start())
    alarm = NodeAlarm(id="n1", reason="it cannot be killed", cordon=True, task=task_id)
    assert m.one(Command(node_alarm=alarm)).accepted
    assert m.one(Command(operation_stop=OperationStop(id="op1"))).accepted
    assert (m.node("n1").state, m.node("n1").alarm) == (CORDONED, "it cannot be killed")


def test_removing_the_node_ends_its_drain() -> None:
    m = cluster()
    m.one(start())
    begin(m)
    assert m.one(Command(node_leave=NodeLeave(id="n1", removed=True))).accepted
    assert row(m).state == types_pb2.OPERATION_STATE_STOPPED
    assert (m.node("n1").state, m.node("n1").operation) == (NodeState.NODE_STATE_REMOVED, "")


def test_a_daemon_that_comes_back_is_drained_still() -> None:
    m = cluster()
    m.one(start())
    begin(m)
    m.one(Command(node_leave=NodeLeave(id="n1")))
    m.join("n1", slots=3)
    assert (m.node("n1").state, m.node("n1").operation, m.node("n1").online) == (DRAINING, "op1", True)
    fresh = Node(id="n1", hostname="n1.lan", incarnation="i2")
    m.one(Command(node_join=NodeJoin(node=fresh)))
    assert (m.node("n1").state, m.node("n1").operation) == (DRAINING, "op1")


def test_nothing_moves_for_a_drain_that_has_not_begun_or_is_over() -> None:
    m = cluster()
    task_id, _ = m.running()
    m.one(start())
    assert m.one(move(task_id)).message == "The drain that asks for it is over."
    begin(m)
    m.one(cordon(False))
    assert m.one(move(task_id)).code == Code.WRONG_STATE
    assert not m.task(task_id).migrate_requested


# At the deadline


@pytest.mark.parametrize("cause", [Cause.CAUSE_MIGRATE, Cause.CAUSE_LEASE])
def test_what_may_not_move_is_a_dead_letter_once_its_node_has_ended_it(cause: Any) -> None:
    m, task_id, fence = draining(once=True)
    assert m.one(move(task_id, dead_letter=True)).accepted
    assert (m.task(task_id).state, m.task(task_id).drain_ends) == (RUNNING, True)
    assert m.one(fenced("task_stopped", task_id, fence, cause=cause)).accepted
    task = m.task(task_id)
    assert (task.state, task.cause, task.attempt) == (DEAD_LETTER, Cause.CAUSE_DRAINED, 0)
    assert (task.reason, task.fingerprint) == ("it is not retryable", "drained")
    assert task.error == "n1 had to be empty at the deadline of its drain"
    assert EventType.EVENT_TYPE_DEAD_LETTERED in kinds(m)
    assert m.one(Command(task_retry={"id": task_id})).accepted
    assert (m.task(task_id).state, m.task(task_id).run, m.task(task_id).drain_ends) == (QUEUED, 2, False)


def test_a_success_a_cancel_and_a_lost_machine_at_the_deadline() -> None:
    m, task_id, fence = draining(once=True)
    m.one(move(task_id, dead_letter=True))
    m.one(complete(task_id, fence))
    assert m.task(task_id).state == COMPLETED
    m, task_id, fence = draining(once=True)
    m.one(cancel(task_id))
    m.one(move(task_id, dead_letter=True))
    m.one(fenced("task_stopped", task_id, fence, cause=Cause.CAUSE_CANCEL))
    assert m.task(task_id).state == CANCELLED
    m, task_id, fence = draining(once=True)
    m.one(move(task_id, dead_letter=True))
    m.one(fenced("task_lost", task_id, fence))
    assert (m.task(task_id).state, m.task(task_id).cause) == (DEAD_LETTER, Cause.CAUSE_DRAINED)


def test_a_lost_task_is_a_dead_letter_at_once_and_its_fence_is_burnt() -> None:
    m = cluster()
    task_id, fence = m.running(on_lost=types_pb2.ON_LOST_HOLD)
    m.one(start(stuck=[task_id]))
    begin(m)
    m.one(fenced("task_lost", task_id, fence))
    assert m.one(move(task_id)).code == Code.WRONG_STATE
    assert m.one(move(task_id, dead_letter=True)).accepted
    assert (m.task(task_id).state, m.task(task_id).reason) == (DEAD_LETTER, "its machine was lost")
    assert m.one(complete(task_id, fence)).code == Code.STALE_FENCE


def test_only_a_drain_makes_a_dead_letter_and_only_of_what_may_not_move() -> None:
    m, task_id, _ = draining()
    assert m.one(move(task_id, dead_letter=True)).code == Code.WRONG_STATE
    m, task_id, _ = draining(once=True)
    assert m.one(move(task_id, dead_letter=True, operation="")).code == Code.WRONG_STATE
