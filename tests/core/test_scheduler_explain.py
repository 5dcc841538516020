"""Why a node does not take a task, and the smallest change after which it would: by the filters of the pass."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from cortex.v1.cluster_pb2 import NodeVerdict
from cortex.v1.types_pb2 import NodeState, Resources, TaskType
from node.core.explain import why
from node.core.model import COMPLETED, PENDING, QUEUED, RUNNING
from node.core.scheduler import Limits
from node.core.state import ClusterState
from tests.core.scheduling import CONTAINER, GB, NOW_US, node, pass_over, places, sample, state_of, task
from tests.core.test_scheduler_queue import clusters

PYTHON, K8S = TaskType.TASK_TYPE_PYTHON, TaskType.TASK_TYPE_K8S_JOB
SAMPLE = sample(memory=50, disk=10)  # 8 GB, 100 GB


def verdict(there: Any, wanting: Any, *others: Any, seen: Resources | None = SAMPLE, **more: Any) -> NodeVerdict:
    state = state_of(there, wanting, *others)
    (found,) = why(state, {there.id: seen} if seen is not None else {}, wanting, **more)
    return found


def running(task_id: str, **fields: Any) -> Any:
    row = task(task_id, **fields)
    row.state, row.node = RUNNING, "a"
    return row


@pytest.mark.parametrize(
    ("there", "wanting", "reason", "flip"),
    [
        (
            {},
            {"min_memory_mb": 10_100},
            "needs 2.1 GB more memory",
            "free 2.1 GB of memory on a, or lower min_memory_mb to 8000",
        ),
        ({}, {"min_disk_gb": 150}, "needs 50 GB more disk", "free 50 GB of disk on a, or lower min_disk_gb to 100"),
        ({"state": NodeState.NODE_STATE_CORDONED}, {}, "cordoned", "uncordon a"),
        ({"online": False}, {}, "offline", "bring a online"),
        (
            {"state": NodeState.NODE_STATE_DRAINING, "online": False},
            {},
            "draining and offline",
            "uncordon a and bring a online",
        ),
        ({}, {"labels": ["gpu"]}, "label gpu missing", "label a with gpu"),
        ({}, {"labels": ["zone=eu", "ssd"]}, "none of the labels ssd, zone=eu", "label a with ssd"),
        (
            {"capabilities": ["kvm"]},
            {"capabilities": ["kvm", "docker"]},
            "capability docker missing",
            "give a the capability docker",
        ),
        (
            {},
            {"capabilities": ["python:resize", "kvm"]},
            "capability kvm, python:resize missing",
            "give a the capability kvm, and name a module with the handler resize in [executor.python] of a",
        ),
        ({}, {"requires_gpu": True}, "no GPU", "drop requires_gpu"),
        ({}, {"type": CONTAINER}, "runs no container tasks", "give a a slot for container tasks"),
        ({}, {"target_node": "b"}, "target_node is b", "set target_node to a"),
        ({}, {"allowed_nodes": ["b"]}, "not among allowed_nodes", "add a to allowed_nodes"),
        ({}, {"excluded_nodes": ["a"]}, "among excluded_nodes", "take a out of excluded_nodes"),
        (
            {"capacity": (1000, 0, 0)},
            {"cpu_millis": 2500},
            "needs 1.5 cores more CPU",
            "request at most 1 core of CPU",
        ),
    ],
)
def test_reason_and_flip(there: Any, wanting: Any, reason: str, flip: str) -> None:
    found = verdict(node("a", **there), task("t", **wanting))
    assert (found.node, found.eligible, found.reason, found.flip) == ("a", False, reason, flip)


def test_a_type_that_a_node_cannot_run_says_why_and_what_to_do_there() -> None:
    there = node("a")
    why = "podman does not answer. Start it, or install another engine."
    there.executors.add(type=CONTAINER, reason=why)
    found = verdict(there, task("t", type=CONTAINER))
    assert found.reason == "runs no container tasks: podman does not answer"
    assert found.flip == "on a: Start it, or install another engine"
    there.executors[0].reason = "podman is off. docker is off. Start one."
    found = verdict(there, task("t", type=CONTAINER))
    assert found.reason == "runs no container tasks: podman is off. docker is off"
    assert found.flip == "on a: Start one"
    there.executors[0].reason = "It is broken"
    found = verdict(there, task("t", type=CONTAINER))
    assert (found.reason, found.flip) == (
        "runs no container tasks: It is broken",
        "give a a slot for container tasks",
    )
    # An operator may have taken the slots of what would run.
    there.executors[0].available = True
    assert verdict(there, task("t", type=CONTAINER)).reason == "runs no container tasks"


@pytest.mark.parametrize(
    ("kind", "comes", "name"), [(PYTHON, "python:resize", "python"), (K8S, "k8s:gke", "k8s_job")]
)
def test_what_comes_with_a_type_is_no_second_reason_where_the_type_is_missing(
    kind: int, comes: str, name: str
) -> None:
    there = node("a")
    there.executors.add(type=kind, reason="It has none. Give it some.")
    found = verdict(there, task("t", type=kind, capabilities=[comes]))
    assert (found.reason, found.flip) == (f"runs no {name} tasks: It has none", "on a: Give it some")
    found = verdict(there, task("t", type=kind, capabilities=[comes, "kvm"]))
    assert found.reason == f"runs no {name} tasks: It has none; capability kvm missing"
    there.slots.add(type=kind, count=1)
    assert verdict(there, task("t", type=kind, capabilities=[comes])).reason == f"capability {comes} missing"


def test_an_eligible_node_has_its_score_and_no_reason() -> None:
    found = verdict(node("a"), task("t"), running("r"))
    assert found.eligible
    assert (found.reason, found.flip) == ("", "")
    assert found.terms.tasks == -5.0
    assert found.score == pytest.approx(0.3 * 80 + 0.3 * 50 + 0.15 * 10 + 10 - 5)


def test_every_obstacle_is_named_and_all_must_go() -> None:
    there = node("a", state=NodeState.NODE_STATE_CORDONED)
    found = verdict(there, task("t", labels=["gpu"]))
    assert found.reason == "cordoned; label gpu missing"
    assert found.flip == "uncordon a; and label a with gpu"


def test_full_slots_reservations_locks_and_limits_are_reasons() -> None:
    there = node("a", 1, capacity=(0, 4 * GB, 0))
    found = verdict(there, task("t", memory_bytes=2 * GB), running("r", memory_bytes=3 * GB))
    assert found.reason == "needs 1 GB more reserved memory; no free shell slot (1 of 1 taken)"
    assert "wait until tasks on a end that reserve 1 GB" in found.flip
    found = verdict(node("a"), task("t", locks=["db"]), running("r", locks=["db"]))
    assert (found.reason, found.flip) == ("lock db is held by task r", "wait until task r ends")
    crowd = [running("r", memory_bytes=3 * GB), running("s"), running("t2")]
    found = verdict(there, task("t", memory_bytes=GB), *crowd)
    assert found.reason == "no free shell slot (1 of 1 taken, 2 more wait for one)"
    alike = {"limit_key": "k", "limit_count": 1}
    found = verdict(node("a"), task("t", **alike), running("r", **alike))
    assert found.reason == "limit key k is used up (1 of 1)"
    assert found.flip == "wait until one task of it ends, or raise limit_count to 2"


def test_prefetch_makes_a_full_node_eligible() -> None:
    there, wanting, other = node("a", 1), task("t"), running("r")
    assert not verdict(there, wanting, other).eligible
    assert verdict(there, wanting, other, limits=Limits(default_prefetch=1)).eligible


def test_a_task_that_is_not_due_says_when() -> None:
    wanting = task("t", scheduled_after_us=NOW_US + 1_500_000)
    assert verdict(node("a"), wanting, now_us=NOW_US).reason == "not due for 1.5 s"
    assert verdict(node("a"), wanting).eligible


def test_a_member_of_a_workflow_waits_for_what_it_depends_on() -> None:
    wanting = task("w.2", workflow_id="w", member=2, depends_on=[0, 1])
    wanting.state = PENDING
    first, second = running("w.0", workflow_id="w"), task("w.1", workflow_id="w")
    found = verdict(node("a"), wanting, first, second)
    assert (found.reason, found.flip) == ("waits for 2 tasks that it depends on", "wait until they end")
    second.state = COMPLETED
    found = verdict(node("a"), wanting, first, second)
    assert (found.reason, found.flip) == ("waits for 1 task that it depends on", "wait until w.0 ends")
    first.state = COMPLETED
    assert verdict(node("a"), wanting, first, second).reason == "waits for its workflow's verdict"


def test_without_a_sample_live_filters_say_so_once() -> None:
    found = verdict(node("a"), task("t", min_memory_mb=1, min_disk_gb=1), seen=None)
    assert (found.reason, found.flip) == ("no sample of its resources yet", "wait for a sample of a")


def test_a_node_without_a_session_is_named() -> None:
    found = verdict(node("a"), task("t"), limits=Limits(reachable=frozenset()))
    assert (found.reason, found.flip) == ("not connected to the leader", "reconnect a")


def test_a_running_task_is_judged_without_its_own_use() -> None:
    there = node("a", 1, capacity=(1000, 0, 0))
    wanting = running("t", cpu_millis=1000, locks=["l"], limit_key="k", limit_count=1)
    found = verdict(there, wanting)
    assert found.eligible
    assert found.terms.tasks == 0.0


def test_a_flip_that_is_carried_out_flips() -> None:
    there = sample(memory=50)
    wanting = task("t", min_memory_mb=9_000)
    assert pass_over(state_of(node("a"), wanting), {"a": there}) == []
    wanting.spec.constraints.min_memory_mb = 8_000
    assert places(pass_over(state_of(node("a"), wanting), {"a": there})) == {"t": "a"}


@settings(max_examples=100, deadline=None)
@given(made=clusters())
def test_a_verdict_agrees_with_the_pass(made: tuple[ClusterState, dict[str, Any], Limits]) -> None:
    """For each queued task alone: it is placed if and only if some node is eligible, and on the best of those."""
    state, samples, limits = made
    for wanting in [row for row in state.tasks.values() if row.state == QUEUED]:
        alone = state_of(
            *state.nodes.values(), *(row for row in state.tasks.values() if row.state != QUEUED), wanting
        )
        verdicts = why(alone, samples, wanting, limits, NOW_US)
        eligible = {one.node: one for one in verdicts if one.eligible}
        assert all(bool(one.reason) == bool(one.flip) == (not one.eligible) for one in verdicts)
        planned = pass_over(alone, samples, limits)
        assert bool(planned) == bool(eligible)
        for one in planned:
            assert one.placement.node in eligible
            assert one.placement.score == pytest.approx(eligible[one.placement.node].score)
            assert one.placement.terms == eligible[one.placement.node].terms


def test_long_words_of_a_node_are_cut_between_two() -> None:
    there = node("a")
    there.executors.add(type=CONTAINER, reason=f"{'podman says no ' * 30}. {'Mend it, ' * 60}")
    found = verdict(there, task("t", type=CONTAINER))
    assert found.reason.endswith(" podman says no podman…")
    assert found.flip.endswith(" Mend it…")
