"""One way into each state of a task."""

from __future__ import annotations

from collections.abc import Callable

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import RetryPolicy
from node.core.model import ASSIGNED, CANCELLED, COMPLETED, DEAD_LETTER, FAILED, PENDING, QUEUED, RUNNING, SKIPPED
from tests.core.cluster import (
    Machine,
    cancel,
    cluster,
    complete,
    failed,
)
from tests.core.workflows import step, submit, verdict

Made = tuple[Machine, str]
HOLD = {"on_lost": types_pb2.ON_LOST_HOLD}
NO_RETRY = {"retry": RetryPolicy(max_retries=0)}


def pending() -> Made:
    """It waits for a verdict only."""
    m = cluster()
    return m, f"{submit(m, step('a', condition='true'))}.0"


def skipped() -> Made:
    m, task_id = pending()
    assert verdict(m, task_id, value=False).accepted
    return m, task_id


def queued() -> Made:
    m = cluster()
    return m, m.submit()


def assigned() -> Made:
    m, task_id = queued()
    m.assign(task_id)
    return m, task_id


def running() -> Made:
    m = cluster()
    return m, m.running()[0]


def completed() -> Made:
    m = cluster()
    task_id, fence = m.running()
    m.one(complete(task_id, fence))
    return m, task_id


def ended_failed() -> Made:
    m = cluster()
    task_id, fence = m.running(on_exhausted=types_pb2.ON_EXHAUSTED_FAIL, **NO_RETRY)
    m.one(failed(task_id, fence))
    return m, task_id


def cancelled() -> Made:
    m, task_id = queued()
    m.one(cancel(task_id))
    return m, task_id


def dead() -> Made:
    m = cluster()
    task_id, fence = m.running(**NO_RETRY)
    m.one(failed(task_id, fence))
    return m, task_id


WAYS: dict[types_pb2.TaskState.ValueType, Callable[[], Made]] = {
    PENDING: pending,
    QUEUED: queued,
    ASSIGNED: assigned,
    RUNNING: running,
    COMPLETED: completed,
    FAILED: ended_failed,
    CANCELLED: cancelled,
    SKIPPED: skipped,
    DEAD_LETTER: dead,
}
