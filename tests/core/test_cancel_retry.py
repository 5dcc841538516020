"""Cancel, discard, retry, queue timeout."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import (
    Command,
    TaskCancel,
)
from node.core.faults import Code
from node.core.model import CANCELLED, COMPLETED, DEAD_LETTER, QUEUED, RUNNING
from tests.core.cluster import (
    HOUR_US,
    Machine,
    cancel,
    cluster,
    complete,
    failed,
    fenced,
    queue_timeout,
    retry,
)
from tests.core.states import Made, assigned, dead, ended_failed, queued


def ask_cancel() -> tuple[Machine, str, int]:
    m = cluster()
    task_id, fence = m.running()
    assert m.one(cancel(task_id, "enough")).accepted
    task = m.task(task_id)
    assert (task.state, task.cancel_requested, task.cancel_reason) == (RUNNING, True, "enough")
    assert [event.type for event in m.last_events()] == [types_pb2.EVENT_TYPE_CANCEL_REQUESTED]
    return m, task_id, fence


def test_completion_wins_over_a_requested_cancel() -> None:
    m, task_id, fence = ask_cancel()
    m.one(complete(task_id, fence))
    assert (m.task(task_id).state, m.task(task_id).cancel_requested) == (COMPLETED, False)


@pytest.mark.parametrize(
    "end",
    [
        lambda task_id, fence: failed(task_id, fence),
        lambda task_id, fence: failed(task_id, fence, cause=types_pb2.CAUSE_TIMEOUT),
        lambda task_id, fence: failed(task_id, fence, cause=types_pb2.CAUSE_SUPERVISOR),
        lambda task_id, fence: fenced("task_stopped", task_id, fence, cause=types_pb2.CAUSE_CANCEL),
        lambda task_id, fence: fenced("task_stopped", task_id, fence, cause=types_pb2.CAUSE_MIGRATE),
        lambda task_id, fence: fenced("task_stopped", task_id, fence, cause=types_pb2.CAUSE_LEASE),
        lambda task_id, fence: fenced("task_lost", task_id, fence),
    ],
)
def test_every_other_end_is_cancelled(end: Callable[[str, int], Command]) -> None:
    m, task_id, fence = ask_cancel()
    assert m.one(end(task_id, fence)).accepted
    task = m.task(task_id)
    assert (task.state, task.reason, task.cancel_requested) == (CANCELLED, "enough", False)
    assert [event.type for event in m.last_events()] == [types_pb2.EVENT_TYPE_CANCELLED]


def test_recall_acknowledges_a_cancel() -> None:
    m, task_id = assigned()
    m.one(cancel(task_id))
    m.one(fenced("task_recalled", task_id, m.task(task_id).fence))
    assert m.task(task_id).state == CANCELLED


def test_cancel_twice_changes_nothing() -> None:
    m, task_id, _ = ask_cancel()
    assert m.one(cancel(task_id)).accepted
    assert not m.outcome.changes


def test_discard_needs_a_reason() -> None:
    m, task_id = dead()
    assert m.one(cancel(task_id)).code == Code.WRONG_STATE
    assert m.one(cancel(task_id, "known bug")).accepted
    assert (m.task(task_id).state, m.task(task_id).reason) == (CANCELLED, "known bug")


def test_only_a_dead_letter_is_discarded() -> None:
    m, task_id = queued()
    assert m.one(Command(task_cancel=TaskCancel(id=task_id, reason="x", discard=True))).code == Code.WRONG_STATE


def test_a_long_reason_is_refused() -> None:
    m, task_id = queued()
    assert m.one(cancel(task_id, "x" * 201)).code == Code.INVALID
    assert m.one(cancel(task_id, "x" * 200)).accepted


@pytest.mark.parametrize("way", [dead, ended_failed])
def test_retry_begins_a_new_run(way: Callable[[], Made]) -> None:
    m, task_id = way()
    assert m.one(retry(task_id)).accepted
    task = m.task(task_id)
    assert (task.state, task.attempt, task.run, task.losses) == (QUEUED, 0, 2, 0)
    assert (task.completed_at_us, task.dead_lettered_at_us, task.revived_at_us) == (0, 0, m.now_us)
    assert task_id in m.state.tasks


def test_retry_with_an_edited_spec() -> None:
    m, task_id = dead()
    command = retry(task_id)
    command.task_retry.edited_spec.CopyFrom(m.submission((b"false",)).spec)
    assert m.one(command).accepted
    assert list(m.task(task_id).spec.argv) == [b"false"]
    assert m.last_events()[0].detail == "edited: argv, retry"
    m.one(cancel(task_id))


def test_retry_with_a_bad_spec() -> None:
    m, task_id = dead()
    command = retry(task_id)
    command.task_retry.edited_spec.SetInParent()
    assert m.one(command).code == Code.INVALID


def test_queue_timeout() -> None:
    m = cluster()
    task_id = m.submit(queue_timeout_ms=10)
    assert m.one(queue_timeout(task_id), after_us=9_999).code == Code.WRONG_STATE
    assert m.one(queue_timeout(task_id), after_us=1).accepted
    task = m.task(task_id)
    assert (task.state, task.cause) == (DEAD_LETTER, types_pb2.CAUSE_QUEUE_TIMEOUT)


def test_queue_timeout_is_opt_in() -> None:
    m, task_id = queued()
    assert m.one(queue_timeout(task_id), after_us=HOUR_US).code == Code.WRONG_STATE
