"""A task is kept away from where it failed for as long as another node could be asked, and no longer."""

from __future__ import annotations

from typing import Any

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1.log_pb2 import Command, NodeCordon, NodeLeave
from node.core.drain import Scene, Times, rehearse
from node.core.drain_plan import Options
from node.core.explain import why
from node.core.model import ASSIGNED, QUEUED
from node.core.scheduler import Limits, Queue
from tests.core.cluster import Machine, cluster, failed
from tests.core.scheduling import NOW_US, node, pass_over, places, sample, state_of, task

IDLE = sample()
AWAY = t.NODE_STATE_CORDONED


def excluded(**fields: Any) -> t.Task:
    """Failed on node a."""
    return task("t", unstartable_nodes=["a"], **fields)


def leaves(m: Machine, how: str) -> None:
    if how == "cordoned":
        assert m.one(Command(node_cordon=NodeCordon(id="n2", cordoned=True))).accepted
    else:
        assert m.one(Command(node_leave=NodeLeave(id="n2", removed=how == "removed"))).accepted


@pytest.mark.parametrize("how", ["cordoned", "offline", "removed"])
def test_when_the_others_leave_later_it_is_tried_again_where_it_failed(how: str) -> None:
    m = cluster(2)
    task_id = m.submit()
    m.one(failed(task_id, m.assign(task_id, "n1"), cause=t.CAUSE_CANNOT_START))
    assert list(m.task(task_id).unstartable_nodes) == ["n1"]
    assert places(pass_over(m.state, {})) == {task_id: "n2"}
    leaves(m, how)
    assert places(pass_over(m.state, {})) == {task_id: "n1"}
    assert m.task(task_id).state == QUEUED
    m.one(failed(task_id, m.assign(task_id, "n1"), cause=t.CAUSE_CANNOT_START))
    assert (m.task(task_id).attempt, list(m.task(task_id).unstartable_nodes)) == (1, []), "now it counts"


def test_the_placement_says_why_it_is_tried_again() -> None:
    (placed,) = pass_over(state_of(node("a"), node("b", state=AWAY), excluded()), {"a": IDLE})
    assert placed.placement.reason.endswith("it failed there before, and no other node could be asked.")


def test_a_full_node_is_waited_for() -> None:
    held = task("r", type=t.TASK_TYPE_SHELL)
    held.state, held.node = ASSIGNED, "b"
    assert pass_over(state_of(node("a"), node("b", 1), held, excluded()), {"a": IDLE, "b": IDLE}) == []


@pytest.mark.parametrize(
    ("other", "wanting"),
    [
        ({"capacity": (1000, 0, 0)}, {"cpu_millis": 1500}),
        ({}, {"labels": ["here"]}),
        ({}, {"capabilities": ["kvm"]}),
        ({}, {"allowed_nodes": ["a"]}),
        ({}, {"excluded_nodes": ["b.lan"]}),
        ({}, {"target_node": "a.lan"}),
        ({"slots": 0}, {}),
        ({}, {"requires_gpu": True}),
    ],
)
def test_a_node_that_could_never_take_it_is_not_waited_for(other: Any, wanting: Any) -> None:
    there = node("a", labels=["here"], capabilities=["kvm"], capacity=(2000, 0, 1))
    state = state_of(there, node("b", **other), excluded(**wanting))
    assert places(pass_over(state, {})) == {"t": "a"}


def test_why_names_the_exclusion_and_what_would_end_it() -> None:
    state = state_of(node("a"), node("b"), node("c"), excluded())
    first, second, third = why(state, {}, state.tasks["t"])
    assert (first.eligible, first.reason) == (False, "could not start the command before")
    assert first.flip == "cordon b and c: with no other node to ask it is tried on a again"
    assert second.eligible
    assert third.eligible


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (t.Failure(node="a", cause=t.CAUSE_IDLE), "its agent was idle there before"),
        (t.Failure(node="a", cause=t.CAUSE_EXIT, blame=t.BLAME_NODE), "was to blame for a failure of it before"),
        (t.Failure(node="a", cause=t.CAUSE_CANNOT_START), "could not start the command before"),
    ],
)
def test_why_says_what_it_did_there(failure: t.Failure, words: str) -> None:
    state = state_of(node("a"), node("b"), excluded(failures=[failure]))
    assert why(state, {}, state.tasks["t"])[0].reason == words


def test_why_says_nothing_of_an_exclusion_that_does_not_hold() -> None:
    state = state_of(node("a"), node("b", state=AWAY), excluded())
    first, second = why(state, {}, state.tasks["t"])
    assert first.eligible
    assert second.reason == "cordoned"


def test_a_rehearsal_knows_that_it_will_be_tried_again() -> None:
    moving = excluded()
    moving.state, moving.node = ASSIGNED, "b"
    moving.spec.retry.retryable = True
    state = state_of(node("a"), node("b"), moving)
    queue = Queue()
    queue.load(state)
    scene = Scene(queue, state, {}, Limits(), {}, NOW_US, Times())
    plan = rehearse(scene, "b", Options(), "p")
    assert [(move.task, move.to) for move in plan.moves] == [("t", "a")]
    assert not plan.stuck
