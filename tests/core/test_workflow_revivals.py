"""What comes back to life: a member that is retried, a workflow that is resumed, in memory or long spilled."""

from __future__ import annotations

import pytest

from cortex.v1 import types_pb2
from node.core.faults import Code
from tests.core.cluster import Machine, cancel, cluster, fenced, retry
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
    try_submit,
)

CHAIN = (step("a"), step("b", "a"), step("c", "b"), step("side"))


def runs(m: Machine, w: str) -> dict[str, int]:
    return {key: member(m, w, key).run for key in states(m, w)}


def failed_chain(spill: bool = True) -> tuple[Machine, str]:
    """a is a dead letter, b and c are skipped, side completed; the workflow has ended."""
    m = cluster() if spill else Machine(spill=False)
    if not spill:
        m.join("n1")
    w = submit(m, *CHAIN)
    finish(m, w, "side")
    fail(m, w, "a")
    assert state(m, w) == "failed"
    assert (w in m.state.workflows) == (not spill)
    return m, w


def test_who_runs_again_is_released_by_no_node() -> None:
    m = cluster()
    w = submit(m, *CHAIN)
    finish(m, w, "a", "b", "c", "side")
    assert member(m, w, "b").node
    assert m.one(resume(w, "a")).accepted
    finish(m, w, "a")
    released = [event for event in m.events if event.type == types_pb2.EVENT_TYPE_RELEASED and event.run == 2]
    assert [event.node for event in released] == [""] * len(released)
    assert any(event.task == member(m, w, "b").id for event in released)


@pytest.mark.parametrize("spill", [True, False])
def test_a_retried_member_brings_its_workflow_back(spill: bool) -> None:
    m, w = failed_chain(spill)
    assert m.one(retry(f"{w}.0")).accepted
    assert states(m, w) == {"a": "queued", "b": "pending", "c": "pending", "side": "completed"}
    assert runs(m, w) == {"a": 2, "b": 2, "c": 2, "side": 1}
    again = row(m, w)
    assert (state(m, w), again.run, again.remaining, again.failures, again.completed_at_us) == (
        "running",
        2,
        3,
        0,
        0,
    )
    finish(m, w, "a", "b", "c")
    assert state(m, w) == "completed"


def test_a_retry_leaves_live_and_completed_descendants_alone() -> None:
    m = cluster()
    w = submit(
        m,
        step("a"),
        step("told", "a", rule="always"),
        step("runs", "a", rule="always"),
        step("skipped", "a"),
        step("other"),
    )
    fail(m, w, "a")
    finish(m, w, "told")
    start(m, w, "runs")
    assert m.one(retry(f"{w}.0")).accepted
    assert states(m, w) == {
        "a": "queued", "told": "completed", "runs": "assigned", "skipped": "pending", "other": "queued",
    }  # fmt: skip
    assert runs(m, w) == {"a": 2, "told": 1, "runs": 1, "skipped": 2, "other": 1}
    assert row(m, w).run == 1
    finish(m, w, "runs", "a", "skipped", "other")
    assert state(m, w) == "completed"


def test_a_revived_descendant_behind_a_completed_one_is_judged_at_once() -> None:
    m = cluster()
    w = submit(
        m,
        step("a"),
        step("b", "a", rule="always"),
        step("c", "b", condition="0"),
        step("d", "c", rule="none_failed"),
    )
    fail(m, w, "a")
    finish(m, w, "b")
    judge(m, w, "c", value=False)
    finish(m, w, "d")
    assert state(m, w) == "failed"
    m.one(retry(f"{w}.0"))
    assert states(m, w) == {"a": "queued", "b": "completed", "c": "pending", "d": "completed"}
    judge(m, w, "c")
    finish(m, w, "a", "c")
    assert state(m, w) == "completed"


def test_resume_runs_again_what_did_not_complete() -> None:
    m, w = failed_chain()
    reply = m.one(resume(w))
    assert reply.accepted
    assert [item.id for item in reply.items] == [f"{w}.0", f"{w}.1", f"{w}.2"]
    assert states(m, w) == {"a": "queued", "b": "pending", "c": "pending", "side": "completed"}
    assert (row(m, w).run, runs(m, w)) == (2, {"a": 2, "b": 2, "c": 2, "side": 1})
    finish(m, w, "a", "b", "c")
    assert state(m, w) == "completed"
    refused = m.one(resume(w))
    assert (refused.accepted, refused.code) == (False, Code.WRONG_STATE)


def test_resume_takes_the_descendants_of_what_failed_along() -> None:
    m = cluster()
    w = submit(m, step("a"), step("b", "a", rule="always"), step("c", "b"), step("clean", final=True))
    fail(m, w, "a")
    finish(m, w, "b", "c", "clean")
    m.one(resume(w))
    assert states(m, w) == {"a": "queued", "b": "pending", "c": "pending", "clean": "pending"}
    finish(m, w, "a", "b", "c", "clean")
    assert (state(m, w), runs(m, w)) == ("completed", {"a": 2, "b": 2, "c": 2, "clean": 2})


def test_resume_from_a_key_runs_all_that_comes_after() -> None:
    m = cluster()
    w = submit(m, *CHAIN)
    finish(m, w, "a", "b", "c", "side")
    reply = m.one(resume(w, "b"))
    assert [item.id for item in reply.items] == [f"{w}.1", f"{w}.2"]
    assert states(m, w) == {"a": "completed", "b": "queued", "c": "pending", "side": "completed"}
    finish(m, w, "b", "c")
    assert state(m, w) == "completed"


def test_resume_from_a_key_outranks_its_rule() -> None:
    m, w = failed_chain()
    assert m.one(resume(w, "b")).accepted
    assert states(m, w) == {"a": "dead_letter", "b": "queued", "c": "pending", "side": "completed"}
    finish(m, w, "b", "c")
    assert (state(m, w), row(m, w).failures) == ("failed", 1)


def test_resume_judges_rules_and_conditions_again() -> None:
    m = cluster()
    w = submit(m, step("a"), step("tell", "a", rule="one_failed"), step("ask", "a", condition="0"), step("bad"))
    finish(m, w, "a")
    judge(m, w, "ask", value=False)
    fail(m, w, "bad")
    assert states(m, w)["tell"] == "skipped"
    m.one(resume(w))
    assert states(m, w) == {"a": "completed", "tell": "skipped", "ask": "pending", "bad": "queued"}
    assert runs(m, w) == {"a": 1, "tell": 2, "ask": 2, "bad": 2}


def test_resume_is_refused_while_something_of_it_runs() -> None:
    m = cluster()
    w = submit(m, step("a"), step("b", "a", rule="always"), step("other"))
    fail(m, w, "a")
    start(m, w, "b")
    refused = m.one(resume(w))
    assert (refused.accepted, refused.code) == (False, Code.WRONG_STATE)
    assert "b" in refused.message
    assert row(m, w).run == 1


def test_resume_holds_what_was_released_but_not_assigned() -> None:
    m = cluster()
    w = submit(m, step("a"), step("b", "a"), step("other"))
    finish(m, w, "a")
    assert states(m, w)["b"] == "queued"
    assert m.one(resume(w, "a")).accepted
    assert states(m, w) == {"a": "queued", "b": "pending", "other": "queued"}
    assert runs(m, w) == {"a": 2, "b": 1, "other": 1}
    finish(m, w, "a", "b", "other")
    assert state(m, w) == "completed"


def test_resume_after_a_cancel() -> None:
    m = cluster()
    w = submit(m, *CHAIN)
    finish(m, w, "a")
    m.one(cancel_workflow(w, "stop"))
    assert state(m, w) == "cancelled"
    m.one(resume(w))
    again = row(m, w)
    assert (state(m, w), again.cancel_requested, again.cancel_reason, again.reason) == ("running", False, "", "")
    assert states(m, w) == {"a": "completed", "b": "queued", "c": "pending", "side": "queued"}
    finish(m, w, "b", "c", "side")
    assert state(m, w) == "completed"


def test_resume_of_what_is_not_there() -> None:
    m, w = failed_chain()
    assert m.one(resume("nothing")).code == Code.NOT_FOUND
    assert m.one(resume(w, "nothing")).code == Code.NOT_FOUND
    # What counts as printable differs between versions of Python, and an event repeats this on every replica.
    assert "'\\u0378'" in m.one(resume(w, "\u0378")).message


def test_resume_of_all_instances_of_a_map() -> None:
    m = cluster()
    w = submit(m, step("t", map=[b"1", b"2"]), step("after", "t"))
    finish(m, w, "t[0]", "t[1]", "after")
    m.one(resume(w, "t"))
    assert states(m, w) == {"t[0]": "queued", "t[1]": "queued", "after": "pending"}


def test_resume_of_a_map_leaves_instances_that_wait_in_the_queue_there() -> None:
    m = cluster()
    w = submit(m, step("t", map=[b"1", b"2"]), step("after", "t"))
    fail(m, w, "t[0]")
    assert m.one(resume(w, "t")).accepted
    assert states(m, w) == {"t[0]": "queued", "t[1]": "queued", "after": "pending"}
    finish(m, w, "t[0]", "t[1]", "after")
    assert state(m, w) == "completed"


def test_timeouts_of_the_run_before_do_not_count() -> None:
    m = cluster()
    w = submit(m, *(step(key, condition="x") for key in "abc"))
    for key in "abc":
        judge(m, w, key, value=False, condition_error="late", timed_out=True)
    assert state(m, w) == "failed"
    m.one(resume(w))
    assert row(m, w).condition_timeouts == 0
    for key in "abc":
        judge(m, w, key)
    finish(m, w, "a", "b", "c")
    assert state(m, w) == "completed"
    assert all(not member(m, w, key).condition_error for key in "abc")


def test_a_workflow_that_lives_again_has_its_key_again() -> None:
    m = cluster()
    w = submit(m, *CHAIN[:1], submit_key="k")
    fail(m, w, "a")
    m.one(resume(w))
    m.now_us += 30 * 3600 * 1_000_000
    assert try_submit(m, *CHAIN[:1], submit_key="k").deduplicated


def test_a_lost_member_is_retried_within_its_run_of_the_workflow() -> None:
    m = cluster()
    w = submit(m, step("a", spec={"on_lost": types_pb2.ON_LOST_HOLD}), step("b", "a"))
    fence = start(m, w, "a")
    m.one(fenced("task_lost", f"{w}.0", fence))
    assert m.one(retry(f"{w}.0")).accepted
    assert (states(m, w), row(m, w).remaining) == ({"a": "queued", "b": "pending"}, 2)
    finish(m, w, "a", "b")
    assert state(m, w) == "completed"


def test_a_discard_in_an_ended_workflow_leaves_it_ended() -> None:
    m, w = failed_chain()
    before = row(m, w)
    assert m.one(cancel(f"{w}.0", "known")).accepted
    assert row(m, w) == before
    assert m.one(resume(w)).accepted
    assert row(m, w).failures == 0
