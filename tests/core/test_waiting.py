"""Why due tasks wait, in one line for all that ask for the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from cortex.v1.types_pb2 import Gpu, Node, NodeState, Task
from node.core.explain import why
from node.core.model import QUEUED, RUNNING
from node.core.queue import group_key
from node.core.scheduler import Limits, Queue
from node.core.state import ClusterState
from node.core.waiting import Survey, shape_of
from tests.core.scheduling import GB, NOW_US, node, sample, state_of, task
from tests.core.test_scheduler_queue import clusters

SEEN = sample(memory=50, disk=10)  # 8 GB, 100 GB


def reason(wanting: Task, *rows: Node | Task, limits: Limits | None = None) -> str:
    state = state_of(wanting, *rows)
    queue = Queue()
    queue.load(state)
    group = queue.group_of(wanting.id)
    assert group is not None
    return Survey(state, queue, dict.fromkeys(state.nodes, SEEN), limits or Limits()).reason(group)


def running(task_id: str, node_id: str, **fields: Any) -> Task:
    row = task(task_id, **fields)
    row.state, row.node = RUNNING, node_id
    return row


def test_on_one_node_its_obstacle_is_the_reason() -> None:
    assert reason(task("t"), node("a", 1), running("r", "a")) == "no free shell slot"
    assert reason(task("t", min_memory_mb=9_000), node("a")) == "too little memory"
    assert reason(task("t"), node("a", state=NodeState.NODE_STATE_CORDONED)) == "cordoned"
    assert reason(task("t"), node("a"), limits=Limits(reachable=frozenset())) == "not connected to the leader"
    assert reason(task("t", cpu_millis=2000), node("a", capacity=(1000, 0, 0))) == "too little CPU"


def test_on_several_nodes_obstacles_are_counted_the_most_frequent_first() -> None:
    rows = [
        node("a", 1),
        node("b", 1),
        running("r", "a"),
        running("s", "b"),
        node("c", state=NodeState.NODE_STATE_CORDONED),
    ]
    assert reason(task("t"), *rows) == "no free shell slot (2 nodes); cordoned (1 node)"
    more = [node("d", online=False), node("e", 0)]
    expected = "no free shell slot (2 nodes); cordoned (1 node); offline (1 node); and more"
    assert reason(task("t"), *rows, *more) == expected


def test_nothing_is_in_the_way_where_one_node_takes_it() -> None:
    assert reason(task("t"), node("a", 1), running("r", "a"), node("b")) == ""
    assert reason(task("t"), node("a", 1), running("r", "a"), limits=Limits(default_prefetch=1)) == ""


def test_locks_limits_and_an_empty_cluster_come_first() -> None:
    assert (
        reason(task("t", locks=["db"]), node("a"), running("r", "a", locks=["db"])) == "lock db is held by task r"
    )
    alike = {"limit_key": "k", "limit_count": 1}
    assert reason(task("t", **alike), node("a"), running("r", "a", **alike)) == "limit key k is used up (1 of 1)"
    assert reason(task("t")) == "the cluster has no nodes"


def test_a_shape_is_what_any_client_makes_from_the_spec() -> None:
    wanting = task("t", min_disk_gb=5, cpu_millis=100, locks=["b", "a"], limit_key="k", limit_count=2)
    shape = shape_of(group_key(wanting.spec))
    assert (shape.type, shape.limit_key, shape.limit_count) == (wanting.spec.type, "k", 2)
    assert (shape.constraints, shape.requests) == (wanting.spec.constraints, wanting.spec.requests)
    assert list(shape.locks) == ["a", "b"]
    plain = Task()
    plain.spec.type, plain.spec.limit_key = wanting.spec.type, "unused"
    bare = shape_of(group_key(plain.spec))
    assert not bare.HasField("constraints")
    assert not bare.HasField("requests")
    assert bare.limit_key == ""


@settings(max_examples=100, deadline=None)
@given(made=clusters())
def test_a_group_waits_if_and_only_if_why_names_no_node(made: tuple[ClusterState, dict[str, Any], Limits]) -> None:
    state, samples, limits = made
    queue = Queue()
    queue.load(state)
    survey = Survey(state, queue, samples, limits)
    for row in state.tasks.values():
        if row.state != QUEUED or row.scheduled_after_us > NOW_US or row.unstartable_nodes:
            continue
        group = queue.group_of(row.id)
        assert group is not None
        eligible = any(verdict.eligible for verdict in why(state, samples, row, limits, NOW_US))
        assert (survey.reason(group) == "") == eligible


@pytest.mark.parametrize("gaming", [True, False])
def test_a_game_is_a_reason_for_those_who_avoid_it(gaming: bool) -> None:
    state = state_of(task("t", avoid_gaming=True), node("a"))
    queue = Queue()
    queue.load(state)
    group = queue.group_of("t")
    assert group is not None
    played = sample(gpus=[Gpu(gaming=gaming)])
    assert Survey(state, queue, {"a": played}, Limits()).reason(group) == ("a game runs" if gaming else "")
    assert played.memory_available_bytes == 12 * GB
