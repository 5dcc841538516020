"""How attempts and tasks end, and how they come back."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import (
    Command,
    TaskFailed,
)
from cortex.v1.types_pb2 import RetryPolicy, TaskResult
from node.core.faults import Code
from node.core.model import CANCELLED, COMPLETED, DEAD_LETTER, FAILED, QUEUED, RUNNING
from tests.core.cluster import (
    HOUR_US,
    cancel,
    cluster,
    complete,
    failed,
    fenced,
    retry,
)
from tests.core.states import HOLD, assigned, ended_failed, running


def test_started_twice_changes_nothing() -> None:
    m, task_id = running()
    before = m.task(task_id)
    assert m.one(fenced("task_started", task_id, before.fence)).accepted
    assert not m.outcome.changes


def test_recall_counts_nothing() -> None:
    m, task_id = assigned()
    m.one(fenced("task_recalled", task_id, m.task(task_id).fence))
    task = m.task(task_id)
    assert (task.state, task.attempt, task.losses, task.run) == (QUEUED, 0, 0, 1)
    assert m.state.by_node == {}


def test_completion_straight_from_assigned() -> None:
    m, task_id = assigned()
    assert m.one(complete(task_id, m.task(task_id).fence)).accepted
    task = m.task(task_id)
    assert (task.state, task.completed_at_us, task.result.exit_code) == (COMPLETED, m.now_us, 0)


def test_success_codes() -> None:
    m = cluster()
    task_id, fence = m.running(success_codes=[3])
    assert m.one(complete(task_id, fence, exit_code=4)).code == Code.INVALID
    assert m.one(failed(task_id, fence, exit_code=3)).code == Code.INVALID
    assert m.one(complete(task_id, fence, exit_code=3)).accepted


def test_completion_forgets_earlier_failures() -> None:
    m = cluster()
    task_id, fence = m.running()
    m.one(failed(task_id, fence))
    assert m.task(task_id).error == "broke"
    m.one(complete(task_id, m.assign(task_id)))
    task = m.task(task_id)
    assert (task.error, task.cause, task.attempt) == ("", types_pb2.CAUSE_UNSPECIFIED, 1)


def test_retries_then_dead_letter_in_the_entry_of_the_failure() -> None:
    m = cluster()
    task_id = m.submit()
    for attempt in range(4):
        fence = m.assign(task_id)
        m.one(failed(task_id, fence, delay_us=0))
        task = m.task(task_id)
        types = [event.type for event in m.last_events()]
        if attempt < 3:
            assert (task.state, task.attempt) == (QUEUED, attempt + 1)
            assert types == [types_pb2.EVENT_TYPE_FAILED, types_pb2.EVENT_TYPE_RETRIED]
    assert (task.state, task.attempt, task.dead_lettered_at_us) == (DEAD_LETTER, 3, m.now_us)
    assert types == [types_pb2.EVENT_TYPE_FAILED, types_pb2.EVENT_TYPE_DEAD_LETTERED]
    assert task.reason == "4 attempts failed"


@pytest.mark.parametrize("cause", [types_pb2.CAUSE_TIMEOUT, types_pb2.CAUSE_OUT_OF_MEMORY, types_pb2.CAUSE_SIGNAL])
def test_causes_that_cost_an_attempt(cause: types_pb2.Cause.ValueType) -> None:
    m = cluster()
    task_id, fence = m.running()
    m.one(failed(task_id, fence, cause=cause))
    assert (m.task(task_id).state, m.task(task_id).attempt, m.task(task_id).cause) == (QUEUED, 1, cause)


def test_a_failure_without_cause_gets_one_from_its_result() -> None:
    m = cluster()
    task_id, fence = m.running()
    report = TaskFailed(id=task_id, fence=fence, result=TaskResult(signal=9))
    m.one(Command(task_failed=report))
    assert (m.task(task_id).cause, m.task(task_id).error) == (types_pb2.CAUSE_SIGNAL, "signal 9")


@pytest.mark.parametrize(
    "cause",
    [types_pb2.CAUSE_CANCEL, types_pb2.CAUSE_MIGRATE, types_pb2.CAUSE_LEASE, types_pb2.CAUSE_QUEUE_TIMEOUT],
)
def test_what_is_no_failure_is_refused(cause: types_pb2.Cause.ValueType) -> None:
    m = cluster()
    task_id, fence = m.running()
    assert m.one(failed(task_id, fence, cause=cause)).code == Code.INVALID


@pytest.mark.parametrize(
    "spec",
    [
        {"retry": RetryPolicy(max_retries=0)},
        {"retry": RetryPolicy(retryable=False)},
        {"no_retry_codes": [1]},
        {"retry": RetryPolicy(max_elapsed_ms=1)},
    ],
)
def test_final_at_once(spec: dict[str, object]) -> None:
    m = cluster()
    task_id, fence = m.running(**spec)
    m.one(failed(task_id, fence, delay_us=1000))
    assert (m.task(task_id).state, m.task(task_id).attempt) == (DEAD_LETTER, 0)


def test_on_exhausted_fail() -> None:
    m, task_id = ended_failed()
    assert (m.task(task_id).state, m.task(task_id).dead_lettered_at_us) == (FAILED, 0)
    assert [event.type for event in m.last_events()] == [types_pb2.EVENT_TYPE_FAILED]


@pytest.mark.parametrize("delay_us", [-5, 0, 7, 1 << 62])
def test_delay_comes_from_the_entry_within_bounds(delay_us: int) -> None:
    m = cluster()
    task_id, fence = m.running()
    m.one(failed(task_id, fence, delay_us=delay_us))
    waits_us = max(m.task(task_id).scheduled_after_us - m.now_us, 0)
    assert waits_us == min(max(delay_us, 0), 7 * 24 * HOUR_US)


def test_a_machine_that_cannot_start_it_is_excluded_then_it_counts() -> None:
    m = cluster(3)
    task_id = m.submit()
    m.one(failed(task_id, m.assign(task_id, "n1"), cause=types_pb2.CAUSE_CANNOT_START))
    task = m.task(task_id)
    assert (task.state, task.attempt, list(task.unstartable_nodes)) == (QUEUED, 0, ["n1"])
    m.one(failed(task_id, m.assign(task_id, "n2"), cause=types_pb2.CAUSE_CANNOT_START))
    task = m.task(task_id)
    assert (task.attempt, list(task.unstartable_nodes)) == (1, ["n1", "n2"])
    m.one(failed(task_id, m.assign(task_id, "n3"), cause=types_pb2.CAUSE_CANNOT_START))
    task = m.task(task_id)
    assert (task.attempt, list(task.unstartable_nodes)) == (2, [])


def test_with_no_other_machine_it_counts_at_once() -> None:
    m = cluster(2)
    task_id = m.submit(constraints=types_pb2.Constraints(target_node="n1"))
    for _ in range(4):
        m.one(failed(task_id, m.assign(task_id), cause=types_pb2.CAUSE_CANNOT_START))
    assert m.task(task_id).state == DEAD_LETTER


@pytest.mark.parametrize("cause", [types_pb2.CAUSE_MIGRATE, types_pb2.CAUSE_LEASE])
def test_stopped_under_orders_counts_nothing(cause: types_pb2.Cause.ValueType) -> None:
    m, task_id = running()
    m.one(fenced("task_stopped", task_id, m.task(task_id).fence, cause=cause))
    task = m.task(task_id)
    assert (task.state, task.attempt, task.losses, task.run) == (QUEUED, 0, 0, 1)


def test_stopped_for_a_cancel_that_nobody_asked_for() -> None:
    m, task_id = running()
    command = fenced("task_stopped", task_id, m.task(task_id).fence, cause=types_pb2.CAUSE_CANCEL)
    assert m.one(command).code == Code.WRONG_STATE


def test_five_lost_machines_make_a_dead_letter() -> None:
    m = cluster()
    task_id = m.submit()
    for loss in range(1, 6):
        m.one(fenced("task_lost", task_id, m.assign(task_id), reason="no renewal"))
        task = m.task(task_id)
        assert (task.losses, task.attempt) == (loss, 0)
        assert task.state == (QUEUED if loss < 5 else DEAD_LETTER)
    assert task.cause == types_pb2.CAUSE_LOST


def test_a_supervisor_that_ended_is_a_loss() -> None:
    m = cluster()
    task_id, fence = m.running()
    m.one(failed(task_id, fence, cause=types_pb2.CAUSE_SUPERVISOR))
    assert (m.task(task_id).losses, m.task(task_id).attempt) == (1, 0)


@pytest.mark.parametrize("spec", [HOLD, {"on_lost": types_pb2.ON_LOST_WAIT, "wait_ms": 60_000}])
def test_held_when_lost(spec: dict[str, object]) -> None:
    m = cluster()
    task_id, fence = m.running(**spec)
    lost = fenced("task_lost", task_id, fence)
    lost.task_lost.reason = "Its machine did not renew its lease."
    m.one(lost)
    task = m.task(task_id)
    assert (task.state, task.fence, task.lost_at_us, task.losses) == (RUNNING, fence, m.now_us, 0)
    assert m.last_events()[-1].detail == "Its machine did not renew its lease; it waits for an operator"
    assert m.one(fenced("task_lost", task_id, fence)).accepted
    assert not m.outcome.changes
    assert m.one(complete(task_id, fence)).accepted
    assert (m.task(task_id).state, m.task(task_id).lost_at_us) == (COMPLETED, 0)


def test_a_lost_task_whose_worker_is_back() -> None:
    m = cluster()
    task_id, fence = m.running(**HOLD)
    m.one(fenced("task_lost", task_id, fence))
    assert m.one(fenced("task_started", task_id, fence)).accepted
    assert (m.task(task_id).state, m.task(task_id).lost_at_us) == (RUNNING, 0)


def test_retry_of_a_lost_task_burns_its_fence() -> None:
    m = cluster()
    task_id, fence = m.running(**HOLD)
    m.one(fenced("task_lost", task_id, fence))
    assert m.one(retry(task_id)).accepted
    task = m.task(task_id)
    assert (task.state, task.run, task.lost_at_us) == (QUEUED, 2, 0)
    assert m.one(complete(task_id, fence)).code == Code.STALE_FENCE
    assert m.assign(task_id) > fence
    assert m.one(complete(task_id, fence)).code == Code.STALE_FENCE


def test_cancel_of_a_lost_task_is_at_once() -> None:
    m = cluster()
    task_id, fence = m.running(**HOLD)
    m.one(fenced("task_lost", task_id, fence))
    m.one(cancel(task_id))
    assert m.task(task_id).state == CANCELLED
    assert m.one(complete(task_id, fence)).code == Code.STALE_FENCE
