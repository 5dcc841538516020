"""Workflows that are stopped, by their policy or an operator, and what their tasks write into the context."""

from __future__ import annotations

import json

import pytest

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import ContextItem, Workflow
from node.core import context
from node.core.faults import Code
from node.core.model import CANCELLED, RUNNING
from tests.core.cluster import Machine, cancel, cluster, complete, failed, fenced, retry
from tests.core.workflows import cancel as cancel_workflow
from tests.core.workflows import (
    fail,
    finish,
    judge,
    member,
    resume,
    row,
    start,
    state,
    states,
    step,
    submit,
)

FAIL_FAST = types_pb2.FAILURE_POLICY_FAIL_FAST
MAX_FAILURES = types_pb2.FAILURE_POLICY_MAX_FAILURES


def begun(m: Machine, w: str, key: str) -> int:
    """A member that runs; its fence."""
    fence = start(m, w, key)
    assert m.one(fenced("task_started", member(m, w, key).id, fence)).accepted
    return fence


def test_continue_lets_other_branches_finish() -> None:
    m = cluster()
    w = submit(m, step("bad"), step("after", "bad"), step("good"), step("more", "good"))
    fail(m, w, "bad")
    finish(m, w, "good", "more")
    assert state(m, w) == "failed"
    assert states(m, w) == {"bad": "dead_letter", "after": "skipped", "good": "completed", "more": "completed"}


def test_fail_fast_cancels_what_has_not_ended_and_runs_finally() -> None:
    m = cluster()
    w = submit(
        m,
        step("bad"),
        step("runs"),
        step("waits"),
        step("later", "waits"),
        step("clean", final=True),
        policy=FAIL_FAST,
    )
    fence = begun(m, w, "runs")
    fail(m, w, "bad")
    assert row(m, w).stopping
    assert states(m, w) == {
        "bad": "dead_letter", "runs": "running", "waits": "cancelled", "later": "cancelled", "clean": "pending",
    }  # fmt: skip
    running = member(m, w, "runs")
    assert (running.state, running.cancel_requested) == (RUNNING, True)
    m.one(fenced("task_stopped", running.id, fence, cause=types_pb2.CAUSE_CANCEL))
    assert (states(m, w)["runs"], states(m, w)["clean"], state(m, w)) == ("cancelled", "queued", "running")
    finish(m, w, "clean")
    assert state(m, w) == "failed"
    assert row(m, w).reason.startswith("a task failed, and its policy is fail_fast: ")


def test_can_fail_does_not_stop() -> None:
    m = cluster()
    w = submit(m, step("bad", can_fail=True), step("good"), policy=FAIL_FAST)
    fail(m, w, "bad")
    assert states(m, w)["good"] == "queued"


def test_max_failures_bears_that_many() -> None:
    m = cluster()
    w = submit(m, *(step(key) for key in "abcd"), policy=MAX_FAILURES, max_failures=2)
    fail(m, w, "a", "b")
    assert not row(m, w).stopping
    fail(m, w, "c")
    assert (states(m, w)["d"], state(m, w), row(m, w).failures) == ("cancelled", "failed", 3)


def test_failures_that_a_retry_leaves_standing_do_not_stop_it_again() -> None:
    m = cluster()
    w = submit(m, step("a"), step("clean", final=True), policy=FAIL_FAST)
    fail(m, w, "a", "clean")
    assert (state(m, w), row(m, w).failures) == ("failed", 2)
    assert m.one(retry(f"{w}.0")).accepted
    assert (states(m, w), row(m, w).stopping) == ({"a": "queued", "clean": "pending"}, False)
    again = submit(m, step("a"), step("b"), policy=FAIL_FAST)
    fence = begun(m, again, "b")
    fail(m, again, "a")
    m.one(fenced("task_stopped", f"{again}.1", fence, cause=types_pb2.CAUSE_CANCEL))
    assert m.one(resume(again, "b")).accepted
    assert states(m, again) == {"a": "dead_letter", "b": "queued"}
    finish(m, again, "b")
    assert state(m, again) == "failed"


def test_cancel_in_two_phases() -> None:
    m = cluster()
    w = submit(m, step("a"), step("b", "a"), step("c"), step("clean", final=True))
    fence = begun(m, w, "a")
    assert m.one(cancel_workflow(w, "not today")).accepted
    assert states(m, w) == {"a": "running", "b": "cancelled", "c": "cancelled", "clean": "pending"}
    assert member(m, w, "a").cancel_requested
    assert m.one(cancel_workflow(w)).accepted
    m.one(failed(f"{w}.0", fence))
    assert states(m, w) == {"a": "cancelled", "b": "cancelled", "c": "cancelled", "clean": "queued"}
    finish(m, w, "clean")
    ended = row(m, w)
    assert (state(m, w), ended.cancel_reason) == ("cancelled", "not today")
    refused = m.one(cancel_workflow(w))
    assert (refused.accepted, refused.code) == (False, Code.WRONG_STATE)


def test_a_workflow_of_which_all_completed_was_not_cancelled() -> None:
    m = cluster()
    w = submit(m, step("a"))
    fence = begun(m, w, "a")
    m.one(cancel_workflow(w))
    m.one(complete(f"{w}.0", fence))
    assert state(m, w) == "completed"


def test_a_cancelled_member_cannot_be_retried_while_the_workflow_stops() -> None:
    m = cluster()
    w = submit(m, step("bad"), step("runs"), policy=FAIL_FAST)
    fence = begun(m, w, "runs")
    fail(m, w, "bad")
    refused = m.one(retry(f"{w}.0"))
    assert (refused.accepted, refused.code) == (False, Code.WRONG_STATE)
    m.one(fenced("task_stopped", f"{w}.1", fence, cause=types_pb2.CAUSE_CANCEL))
    assert state(m, w) == "failed"
    assert m.one(retry(f"{w}.0")).accepted
    assert (state(m, w), row(m, w).stopping) == ("running", False)


def test_all_done_does_not_run_after_a_cancel_of_the_workflow() -> None:
    m = cluster()
    w = submit(m, step("a"), step("quiet", "a", rule="all_done", final=True), step("loud", "a", final=True))
    m.one(cancel_workflow(w))
    assert states(m, w) == {"a": "cancelled", "quiet": "skipped", "loud": "queued"}


def test_the_third_timeout_fails_the_workflow() -> None:
    m = cluster()
    w = submit(m, *(step(key, condition="x") for key in "abc"), step("other"), step("clean", final=True))
    for key in "ab":
        judge(m, w, key, value=False, condition_error="It ran longer than 100 ms.", timed_out=True)
    assert states(m, w)["other"] == "queued"
    judge(m, w, "c", value=False, condition_error="It ran longer than 100 ms.", timed_out=True)
    assert states(m, w)["other"] == "cancelled"
    finish(m, w, "clean")
    assert (state(m, w), row(m, w).condition_timeouts) == ("failed", 3)


def test_a_discarded_letter_has_failed_all_the_same() -> None:
    m = cluster()
    w = submit(m, step("bad"), step("other"))
    fail(m, w, "bad")
    assert m.one(cancel(f"{w}.0", "known")).accepted
    assert member(m, w, "bad").state == CANCELLED
    finish(m, w, "other")
    assert (state(m, w), row(m, w).failures) == ("failed", 1)


def values(workflow: Workflow) -> dict[str, object]:
    return {item.key: json.loads(item.value) for item in workflow.context}


def test_context_updates_are_merged_by_the_entry_that_completes() -> None:
    m = cluster()
    first = [ContextItem(key="b", value=b'{"x": 1}'), ContextItem(key="a", value=b"1")]
    w = submit(m, step("one"), step("two"), context=first)
    finish(m, w, "one", update=b'{"b": [1, 2], "c": "\\u00fc"}')
    assert values(row(m, w)) == {"a": 1, "b": [1, 2], "c": "ü"}
    assert [item.key for item in row(m, w).context] == ["a", "b", "c"]
    finish(m, w, "two", update=b'{"c": null}')
    assert values(row(m, w)) == {"a": 1, "b": [1, 2], "c": None}


@pytest.mark.parametrize(
    "update",
    [
        b"[1]",
        b"{",
        b"nonsense",
        b'{"": 1}',
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": ' + b"1" * 400 + b"}",
        b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"\\ud800": 1}',
        b'{"a\\u0007": 1}',
        b"\xff\xfe",
        b'{"a": "' + b"x" * context.UPDATE_LIMIT_BYTES + b'"}',
    ],
)
def test_a_bad_update_is_told_and_changes_nothing(update: bytes) -> None:
    m = cluster()
    w = submit(m, step("one"), step("two", "one"), context=[ContextItem(key="a", value=b"1")])
    finish(m, w, "one", update=update)
    assert values(row(m, w)) == {"a": 1}
    assert states(m, w) == {"one": "completed", "two": "queued"}
    (event,) = [event for event in m.last_events() if event.type == types_pb2.EVENT_TYPE_REJECTED]
    assert event.detail.startswith("context update refused: ")
    assert event.task == f"{w}.0"


def test_a_context_has_a_limit() -> None:
    m = cluster()
    keys = [f"t{number}" for number in range(6)]
    w = submit(m, *map(step, keys))
    for number, key in enumerate(keys):
        data = json.dumps({f"k{number}": "x" * 15_000}).encode()
        finish(m, w, key, update=data)
    assert sorted(values(row(m, w))) == ["k0", "k1", "k2", "k3"]
    assert context.size_bytes(row(m, w).context) <= context.LIMIT_BYTES


def test_a_failed_attempt_writes_nothing() -> None:
    m = cluster()
    w = submit(m, step("one"))
    report = failed(f"{w}.0", m.assign(f"{w}.0"))
    report.task_failed.result.context_update = b'{"a": 1}'
    m.one(report)
    assert not row(m, w).context
