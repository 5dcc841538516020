"""A condition that ends the process that judges it: told, tried again a bounded number of times, then an error."""

from __future__ import annotations

from cortex.v1 import types_pb2 as t
from node.core.explain import why
from node.core.transitions.workflows import CONDITION_TRIES
from tests.core.cluster import Machine, cluster
from tests.core.workflows import finish, judge, member, resume, state, states, step, submit, verdict

CRASH = {"unanswered": "its process ended with -11", "crashed": True}


def waiting() -> tuple[Machine, str]:
    """`b` waits for the verdict on its condition."""
    m = cluster()
    flow = submit(m, step("a"), step("b", "a", condition="poison"), step("c", "b"))
    finish(m, flow, "a")
    return m, flow


def crash(m: Machine, flow: str, times: int = 1) -> None:
    for _ in range(times):
        judge(m, flow, "b", **CRASH)  # type: ignore[arg-type]


def test_a_try_without_a_verdict_is_told() -> None:
    m, flow = waiting()
    crash(m, flow, 2)
    task = member(m, flow, "b")
    assert (task.state, task.condition_crashes) == (t.TASK_STATE_PENDING, 2)
    told = f"its condition could not be judged (try 2 of {CONDITION_TRIES}): its process ended with -11"
    assert task.reason == told
    (event,) = m.last_events()
    assert (event.type, event.workflow, event.detail) == (t.EVENT_TYPE_CONDITION_UNANSWERED, flow, told)
    first, _ = why(m.state, {}, task)
    assert told in first.reason


def test_the_last_try_is_an_error_of_the_condition() -> None:
    m, flow = waiting()
    crash(m, flow, CONDITION_TRIES)
    task = member(m, flow, "b")
    assert (task.state, task.skip_reason) == (t.TASK_STATE_SKIPPED, t.SKIP_REASON_CONDITION_ERROR)
    assert task.condition_error == f"judged {CONDITION_TRIES} times, and each time its process ended with -11"
    assert states(m, flow) == {"a": "completed", "b": "skipped", "c": "skipped"}
    assert state(m, flow) == "completed"


def test_a_verdict_after_crashes_counts_and_forgets_them() -> None:
    m, flow = waiting()
    crash(m, flow, CONDITION_TRIES - 1)
    judge(m, flow, "b", value=True)
    task = member(m, flow, "b")
    assert (task.state, task.condition_crashes, task.reason) == (t.TASK_STATE_QUEUED, 0, "")


def test_a_new_run_has_all_its_tries() -> None:
    m, flow = waiting()
    crash(m, flow, CONDITION_TRIES)
    assert m.one(resume(flow)).accepted
    crash(m, flow)
    assert member(m, flow, "b").condition_crashes == 1


def test_what_is_not_the_conditions_doing_does_not_count() -> None:
    m, flow = waiting()
    for _ in range(CONDITION_TRIES + 1):
        judge(m, flow, "b", unanswered="no process: out of memory")
    task = member(m, flow, "b")
    assert (task.state, task.condition_crashes) == (t.TASK_STATE_PENDING, 0)
    assert task.reason == "its condition could not be judged: no process: out of memory"
    assert not m.last_events(), "said once"


def test_words_without_meaning_are_cut_and_cleaned() -> None:
    m, flow = waiting()
    assert verdict(m, member(m, flow, "b").id, unanswered="\x1b[31m" + "x" * 1000, crashed=True).accepted
    reason = member(m, flow, "b").reason
    assert "\x1b" not in reason
    assert len(reason) < 400
