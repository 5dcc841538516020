"""The ledger: one line for each time that a command begins again after it left a node without an end."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1.log_pb2 import Command, TaskMigrate, WorkflowResume
from cortex.v1.types_pb2 import DoubleRun
from node.core.model import QUEUED, member_id
from tests.core.cluster import Machine, cancel, complete, failed, fenced, retry
from tests.core.states import HOLD
from tests.core.workflows import step, submit


def two_nodes() -> Machine:
    m = Machine()
    m.join("n1")
    m.join("n2")
    return m


def ledger(m: Machine) -> list[DoubleRun]:
    return [row for row in m.rows.values() if isinstance(row, DoubleRun)]


def begin(m: Machine, task_id: str, node: str) -> int:
    """Assigned to `node` and started there; its fence."""
    fence = m.assign(task_id, node)
    assert m.one(fenced("task_started", task_id, fence)).accepted
    return fence


def test_a_lost_machine_is_one_line() -> None:
    m = two_nodes()
    task_id = m.submit()
    first = begin(m, task_id, "n1")
    m.one(fenced("task_lost", task_id, first, reason="Its machine did not renew its lease."))
    assert ledger(m) == [], "it has not begun again yet"
    second = begin(m, task_id, "n2")
    (line,) = ledger(m)
    assert (line.task, line.run, line.attempt) == (task_id, 1, 0)
    assert (line.first_node, line.first_fence, line.node, line.fence) == ("n1", first, "n2", second)
    assert line.reason == "It had begun on n1: Its machine did not renew its lease."
    assert (line.id, line.index, line.at_us) == (f"{m.state.index}-0", m.state.index, m.now_us)
    m.one(fenced("task_started", task_id, second))
    m.one(complete(task_id, second))
    assert len(ledger(m)) == 1


def test_what_may_have_begun_is_told_as_such() -> None:
    m = two_nodes()
    task_id = m.submit()
    m.one(fenced("task_lost", task_id, m.assign(task_id, "n1"), reason="Its node was restarted."))
    begin(m, task_id, "n2")
    (line,) = ledger(m)
    assert line.reason == "It may have begun on n1: Its node was restarted."


def test_a_start_that_only_the_end_tells_of_counts() -> None:
    m = two_nodes()
    task_id = m.submit()
    m.one(fenced("task_lost", task_id, begin(m, task_id, "n1")))
    command = complete(task_id, m.assign(task_id, "n2"))
    command.task_complete.result.started_at_us = 5
    m.one(command)
    assert len(ledger(m)) == 1


@pytest.mark.parametrize("cause", [t.CAUSE_LEASE, t.CAUSE_MIGRATE])
def test_what_was_stopped_in_the_middle_begins_again(cause: t.Cause.ValueType) -> None:
    m = two_nodes()
    task_id = m.submit()
    m.one(fenced("task_stopped", task_id, begin(m, task_id, "n1"), cause=cause))
    begin(m, task_id, "n2")
    (line,) = ledger(m)
    assert line.first_node == "n1"
    assert ("lease" if cause == t.CAUSE_LEASE else "moved") in line.reason


def test_a_supervisor_that_ended_is_a_reason() -> None:
    m = two_nodes()
    task_id = m.submit()
    m.one(failed(task_id, begin(m, task_id, "n1"), cause=t.CAUSE_SUPERVISOR))
    begin(m, task_id, "n2")
    assert ledger(m)[0].reason == "It had begun on n1: broke"


def test_each_further_loss_is_a_line_of_its_own() -> None:
    m = two_nodes()
    task_id = m.submit()
    for node in ("n1", "n2", "n1"):
        m.one(fenced("task_lost", task_id, begin(m, task_id, node)))
    assert [(line.first_node, line.node) for line in ledger(m)] == [("n1", "n2"), ("n2", "n1")]


def test_a_retry_after_a_failure_is_none() -> None:
    m = two_nodes()
    task_id = m.submit()
    m.one(failed(task_id, begin(m, task_id, "n1")))
    assert m.task(task_id).state == QUEUED
    m.now_us += 60_000_000
    begin(m, task_id, "n2")
    assert ledger(m) == []


def test_what_came_back_unstarted_is_none() -> None:
    m = two_nodes()
    task_id = m.submit()
    m.one(fenced("task_recalled", task_id, m.assign(task_id, "n1")))
    begin(m, task_id, "n2")
    assert ledger(m) == []


def test_an_operator_who_retries_a_lost_hold_task_is_told() -> None:
    m = two_nodes()
    task_id = m.submit(**HOLD)
    m.one(fenced("task_lost", task_id, begin(m, task_id, "n1")))
    m.one(retry(task_id))
    begin(m, task_id, "n2")
    (line,) = ledger(m)
    assert (line.run, line.first_node) == (2, "n1")
    assert "retried while its machine was lost" in line.reason


def test_a_retried_dead_letter_begins_anew() -> None:
    m = two_nodes()
    task_id = m.submit()
    for _ in range(5):
        m.one(fenced("task_lost", task_id, begin(m, task_id, "n1")))
    assert m.task(task_id).state == t.TASK_STATE_DEAD_LETTER
    lines = len(ledger(m))
    m.one(retry(task_id))
    begin(m, task_id, "n2")
    assert len(ledger(m)) == lines == 4


@pytest.mark.parametrize("key", ["a", "b"])
def test_what_a_resume_runs_again_begins_anew(key: str) -> None:
    m = two_nodes()
    workflow_id = submit(m, step("a"), step("b", "a"))
    for number in range(2):
        task_id = member_id(workflow_id, number)
        m.one(complete(task_id, begin(m, task_id, "n1")))
    m.one(Command(workflow_resume=WorkflowResume(id=workflow_id, key=key)))
    begin(m, member_id(workflow_id, int(key == "b")), "n2")
    assert ledger(m) == []


def test_several_of_one_entry_have_names_of_their_own() -> None:
    m = two_nodes()
    ids = [m.submit(), m.submit()]
    for task_id in ids:
        m.one(fenced("task_lost", task_id, begin(m, task_id, "n1")))
    fences = [m.assign(task_id, "n2") for task_id in ids]
    m.apply(*(fenced("task_started", task_id, fence) for task_id, fence in zip(ids, fences, strict=True)))
    assert [line.id for line in ledger(m)] == [f"{m.state.index}-0", f"{m.state.index}-1"]


def test_an_idle_agent_is_taken_from_its_node_up_to_a_bound() -> None:
    m = two_nodes()
    task_id = m.submit(idle_timeout_ms=600_000)
    for taken in range(1, 7):
        node = "n1" if taken % 2 else "n2"
        fence = begin(m, task_id, node)
        assert m.one(Command(task_migrate=TaskMigrate(id=task_id, fence=fence + 1, idle=True))).code
        assert m.one(Command(task_migrate=TaskMigrate(id=task_id, fence=fence, idle=True))).accepted
        assert m.one(fenced("task_stopped", task_id, fence, cause=t.CAUSE_IDLE)).accepted
        task = m.task(task_id)
        assert (task.state, task.idles, task.attempt) == (QUEUED, taken, 1 if taken > 5 else 0)
    assert [failure.cause for failure in task.failures] == [t.CAUSE_IDLE] * 6
    assert len(ledger(m)) == 5


def test_a_cancelled_command_that_had_begun_again_counts() -> None:
    m = two_nodes()
    task_id = m.submit()
    m.one(fenced("task_lost", task_id, begin(m, task_id, "n1")))
    fence = m.assign(task_id, "n2")
    m.one(cancel(task_id))
    command = fenced("task_stopped", task_id, fence, cause=t.CAUSE_CANCEL)
    command.task_stopped.result.started_at_us = 5
    m.one(command)
    assert m.task(task_id).state == t.TASK_STATE_CANCELLED
    assert len(ledger(m)) == 1
