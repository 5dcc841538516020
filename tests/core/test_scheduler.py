"""Filter, score, reserve: which node each task goes to, and which must wait."""

from __future__ import annotations

from typing import Any

import pytest

from cortex.v1.types_pb2 import NodeState, Slots
from node.core.explain import why
from node.core.model import ASSIGNED, RUNNING
from node.core.scheduler import Limits
from tests.core.scheduling import (
    ACTIVE,
    CONTAINER,
    GB,
    NOW_US,
    gpu,
    ids,
    node,
    pass_over,
    places,
    sample,
    state_of,
    task,
)

IDLE = sample(cpu=0)
WORSE = sample(cpu=50)


def running(task_id: str, node_id: str, **fields: Any) -> Any:
    row = task(task_id, **fields)
    row.state, row.node = RUNNING, node_id
    return row


def test_the_best_score_wins() -> None:
    state = state_of(node("a"), node("b"), node("c"), task("t"))
    assert places(pass_over(state, {"a": WORSE, "b": IDLE, "c": WORSE})) == {"t": "b"}


def test_ties_go_to_the_lower_node_id() -> None:
    state = state_of(node("n2"), node("n1"), node("n3"), task("t"))
    assert places(pass_over(state, dict.fromkeys(("n1", "n2", "n3"), IDLE))) == {"t": "n1"}


def test_a_tie_is_not_decided_by_the_rounding_of_floats() -> None:
    """0.3 × 70 + 0.3 × 10 and 0.3 × 50 + 0.3 × 30 differ in their last bit."""
    state = state_of(node("a"), node("b"), task("t"))
    assert places(pass_over(state, {"a": sample(30, 10), "b": sample(50, 30)})) == {"t": "a"}
    assert places(pass_over(state, {"a": sample(50, 30), "b": sample(30, 10)})) == {"t": "a"}


def test_a_burst_spreads_as_each_placement_costs_five_points() -> None:
    """a leads by 15 points: it gets four tasks before b, equal then, gets its first."""
    state = state_of(node("a", 8), node("b", 8), *(task(f"t{n}") for n in range(7)))
    placed = pass_over(state, {"a": sample(cpu=0), "b": sample(cpu=50)})
    assert [one.placement.node for one in placed] == ["a", "a", "a", "a", "b", "a", "b"]


def test_tasks_of_all_types_weigh_on_a_node() -> None:
    two_kinds = node("a")
    two_kinds.slots.append(Slots(type=CONTAINER, count=4))
    state = state_of(two_kinds, node("b"), running("r", "a", type=CONTAINER), task("t"))
    assert places(pass_over(state, {"a": IDLE, "b": IDLE})) == {"t": "b"}


@pytest.mark.parametrize("state", [s for s in NodeState.values() if s != ACTIVE])
def test_only_active_nodes_take_tasks(state: int) -> None:
    cluster = state_of(node("a", state=state), task("t"), task("pinned", target_node="a"))
    assert pass_over(cluster, {"a": IDLE}) == []


def test_offline_and_unreachable_nodes_take_nothing() -> None:
    state = state_of(node("a", online=False), node("b"), node("c"), task("t"))
    samples = {"a": IDLE, "b": IDLE, "c": WORSE}
    assert places(pass_over(state, samples, Limits(reachable={"a", "c"}))) == {"t": "c"}


def test_a_node_without_slots_for_the_type_takes_nothing() -> None:
    state = state_of(node("a"), task("t", type=CONTAINER), task("pinned", type=CONTAINER, target_node="a"))
    assert pass_over(state, {"a": IDLE}, Limits(default_prefetch=9)) == []


@pytest.mark.parametrize(("available", "placed"), [(2_000_000_000, True), (1_999_999_999, False)])
def test_min_memory_is_met_at_exactly_its_threshold(available: int, placed: bool) -> None:
    there = sample()
    there.memory_available_bytes = available
    state = state_of(node("a"), task("t", min_memory_mb=2000))
    assert bool(pass_over(state, {"a": there})) is placed


@pytest.mark.parametrize(("free", "placed"), [(7_000_000_000, True), (6_999_999_999, False)])
def test_min_disk_is_met_at_exactly_its_threshold(free: int, placed: bool) -> None:
    there = sample()
    there.disk_free_bytes = free
    state = state_of(node("a"), task("t", min_disk_gb=7))
    assert bool(pass_over(state, {"a": there})) is placed


@pytest.mark.parametrize(
    ("constraint", "row", "there", "placed"),
    [
        ({"requires_gpu": True}, {}, {}, False),
        ({"requires_gpu": True}, {}, {"gpus": [gpu(99)]}, True),
        ({"avoid_gaming": True}, {}, {"gaming": True}, False),
        ({"avoid_gaming": True}, {}, {"gpus": [gpu(5, gaming=True)]}, False),
        ({"avoid_gaming": True}, {}, {"interactive_owner": True}, True),
        ({}, {}, {"gaming": True}, True),
        ({"labels": ["gpu"]}, {}, {}, False),
        ({"labels": ["gpu"]}, {"labels": ["gpu"]}, {}, True),
        ({"labels": ["gpu"]}, {"labels": ["gpu=a100"]}, {}, True),
        ({"labels": ["gpu=a100"]}, {"labels": ["gpu"]}, {}, False),
        ({"labels": ["zone=eu", "zone=us"]}, {"labels": ["zone=us"]}, {}, True),
        ({"labels": ["zone=eu", "ssd"]}, {"labels": ["zone=us"]}, {}, False),
        ({"capabilities": ["docker", "kvm"]}, {"capabilities": ["kvm"]}, {}, False),
        ({"capabilities": ["docker", "kvm"]}, {"capabilities": ["kvm", "docker"]}, {}, True),
        ({"allowed_nodes": ["b", "a.lan"]}, {}, {}, True),
        ({"allowed_nodes": ["b"]}, {}, {}, False),
        ({"excluded_nodes": ["a"]}, {}, {}, False),
        ({"excluded_nodes": ["a.lan"]}, {}, {}, False),
        ({"excluded_nodes": ["b"]}, {}, {}, True),
    ],
)
def test_every_constraint(constraint: Any, row: Any, there: Any, placed: bool) -> None:
    wanting = task("t", **constraint)
    state = state_of(node("a", **row), wanting)
    samples = {"a": sample(**there)}
    assert bool(pass_over(state, samples)) is placed
    assert why(state, samples, wanting)[0].eligible is placed


@pytest.mark.parametrize(
    "live", [{"min_memory_mb": 1}, {"min_disk_gb": 1}, {"avoid_gaming": True}, {"requires_gpu": True}]
)
def test_without_a_sample_a_node_takes_only_what_needs_no_live_figure(live: Any) -> None:
    state = state_of(node("a"), task("live", **live), task("plain"))
    placed = pass_over(state, {})
    assert places(placed) == {"plain": "a"}
    assert placed[0].placement.score == 0.0


def test_a_node_with_a_sample_goes_before_one_without() -> None:
    state = state_of(node("a"), node("b"), task("t"))
    assert places(pass_over(state, {"b": sample(cpu=99, memory=1, disk=1)})) == {"t": "b"}


def test_a_declared_gpu_counts_until_there_is_a_sample() -> None:
    state = state_of(node("a", capacity=(0, 0, 1)), task("t", requires_gpu=True))
    assert places(pass_over(state, {})) == {"t": "a"}
    assert pass_over(state, {"a": sample()}) == []


@pytest.mark.parametrize("target", ["b", "b.lan"])
def test_a_target_skips_score_and_live_filters(target: str) -> None:
    gaming = sample(cpu=100, memory=0, gaming=True)
    wanting = task(
        "t", target_node=target, min_memory_mb=9999, min_disk_gb=9999, avoid_gaming=True, requires_gpu=True
    )
    placed = pass_over(state_of(node("a"), node("b"), wanting), {"a": IDLE, "b": gaming})
    assert places(placed) == {"t": "b"}
    assert placed[0].placement.score == 0.0
    assert "target_node" in placed[0].placement.reason


@pytest.mark.parametrize(
    "declared", [{"labels": ["gpu"]}, {"capabilities": ["kvm"]}, {"excluded_nodes": ["a"]}, {"cpu_millis": 1}]
)
def test_a_target_skips_nothing_that_is_declared(declared: Any) -> None:
    assert pass_over(state_of(node("a"), task("t", target_node="a", **declared)), {"a": IDLE}) == []


def test_a_target_that_several_machines_share_takes_the_one_with_fewer_tasks() -> None:
    state = state_of(
        node("a", hostname="box"), node("b", hostname="box"), running("r", "a"), task("t", target_node="box")
    )
    assert places(pass_over(state, {"a": IDLE, "b": WORSE})) == {"t": "b"}


def test_a_target_waits_when_it_is_full_rather_than_go_elsewhere() -> None:
    state = state_of(node("a", 1), node("b"), running("r", "a"), task("t", target_node="a"))
    assert pass_over(state, {"a": IDLE, "b": IDLE}) == []


def test_slots_bound_what_is_assigned() -> None:
    state = state_of(node("a", 2), *(task(f"t{n}") for n in range(5)))
    assert len(pass_over(state, {"a": IDLE})) == 2
    assert ids(pass_over(state, {"a": IDLE})) == ["t0", "t1"]


def test_running_and_assigned_tasks_use_slots() -> None:
    assigned = running("r2", "a")
    assigned.state = ASSIGNED
    state = state_of(node("a", 3), running("r1", "a"), assigned, task("t1"), task("t2"))
    assert len(pass_over(state, {"a": IDLE})) == 1


def test_slots_are_per_executor_kind() -> None:
    both = node("a", 1)
    both.slots.append(Slots(type=CONTAINER, count=1))
    state = state_of(both, task("s1"), task("s2"), task("c1", type=CONTAINER), task("c2", type=CONTAINER))
    assert sorted(places(pass_over(state, {"a": IDLE}))) == ["c1", "s1"]


def test_prefetch_is_bounded_per_node_and_by_512() -> None:
    state = state_of(node("a", 2), node("b", 2), *(task(f"t{n:04}") for n in range(1200)))
    samples = {"a": IDLE, "b": IDLE}
    some = [one.placement.node for one in pass_over(state, samples, Limits(prefetch={"a": 3}))]
    assert (some.count("a"), some.count("b")) == (5, 2)
    most = [one.placement.node for one in pass_over(state, samples, Limits(default_prefetch=100_000))]
    assert (most.count("a"), most.count("b")) == (514, 514)


@pytest.mark.parametrize(
    "holds",
    [{"locks": ["db"]}, {"limit_key": "k", "limit_count": 9}, {"cpu_millis": 1}, {"memory_bytes": 1}, {"gpus": 1}],
)
def test_what_holds_something_is_not_prefetched(holds: Any) -> None:
    there = node("a", 1, capacity=(8000, GB, 8))
    state = state_of(there, running("r", "a"), task("holds", **holds), task("plain"))
    assert places(pass_over(state, {"a": IDLE}, Limits(default_prefetch=5))) == {"plain": "a"}
    state = state_of(there, task("holds", **holds))
    assert places(pass_over(state, {"a": IDLE}, Limits(default_prefetch=5))) == {"holds": "a"}


def test_a_free_slot_goes_before_a_better_score_without_one() -> None:
    state = state_of(node("a", 1), node("b", 1), running("r", "a"), task("t1"), task("t2"))
    placed = pass_over(state, {"a": IDLE, "b": sample(cpu=100, memory=0)}, Limits(default_prefetch=5))
    assert places(placed) == {"t1": "b", "t2": "a"}
    assert "free slot" in placed[0].placement.reason
    assert "wait for a slot" in placed[1].placement.reason


def test_requests_are_reserved_in_the_pass_and_in_the_state() -> None:
    there = node("a", 9, capacity=(4000, 8 * GB, 0))
    state = state_of(there, running("r", "a", cpu_millis=1000), *(task(f"t{n}", cpu_millis=1500) for n in range(3)))
    assert len(pass_over(state, {"a": IDLE})) == 2
    state = state_of(there, *(task(f"t{n}", memory_bytes=3 * GB) for n in range(3)))
    assert len(pass_over(state, {"a": IDLE})) == 2
    state = state_of(there, task("g", gpus=1), task("exact", cpu_millis=4000, memory_bytes=8 * GB))
    assert places(pass_over(state, {"a": IDLE})) == {"exact": "a"}


def test_a_request_looks_past_full_nodes_even_when_they_score_better() -> None:
    nodes = [node(f"n{n:03}", capacity=(1000, 0, 0)) for n in range(200)]
    nodes.append(node("z", capacity=(9000, 0, 0)))
    samples = {row.id: IDLE for row in nodes} | {"z": sample(cpu=90)}
    state = state_of(*nodes, *(task(f"t{n}", cpu_millis=2000) for n in range(5)))
    assert [one.placement.node for one in pass_over(state, samples)] == ["z"] * 4


def test_locks_let_one_holder_in_at_a_time() -> None:
    state = state_of(node("a"), task("t1", locks=["x", "y"]), task("t2", locks=["y"]), task("t3", locks=["z"]))
    assert sorted(places(pass_over(state, {"a": IDLE}))) == ["t1", "t3"]
    state = state_of(node("a"), running("r", "a", locks=["z"]), task("t3", locks=["z"]), task("t4"))
    assert sorted(places(pass_over(state, {"a": IDLE}))) == ["t4"]


def test_a_limit_key_lets_so_many_run() -> None:
    many = [task(f"t{n}", limit_key="k", limit_count=3) for n in range(5)]
    assert len(pass_over(state_of(node("a", 9), *many), {"a": IDLE})) == 3
    held = running("r", "a", limit_key="k", limit_count=3)
    assert (
        len(
            pass_over(state_of(node("a", 9), held, *many, task("other", limit_key="o", limit_count=1)), {"a": IDLE})
        )
        == 3
    )


def test_a_node_that_could_not_start_it_is_not_asked_again_while_there_is_another() -> None:
    state = state_of(
        node("a"), node("b"), task("t", unstartable_nodes=["a"]), task("u", unstartable_nodes=["a", "b"])
    )
    assert places(pass_over(state, {"a": IDLE, "b": WORSE})) == {"t": "b", "u": "a"}


def test_one_task_without_a_node_does_not_hold_up_its_like() -> None:
    full = task("r")
    full.state, full.node = RUNNING, "b"
    state = state_of(node("a"), node("b", 1), full, task("t0", unstartable_nodes=["a"]), task("t1"), task("t2"))
    assert ids(pass_over(state, {"a": IDLE})) == ["t1", "t2"]


def retried(task_id: str, node_id: str, **fields: Any) -> Any:
    row = task(task_id, attempt=1, **fields)
    row.node = node_id
    return row


def test_a_retry_prefers_another_node_but_takes_the_same_rather_than_none() -> None:
    samples = {"a": IDLE, "b": WORSE}
    placed = pass_over(state_of(node("a"), node("b"), retried("t", "a")), samples)
    assert places(placed) == {"t": "b"}
    assert "rather than a" in placed[0].placement.reason
    placed = pass_over(state_of(node("a"), node("b", 0), retried("t", "a")), samples)
    assert places(placed) == {"t": "a"}
    assert "no other node" in placed[0].placement.reason


def test_a_recalled_task_may_go_back_to_where_it_was() -> None:
    row = task("t")
    row.node = "a"
    assert places(pass_over(state_of(node("a"), node("b"), row), {"a": IDLE, "b": WORSE})) == {"t": "a"}


def test_a_task_that_is_not_due_waits() -> None:
    state = state_of(node("a"), task("t", scheduled_after_us=NOW_US + 1), task("u", scheduled_after_us=NOW_US))
    assert places(pass_over(state, {"a": IDLE})) == {"u": "a"}


def test_no_more_than_asked_for() -> None:
    state = state_of(node("a", 9), *(task(f"t{n}") for n in range(9)))
    assert ids(pass_over(state, {"a": IDLE}, most=4)) == ["t0", "t1", "t2", "t3"]


def test_an_empty_cluster_places_nothing() -> None:
    assert pass_over(state_of(task("t")), {}) == []
