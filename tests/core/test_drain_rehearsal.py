"""What a drain would do: by the scheduler's own pass, so that it is what a pass then does."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.v1.types_pb2 import DrainPlan, NodeState, OnLost, Resources, Setting, Task
from node.core import drain_plan
from node.core.drain import Scene, Times, rehearse
from node.core.drain_plan import Options
from node.core.model import ASSIGNED, QUEUED, RUNNING
from node.core.scheduler import Limits, Queue, plan
from node.core.state import ClusterState
from tests.core.scheduling import NOW_US, node, pass_over, places, sample, state_of, task
from tests.core.test_scheduler_queue import clusters

IDLE = sample(cpu=0)
VOTERS = {"a": True, "b": True, "c": True}


def on(node_id: str, task_id: str, *, retryable: bool = True, state: int = RUNNING, **fields: Any) -> Task:
    row = task(task_id, **fields)
    row.state, row.node, row.fence = state, node_id, 1  # type: ignore[assignment]
    row.spec.retry.retryable = retryable
    row.spec.kill_timeout_ms = 5_000
    row.started_at_us = NOW_US - 60_000_000 if state == RUNNING else 0
    return row


def scene(state: ClusterState, **more: Any) -> Scene:
    queue = Queue()
    queue.load(state)
    samples = more.pop("samples", dict.fromkeys(state.nodes, IDLE))
    limits, times = more.pop("limits", Limits()), more.pop("times", Times())
    return Scene(queue, state, samples, limits, more.pop("voters", VOTERS), NOW_US, times)


def rehearsed(state: ClusterState, node_id: str = "a", **more: Any) -> DrainPlan:
    options = Options(**{name: more.pop(name) for name in Options._fields if name in more})
    return rehearse(scene(state, **more), node_id, options, "p1")


def test_each_task_lands_where_a_pass_puts_it_and_the_rest_waits_for_room() -> None:
    tasks = [on("a", f"t{n}", priority=n) for n in range(4)]
    found = rehearsed(state_of(node("a"), node("b", 2), node("c", 1), *tasks))
    assert {move.task: move.to for move in found.moves} == {"t3": "b", "t2": "c", "t1": "b", "t0": ""}
    assert "Best score" in next(move.reason for move in found.moves if move.to)
    assert next(move.reason for move in found.moves if not move.to).startswith("It waits in the queue")
    assert (list(found.stuck), found.former_state, found.index) == ([], NodeState.NODE_STATE_ACTIVE, 1)


def test_it_lands_by_the_profile_in_force() -> None:
    profile = Setting(name="profile", value='"orchestrator"')
    likes = {"preferred_capabilities": ["x"]}
    nodes = (node("a"), node("b", 1, capabilities=["x"]), node("c", 9))
    found = rehearsed(state_of(*nodes, on("a", "t", **likes), profile))
    waits = state_of(*nodes[1:], task("t", **likes), profile)
    samples = dict.fromkeys("bc", IDLE)
    assert [(move.to, move.reason) for move in found.moves] == [
        (one.placement.node, one.placement.reason) for one in pass_over(waits, samples)
    ]


def test_a_waiting_task_of_higher_rank_takes_its_place_first() -> None:
    found = rehearsed(state_of(node("a"), node("b", 1), on("a", "moves"), task("urgent", priority=9, labels=[])))
    assert [(move.task, move.to) for move in found.moves] == [("moves", "")]


def test_what_only_this_node_can_take_has_nowhere_to_go() -> None:
    there = node("a", labels=["gpu"], capacity=(8000, 0, 0))
    tasks = [on("a", "pinned", target_node="a"), on("a", "tagged", labels=["gpu"]), on("a", "big", cpu_millis=5000)]
    found = rehearsed(state_of(there, node("b", capacity=(2000, 0, 0)), node("c", online=False), *tasks))
    reasons = {item.task: item.reason for item in found.stuck}
    assert reasons == {
        "pinned": "No other node takes it: target_node is a (1 node); offline (1 node).",
        "tagged": "No other node takes it: label gpu missing (1 node); offline (1 node).",
        "big": "No other node takes it: needs 3 cores more CPU (1 node); offline (1 node).",
    }
    assert not any(item.dead_letter for item in found.stuck)


def test_the_only_node_leaves_nowhere_to_go() -> None:
    found = rehearsed(state_of(node("a"), on("a", "t")), voters={"a": True})
    assert [item.reason for item in found.stuck] == ["There is no other node."]


def test_a_full_cluster_makes_tasks_wait_it_does_not_make_them_stuck() -> None:
    found = rehearsed(state_of(node("a"), node("b", 1), on("b", "there"), on("a", "t")))
    assert [(move.task, move.to) for move in found.moves] == [("t", "")]
    assert not found.stuck


def test_locks_and_limits_that_the_moved_tasks_hold_move_with_them() -> None:
    rows = [on("a", "locked", locks=["db"]), on("a", "limited", limit_key="k", limit_count=1)]
    found = rehearsed(state_of(node("a"), node("b"), *rows))
    assert {move.task: move.to for move in found.moves} == {"locked": "b", "limited": "b"}


def test_what_is_not_retryable_runs_on_to_the_deadline_or_to_its_end() -> None:
    state = state_of(node("a"), node("b"), on("a", "once", retryable=False))
    for more, dead, words in (
        ({}, True, "becomes a dead letter at the deadline"),
        ({"hold": True}, False, "runs on until it ends"),
        ({"deadline_ms": 0}, False, "runs on until it ends"),
    ):
        (item,) = rehearsed(state, **more).stuck
        assert (item.task, item.dead_letter) == ("once", dead)
        assert words in item.reason


def test_a_lost_task_is_not_moved_and_a_cancelled_one_is_not_mentioned() -> None:
    lost, cancelled = on("a", "lost", on_lost=OnLost.ON_LOST_HOLD), on("a", "cancelled")
    lost.lost_at_us, cancelled.cancel_requested = NOW_US, True
    found = rehearsed(state_of(node("a"), node("b"), lost, cancelled))
    assert [(item.task, item.dead_letter) for item in found.stuck] == [("lost", True)]
    assert not found.moves


@pytest.mark.parametrize(
    ("voters", "node_id", "expected"),
    [
        ({"a": True, "b": True, "c": True}, "a", (3, 3, 2, 2, True)),
        ({"a": True, "b": True, "c": False}, "a", (3, 2, 2, 1, False)),
        ({"a": False, "b": True, "c": True}, "a", (3, 2, 2, 2, True)),
        ({"a": True, "b": True, "c": False}, "w", (3, 2, 2, 2, True)),
        ({"a": True}, "a", (1, 1, 1, 0, False)),
        ({"b": True, "c": False, "d": False}, "w", (3, 1, 2, 1, True)),
    ],
)
def test_the_quorum_if_it_were_switched_off(voters: dict[str, bool], node_id: str, expected: Any) -> None:
    effect = drain_plan.quorum(voters, node_id)
    assert (effect.voters, effect.up, effect.needed, effect.up_without, effect.ok) == expected


def test_the_time_follows_stops_in_turns_and_what_runs_on() -> None:
    moving = [on("a", f"t{n}") for n in range(5)]
    state = state_of(node("a"), node("b"), *moving, on("a", "fresh", state=ASSIGNED))
    assert rehearsed(state).eta_ms == 5_000
    assert rehearsed(state, max_parallel=2).eta_ms == 15_000
    assert rehearsed(state, max_parallel=2, times=Times(stop_ms=200)).eta_ms == 600
    assert rehearsed(state, max_parallel=1, deadline_ms=10_000).eta_ms == 10_000
    once = state_of(node("a"), node("b"), on("a", "once", retryable=False))
    assert rehearsed(once).eta_ms == 60_000
    assert rehearsed(once, times=Times(run_ms=100_000)).eta_ms == 40_000
    assert rehearsed(once, times=Times(run_ms=1_000)).eta_ms == 60_000
    assert rehearsed(once, deadline_ms=30_000).eta_ms == 30_000
    assert rehearsed(state_of(node("a"), node("b"))).eta_ms == 0


# Whether a plan holds


def stuck(state: ClusterState, *tasks: Task, **more: Any) -> DrainPlan:
    return rehearsed(state_of(*state.nodes.values(), *tasks), **more)


def test_tasks_that_came_or_went_and_can_land_elsewhere_do_not_break_a_plan() -> None:
    base = state_of(node("a"), node("b"))
    planned = stuck(base, on("a", "t1"), on("a", "once", retryable=False))
    assert drain_plan.broken(planned, stuck(base, on("a", "t2"), on("a", "t3"))) is None
    assert drain_plan.broken(planned, planned) is None


def test_harm_that_was_not_planned_breaks_it() -> None:
    base = state_of(node("a"), node("b"))
    pinned, once = on("a", "pinned", target_node="a"), on("a", "once", retryable=False)
    assert "pinned" in (drain_plan.broken(stuck(base), stuck(base, pinned)) or "")
    assert "once" in (drain_plan.broken(stuck(base, pinned), stuck(base, pinned, once)) or "")
    lost = on("a", "pinned", target_node="a")
    lost.lost_at_us = NOW_US
    broken = drain_plan.broken(stuck(base, pinned), stuck(base, lost))
    assert broken is not None
    assert "was not to become a dead letter" in broken


def test_a_worse_quorum_breaks_it_unless_forced() -> None:
    base = state_of(node("a"), node("b"))
    down = {"a": True, "b": True, "c": False}
    assert drain_plan.broken(stuck(base), stuck(base, voters=down)) == (
        "Without it 1 of 3 voters would be up, and 2 are needed to go on."
    )
    assert drain_plan.broken(stuck(base, force=True), stuck(base, voters=down)) is None
    assert drain_plan.broken(stuck(base, voters=down), stuck(base, voters=down)) is None


# Against what a pass does


def migrated(state: ClusterState, node_id: str) -> ClusterState:
    """The state once the node is cordoned and all that may migrate is back in the queue."""
    rows: list[Any] = []
    for row in state.nodes.values():
        new = type(row)()
        new.CopyFrom(row)
        if new.id == node_id:
            new.state = NodeState.NODE_STATE_CORDONED
        rows.append(new)
    for one in state.tasks.values():
        new_task = Task()
        new_task.CopyFrom(one)
        if one.node == node_id and one.state in (ASSIGNED, RUNNING) and drain_plan.may_migrate(one):
            new_task.state, new_task.queued_at_us, new_task.scheduled_after_us = QUEUED, NOW_US, 0
        rows.append(new_task)
    return state_of(*rows)


@settings(max_examples=100, deadline=None)
@given(made=clusters(), seed=st.integers(0, 2**32))
def test_a_rehearsal_is_what_a_pass_then_does_and_leaves_the_queue_as_it_was(
    made: tuple[ClusterState, dict[str, Resources], Limits], seed: int
) -> None:
    state, samples, limits = made
    if not state.nodes:
        return
    random_ = random.Random(seed)
    node_id = random_.choice(sorted(state.nodes))
    rows = []
    for one in state.tasks.values():
        row = Task()
        row.CopyFrom(one)
        row.spec.retry.retryable = random_.random() < 0.8
        if row.state == QUEUED and random_.random() < 0.5:
            row.state, row.node = random_.choice([ASSIGNED, RUNNING]), node_id
        rows.append(row)
    state = state_of(*state.nodes.values(), *rows)
    stage = scene(state, samples=samples, limits=limits)
    before = plan(stage.queue, state, samples, limits, NOW_US, 100)
    found = rehearse(stage, node_id, Options(), "p1")
    assert plan(stage.queue, state, samples, limits, NOW_US, 100) == before
    after = migrated(state, node_id)
    queue = Queue()
    queue.load(after)
    landed = places(plan(queue, after, samples, limits, NOW_US, 10_000).placements)
    moving = {one.id for one in rows if one.node == node_id and one.state != QUEUED and drain_plan.may_migrate(one)}
    assert {move.task: move.to for move in found.moves if move.to} == {
        task_id: to for task_id, to in landed.items() if task_id in moving
    }
    named = [*(move.task for move in found.moves), *(item.task for item in found.stuck)]
    assert sorted(named) == sorted(state.by_node.get(node_id, ()))


def test_ten_thousand_tasks_are_rehearsed_whole() -> None:
    nodes = [node(f"n{n:03}", 60) for n in range(200)]
    state = state_of(node("a", 10_000), *nodes, *(on("a", f"t{n:05}", priority=n % 3) for n in range(10_000)))
    found = rehearsed(state, samples={row.id: IDLE for row in nodes})
    assert len(found.moves) == 10_000
    assert all(move.to for move in found.moves)
    assert found.ByteSize() < 2 * 1024 * 1024
