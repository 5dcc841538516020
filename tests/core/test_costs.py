"""What costs an attempt, and what does not; what is kept of each failure; who is excused."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1.log_pb2 import Command
from node.core.model import COMPLETED, DEAD_LETTER, QUEUED
from tests.core.cluster import Machine, cluster, complete, failed, fenced, migrate, retry
from tests.core.states import NO_RETRY

COSTS = (t.CAUSE_EXIT, t.CAUSE_SIGNAL, t.CAUSE_TIMEOUT, t.CAUSE_OUT_OF_MEMORY)


def blamed(task_id: str, fence: int, blame: t.Blame.ValueType, **more: int) -> Command:
    command = failed(task_id, fence, **more)
    command.task_failed.blame = blame
    return command


@pytest.mark.parametrize("cause", COSTS)
def test_a_failure_of_the_command_costs_an_attempt(cause: t.Cause.ValueType) -> None:
    m = cluster()
    task_id, fence = m.running()
    m.one(failed(task_id, fence, cause=cause))
    task = m.task(task_id)
    assert (task.state, task.attempt, task.losses) == (QUEUED, 1, 0)
    (failure,) = task.failures
    assert (failure.node, failure.cause, failure.attempt, failure.run) == ("n1", cause, 0, 1)


@pytest.mark.parametrize(
    "command",
    [
        lambda task_id, fence: fenced("task_stopped", task_id, fence, cause=t.CAUSE_LEASE),
        lambda task_id, fence: fenced("task_stopped", task_id, fence, cause=t.CAUSE_MIGRATE),
        lambda task_id, fence: fenced("task_stopped", task_id, fence, cause=t.CAUSE_IDLE),
    ],
)
def test_what_cortex_ended_costs_nothing(command: object) -> None:
    m = cluster()
    task_id, fence = m.running()
    m.one(migrate(task_id))
    assert m.one(command(task_id, fence)).accepted  # type: ignore[operator]
    task = m.task(task_id)
    assert (task.state, task.attempt, task.losses) == (QUEUED, 0, 0)


def test_a_recall_costs_nothing() -> None:
    m = cluster()
    task_id = m.submit()
    m.one(fenced("task_recalled", task_id, m.assign(task_id)))
    task = m.task(task_id)
    assert (task.state, task.attempt, task.losses, len(task.failures)) == (QUEUED, 0, 0, 0)


def test_a_lost_machine_has_a_counter_of_its_own() -> None:
    m = cluster()
    task_id, fence = m.running()
    m.one(fenced("task_lost", task_id, fence))
    task = m.task(task_id)
    assert (task.state, task.attempt, task.losses) == (QUEUED, 0, 1)


def test_a_machine_that_cannot_start_it_is_excluded_once_then_it_counts() -> None:
    m = cluster(3)
    task_id = m.submit()
    m.one(failed(task_id, m.assign(task_id, "n1"), cause=t.CAUSE_CANNOT_START))
    task = m.task(task_id)
    assert (task.state, task.attempt, list(task.unstartable_nodes)) == (QUEUED, 0, ["n1"])
    m.one(failed(task_id, m.assign(task_id, "n2"), cause=t.CAUSE_CANNOT_START))
    assert m.task(task_id).attempt == 1


@pytest.mark.parametrize(
    "spec",
    [
        {"constraints": t.Constraints(excluded_nodes=["n2.lan"])},
        {"constraints": t.Constraints(allowed_nodes=["n1.lan"])},
        {"constraints": t.Constraints(requires_gpu=True)},
        {"requests": t.Requests(gpus=1)},
        {"requests": t.Requests(cpu_millis=3000)},
        {"requests": t.Requests(memory_bytes=3 << 30)},
    ],
)
def test_a_machine_is_not_excluded_where_no_other_will_ever_do(spec: dict[str, object]) -> None:
    """It would wait for ever."""
    m = Machine()
    for node_id, size in (("n1", 3), ("n2", 2)):
        m.join(node_id, capacity=t.Requests(cpu_millis=size * 1000, memory_bytes=size << 30, gpus=size - 2))
    task_id = m.submit(**spec)  # type: ignore[arg-type]
    m.one(failed(task_id, m.assign(task_id, "n1"), cause=t.CAUSE_CANNOT_START))
    task = m.task(task_id)
    assert (task.attempt, list(task.unstartable_nodes)) == (1, [])


def test_a_machine_may_be_named_by_its_hostname() -> None:
    m = cluster()
    task_id = m.submit(constraints=t.Constraints(allowed_nodes=["n1.lan", "n2.lan"]))
    m.one(failed(task_id, m.assign(task_id, "n1"), cause=t.CAUSE_CANNOT_START))
    task = m.task(task_id)
    assert (task.attempt, list(task.unstartable_nodes)) == (0, ["n1"])


def test_the_last_ten_failures_of_a_run_are_kept() -> None:
    m = cluster()
    policy = t.RetryPolicy(max_retries=20)
    task_id = m.submit(retry=policy)
    for _ in range(12):
        m.one(failed(task_id, m.assign(task_id)))
    assert [failure.attempt for failure in m.task(task_id).failures] == list(range(2, 12))


def test_a_node_to_blame_is_left_with_nothing_counted_once() -> None:
    m = cluster()
    task_id, fence = m.running()
    m.one(blamed(task_id, fence, t.BLAME_NODE, delay_us=60_000_000))
    task = m.task(task_id)
    assert (task.state, task.attempt, task.excused) == (QUEUED, 0, 1)
    assert not task.scheduled_after_us, "elsewhere it need not wait"
    assert list(task.unstartable_nodes) == ["n1"]
    m.one(blamed(task_id, m.assign(task_id, "n2"), t.BLAME_NODE))
    task = m.task(task_id)
    assert (task.attempt, task.excused) == (1, 1)


def test_nobody_else_to_try_is_no_excuse() -> None:
    m = cluster(1)
    task_id, fence = m.running()
    m.one(blamed(task_id, fence, t.BLAME_NODE))
    task = m.task(task_id)
    assert (task.attempt, task.excused, list(task.unstartable_nodes)) == (1, 0, [])


@pytest.mark.parametrize("blame", [t.BLAME_TASK, t.BLAME_INPUT, t.BLAME_UNSPECIFIED])
def test_other_blame_counts(blame: t.Blame.ValueType) -> None:
    m = cluster()
    task_id, fence = m.running()
    m.one(blamed(task_id, fence, blame))
    assert (m.task(task_id).attempt, m.task(task_id).blame) == (1, blame)


@pytest.mark.parametrize(
    "spec", [NO_RETRY, {"retry": t.RetryPolicy(retryable=False)}, {"no_retry_codes": [1]}], ids=str
)
def test_what_is_never_retried_is_not_begun_again_for_its_node_s_sake(spec: dict[str, object]) -> None:
    m = cluster()
    task_id, fence = m.running(**spec)
    m.one(blamed(task_id, fence, t.BLAME_NODE))
    assert m.task(task_id).state == DEAD_LETTER


def test_a_new_run_forgets_what_the_last_one_counted() -> None:
    m = cluster()
    task_id, fence = m.running(retry=t.RetryPolicy(max_retries=1))
    m.one(blamed(task_id, fence, t.BLAME_NODE))
    m.one(failed(task_id, m.assign(task_id, "n2")))
    m.one(failed(task_id, m.assign(task_id, "n2")))
    assert m.task(task_id).state == DEAD_LETTER
    m.one(retry(task_id))
    task = m.task(task_id)
    assert (task.run, task.excused, task.dispatches, len(task.failures), task.blame) == (2, 0, 0, 0, 0)


def test_escalation_is_once_per_assignment() -> None:
    m: Machine = cluster()
    task_id, fence = m.running()
    m.one(fenced("task_escalate", task_id, fence, reason="It has written nothing for 7200 s."))
    first_us = m.task(task_id).escalated_at_us
    assert first_us == m.now_us
    (event,) = m.last_events()
    assert (event.type, event.detail) == (t.EVENT_TYPE_ESCALATED, "It has written nothing for 7200 s.")
    m.one(fenced("task_escalate", task_id, fence))
    assert not m.outcome.changes
    m.one(fenced("task_lost", task_id, fence))
    fence = m.assign(task_id, "n2")
    assert m.task(task_id).escalated_at_us == 0
    m.one(fenced("task_started", task_id, fence))
    m.one(fenced("task_escalate", task_id, fence))
    assert m.task(task_id).escalated_at_us > first_us
    m.one(complete(task_id, fence))
    assert m.task(task_id).state == COMPLETED
