"""Running tasks that tell of themselves, and failures that are the fault of a service which they need."""

from __future__ import annotations

import re
from random import Random

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1.log_pb2 import TaskFailed
from node.core.explain import why
from node.core.model import DEAD_LETTER, QUEUED
from node.core.retry import draw_put_off_us
from node.core.transitions.services import PUT_OFF_LIMIT
from node.core.waiting import early
from tests.core.cluster import Machine, cluster, fenced
from tests.core.states import NO_RETRY


def again(m: Machine, task_id: str) -> None:
    m.one(fenced("task_started", task_id, m.assign(task_id)))


def test_a_service_tells_once_that_it_is_ready() -> None:
    m = cluster()
    task_id, fence = m.running()
    endpoints = [t.Endpoint(name="web", value="127.0.0.1:80"), t.Endpoint(name="forged\n", value="x")]
    command = fenced("task_ready", task_id, fence)
    command.task_ready.endpoints.extend(endpoints)
    assert m.one(command).accepted
    task = m.task(task_id)
    assert task.ready_at_us == m.now_us
    assert [(one.name, one.value) for one in task.endpoints] == [("web", "127.0.0.1:80")]
    assert [(e.type, e.detail) for e in m.last_events()] == [(t.EVENT_TYPE_READY, "web 127.0.0.1:80")]
    m.now_us += 1_000_000
    assert m.one(command).accepted
    assert not m.last_events()
    assert m.task(task_id).ready_at_us == task.ready_at_us


def test_a_service_that_begins_again_may_be_elsewhere() -> None:
    m = cluster()
    task_id, fence = m.running()
    for port in (80, 81):
        m.now_us += 1_000_000
        command = fenced("task_ready", task_id, fence)
        command.task_ready.endpoints.add(name="web", value=f"127.0.0.1:{port}")
        assert m.one(command).accepted
    task = m.task(task_id)
    assert (task.ready_at_us, [one.value for one in task.endpoints]) == (m.now_us, ["127.0.0.1:81"])
    assert [e.detail for e in m.last_events()] == ["web 127.0.0.1:81"]


@pytest.mark.parametrize("cause", [t.CAUSE_RATE_LIMITED, t.CAUSE_INFRASTRUCTURE])
def test_what_is_a_services_fault_costs_no_attempt(cause: t.Cause.ValueType) -> None:
    m = cluster()
    task_id, fence = m.running(**NO_RETRY)
    assert m.one(
        fenced("task_failed", task_id, fence, cause=cause, error="It is busy.", put_off_us=5_000_000)
    ).accepted
    task = m.task(task_id)
    assert (task.state, task.attempt, task.put_offs) == (QUEUED, 0, 1)
    assert task.scheduled_after_us == m.now_us + 5_000_000
    assert [(e.type, e.detail) for e in m.last_events()] == [
        (t.EVENT_TYPE_PUT_OFF, "for 5 s, nothing counted: It is busy.")
    ]


def test_what_is_put_off_says_so_where_it_waits() -> None:
    m = cluster()
    task_id, fence = m.running()
    failed = fenced("task_failed", task_id, fence, cause=t.CAUSE_RATE_LIMITED, error="It is busy.")
    failed.task_failed.put_off_us = 5_000_000
    m.one(failed)
    task = m.task(task_id)
    said = early(task, m.now_us)
    assert re.fullmatch(r"put off until \d\d:\d\d:\d\d UTC, since It is busy\.", said)
    (verdict,) = [one for one in why(m.state, {}, task, now_us=m.now_us) if one.node == "n1"]
    assert said in verdict.reason
    assert early(task, task.scheduled_after_us) == ""


def test_a_service_that_is_never_there_costs_an_attempt_in_the_end() -> None:
    m = cluster()
    task_id, fence = m.running(**NO_RETRY)
    for put_offs in range(1, PUT_OFF_LIMIT + 1):
        m.one(fenced("task_failed", task_id, fence, cause=t.CAUSE_INFRASTRUCTURE))
        assert m.task(task_id).put_offs == put_offs
        again(m, task_id)
        fence = m.task(task_id).fence
    m.one(fenced("task_failed", task_id, fence, cause=t.CAUSE_INFRASTRUCTURE))
    assert m.task(task_id).state == DEAD_LETTER


def test_what_cannot_be_right_anywhere_is_not_retried() -> None:
    m = cluster()
    task_id, fence = m.running()
    m.one(fenced("task_failed", task_id, fence, cause=t.CAUSE_VALIDATION))
    assert (m.task(task_id).state, m.task(task_id).reason) == (
        DEAD_LETTER,
        "what it was given cannot be right anywhere",
    )


def test_the_wait_grows_and_is_never_shorter_than_asked_for() -> None:
    random = Random(1)
    waits = [draw_put_off_us(number, 0, random) / 1e6 for number in range(12)]
    assert all(5 * 2**n <= wait <= 10 * 2**n for n, wait in enumerate(waits[:6]))
    assert all(300 <= wait <= 600 for wait in waits[6:])
    assert draw_put_off_us(0, 3_600_000, random) == 3_600_000_000
    assert draw_put_off_us(0, 1_000, random) == 1_000_000
    assert 2_000_000 <= draw_put_off_us(2, 1_000, random) <= 4_000_000
    assert 5_000_000 <= draw_put_off_us(0, -1, random) <= 10_000_000, "no time to wait is less than none"
    assert TaskFailed(put_off_us=draw_put_off_us(100, (1 << 63) - 1, random)).put_off_us > 0
