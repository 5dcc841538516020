"""Workflows in the state machine: who is released or skipped when something ends, and how a workflow ends."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, SettingsChange, WorkflowAdvance
from cortex.v1.types_pb2 import Event
from node.core import rules
from node.core.faults import Code
from node.core.model import SKIPPED
from tests.core.cluster import Machine, cancel, cluster, complete, retry
from tests.core.workflows import fail, finish, judge, member, row, start, state, states, step, submit, try_submit

CHAIN = (step("a"), step("b", "a"), step("c", "b"))


def events(m: Machine, kind: str) -> list[Event]:
    return [event for event in m.events if event.type == types_pb2.EventType.Value(f"EVENT_TYPE_{kind}")]


def test_a_chain_runs_one_after_the_other() -> None:
    m = cluster()
    w = submit(m, *CHAIN)
    assert (state(m, w), states(m, w)) == ("pending", {"a": "queued", "b": "pending", "c": "pending"})
    start(m, w, "a")
    assert state(m, w) == "running"
    finish(m, w, "a")
    assert states(m, w) == {"a": "completed", "b": "queued", "c": "pending"}
    finish(m, w, "b", "c")
    ended = row(m, w)
    assert (state(m, w), ended.remaining, ended.failures, ended.completed_at_us) == ("completed", 0, 0, m.now_us)
    assert ended.reason == "3 completed"
    kinds = ("WORKFLOW_SUBMITTED", "WORKFLOW_STARTED", "WORKFLOW_ENDED")
    assert [(event.workflow, event.workflow_state) for kind in kinds for event in events(m, kind)] == [
        (w, types_pb2.WORKFLOW_STATE_PENDING),
        (w, types_pb2.WORKFLOW_STATE_RUNNING),
        (w, types_pb2.WORKFLOW_STATE_COMPLETED),
    ]
    assert len(events(m, "RELEASED")) == 2


def test_the_end_of_a_dependency_releases_in_the_same_entry() -> None:
    m = cluster()
    w = submit(m, *CHAIN)
    finish(m, w, "a")
    assert {change.id for change in m.outcome.changes if change.id.startswith(w)} == {w, f"{w}.0", f"{w}.1"}


def test_a_diamond_waits_for_both_sides() -> None:
    m = cluster()
    w = submit(m, step("top"), step("left", "top"), step("right", "top"), step("end", "left", "right"))
    finish(m, w, "top", "left")
    assert states(m, w)["end"] == "pending"
    finish(m, w, "right")
    assert states(m, w)["end"] == "queued"
    finish(m, w, "end")
    assert state(m, w) == "completed"


def test_skips_cascade_to_the_end_in_one_entry() -> None:
    m = cluster()
    w = submit(m, *CHAIN, step("d", "c"), step("e", "d"), step("other"))
    fail(m, w, "a")
    assert states(m, w) == {
        "a": "dead_letter", "b": "skipped", "c": "skipped", "d": "skipped", "e": "skipped", "other": "queued",
    }  # fmt: skip
    reasons = [member(m, w, key).skip_reason for key in "bcde"]
    assert reasons == [types_pb2.SKIP_REASON_UPSTREAM_FAILED] + 3 * [types_pb2.SKIP_REASON_UPSTREAM_SKIPPED]
    assert [event.detail for event in m.last_events() if event.state == SKIPPED] == [
        "upstream_failed: a failed",
        "upstream_skipped: b was skipped",
        "upstream_skipped: c was skipped",
        "upstream_skipped: d was skipped",
    ]
    assert state(m, w) == "running"
    finish(m, w, "other")
    assert (state(m, w), row(m, w).failures) == ("failed", 1)


def test_a_cascade_stops_at_a_condition() -> None:
    m = cluster()
    w = submit(m, step("a"), step("b", "a"), step("c", "b", condition="parent.b.exitCode === null"), step("d", "c"))
    fail(m, w, "a")
    assert states(m, w) == {"a": "dead_letter", "b": "skipped", "c": "pending", "d": "pending"}
    judge(m, w, "c")
    assert states(m, w)["c"] == "queued"
    finish(m, w, "c", "d")
    assert state(m, w) == "failed"


@pytest.mark.parametrize(
    ("rule", "ends", "runs"),
    [
        ("all_success", ("ok", "ok"), True),
        ("all_success", ("ok", "skipped"), False),
        ("all_success", ("ok", "failed"), False),
        ("all_success", ("ok", "cancelled"), False),
        ("none_failed", ("ok", "skipped"), True),
        ("none_failed", ("ok", "failed"), False),
        ("none_failed", ("ok", "cancelled"), False),
        ("all_done", ("failed", "skipped"), True),
        ("all_done", ("failed", "cancelled"), True),
        ("one_failed", ("ok", "failed"), True),
        ("one_failed", ("ok", "ok"), False),
        ("one_failed", ("ok", "cancelled"), False),
        ("one_success", ("failed", "ok"), True),
        ("one_success", ("failed", "skipped"), False),
        ("always", ("failed", "cancelled"), True),
    ],
)
def test_rules(rule: str, ends: tuple[str, str], runs: bool) -> None:
    m = cluster()
    w = submit(
        m, step("x", condition="true"), step("y", condition="true"), step("last", "x", "y", rule=rule), step("more")
    )
    for key, how in zip("xy", ends, strict=True):
        judge(m, w, key, value=how != "skipped")
        if how == "ok":
            finish(m, w, key)
        elif how == "failed":
            fail(m, w, key)
        elif how == "cancelled":
            assert m.one(cancel(member(m, w, key).id)).accepted
    assert states(m, w)["last"] == ("queued" if runs else "skipped")


def test_rule_in_force() -> None:
    m = cluster()
    w = submit(
        m,
        step("a"),
        step("plain", "a"),
        step("reads", "a", condition="parent.a.exitCode === 0"),
        step("not", "a", condition="workflow.context.parent === 1"),
        step("asked", "a", condition="parent.a.exitCode === 0", rule="none_failed"),
        step("clean", final=True),
    )
    found = {key: member(m, w, key).rule for key in ("plain", "reads", "not", "asked", "clean")}
    assert found == {
        "plain": types_pb2.RULE_ALL_SUCCESS,
        "reads": types_pb2.RULE_ALL_DONE,
        "not": types_pb2.RULE_ALL_SUCCESS,
        "asked": types_pb2.RULE_NONE_FAILED,
        "clean": types_pb2.RULE_ALWAYS,
    }


def test_a_verdict_obeys_the_rule_first() -> None:
    m = cluster()
    w = submit(m, step("a"), step("b", "a", condition="1"), step("other"))
    fail(m, w, "a")
    assert states(m, w)["b"] == "pending"
    judge(m, w, "b")
    assert member(m, w, "b").skip_reason == types_pb2.SKIP_REASON_UPSTREAM_FAILED


def test_verdicts() -> None:
    m = cluster()
    w = submit(m, *(step(key, condition="x") for key in "abc"), step("d", "b"))
    judge(m, w, "a")
    judge(m, w, "b", value=False)
    judge(m, w, "c", value=False, condition_error="ReferenceError: x is not defined")
    assert states(m, w) == {"a": "queued", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert member(m, w, "b").skip_reason == types_pb2.SKIP_REASON_CONDITION_FALSE
    failed = member(m, w, "c")
    assert failed.skip_reason == types_pb2.SKIP_REASON_CONDITION_ERROR
    assert failed.condition_error == "ReferenceError: x is not defined"
    finish(m, w, "a")
    assert state(m, w) == "completed"


def test_a_verdict_on_what_has_changed_since_is_refused() -> None:
    m = cluster()
    w = submit(m, step("a"), step("b", "a", condition="1", rule="always"))
    fail(m, w, "a")
    task = member(m, w, "b")
    judged = rules.input_sha256([member(m, w, "a")])
    assert m.one(retry(f"{w}.0")).accepted
    verdict = Command(workflow_advance=WorkflowAdvance(task=task.id, verdict=True, input_sha256=judged))
    assert m.one(verdict).code == Code.WRONG_STATE
    finish(m, w, "a")
    assert m.one(verdict).code == Code.WRONG_STATE
    assert states(m, w)["b"] == "pending"
    judge(m, w, "b")
    assert states(m, w)["b"] == "queued"


def test_can_fail() -> None:
    m = cluster()
    w = submit(m, step("lint", can_fail=True), step("build"), step("report", "lint", rule="all_done"))
    fail(m, w, "lint")
    assert (states(m, w)["lint"], states(m, w)["report"]) == ("failed", "queued")
    finish(m, w, "build", "report")
    assert (state(m, w), row(m, w).failures) == ("completed", 0)


def test_a_cancelled_member_has_ended() -> None:
    m = cluster()
    w = submit(m, *CHAIN, step("after", "a", rule="all_done"))
    assert m.one(cancel(f"{w}.0", "not needed")).accepted
    assert states(m, w) == {"a": "cancelled", "b": "skipped", "c": "skipped", "after": "queued"}
    finish(m, w, "after")
    assert (state(m, w), row(m, w).reason) == ("completed", "1 completed, 1 cancelled, 2 skipped")


def test_success_after_a_cancel_request_counts() -> None:
    m = cluster()
    w = submit(m, *CHAIN)
    fence = start(m, w, "a")
    m.one(cancel(f"{w}.0"))
    m.one(complete(f"{w}.0", fence))
    assert states(m, w)["b"] == "queued"


def test_finally_runs_when_all_others_have_ended() -> None:
    m = cluster()
    w = submit(m, *CHAIN, step("clean", final=True), step("tell", "clean", final=True))
    fail(m, w, "a")
    assert states(m, w) == {
        "a": "dead_letter",
        "b": "skipped",
        "c": "skipped",
        "clean": "queued",
        "tell": "pending",
    }
    finish(m, w, "clean", "tell")
    assert state(m, w) == "failed"


def test_only_finally() -> None:
    m = cluster()
    w = submit(m, step("one", final=True), step("two", "one", final=True))
    finish(m, w, "one", "two")
    assert state(m, w) == "completed"


def test_depth_is_checked_for_the_whole() -> None:
    m = cluster()
    m.one(Command(settings_change=SettingsChange(name="max_queue_depth", value="2")))
    reply = try_submit(m, *CHAIN)
    assert (reply.accepted, reply.code) == (False, Code.QUEUE_FULL)
    assert not m.state.workflows
    assert not m.state.tasks


def test_a_refused_submission_leaves_its_key_free() -> None:
    m = cluster()
    m.one(Command(settings_change=SettingsChange(name="max_queue_depth", value="2")))
    assert try_submit(m, *CHAIN, submit_key="nightly").code == Code.QUEUE_FULL
    m.one(Command(settings_change=SettingsChange(name="max_queue_depth", value="3")))
    again = try_submit(m, *CHAIN, submit_key="nightly")
    assert (again.accepted, again.deduplicated) == (True, False)
    assert again.id in m.state.workflows


def test_submit_key() -> None:
    m = cluster()
    w = submit(m, *CHAIN, submit_key="nightly")
    again = try_submit(m, *CHAIN, submit_key="nightly")
    assert (again.accepted, again.deduplicated, again.id) == (True, True, w)
    other = try_submit(m, *CHAIN[:2], submit_key="nightly")
    assert (other.accepted, other.code) == (False, Code.ALREADY_EXISTS)
    task = m.one(Command(task_submit=m.submission(key="nightly")))
    assert (task.accepted, task.code) == (False, Code.ALREADY_EXISTS)
    finish(m, w, "a", "b", "c")
    later = try_submit(m, *CHAIN, submit_key="nightly")
    assert later.deduplicated
    m.now_us += 25 * 3600 * 1_000_000
    assert not try_submit(m, *CHAIN, submit_key="nightly").deduplicated
