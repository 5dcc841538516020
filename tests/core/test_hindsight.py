"""What a past placement is told about itself, and that it agrees with the pass that made it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from cortex.v1.cluster_pb2 import NodeVerdict
from cortex.v1.types_pb2 import Setting, Task
from node.core.hindsight import Scene, before, judge, judge_placement
from node.core.model import ASSIGNED, ON_NODE, RUNNING
from node.core.scheduler import Limits
from node.core.state import ClusterState
from tests.core.scheduling import node, pass_over, sample, state_of, task
from tests.core.test_scheduler_queue import clusters

FENCE = 7


def on(node_id: str, row: Task, fence: int = 3) -> Task:
    row.state, row.node, row.fence = RUNNING, node_id, fence
    return row


def by_node(verdicts: list[NodeVerdict]) -> dict[str, NodeVerdict]:
    return {verdict.node: verdict for verdict in verdicts}


def placed_at(fence: int, state: ClusterState, samples: dict[str, Any], limits: Limits) -> list[Task]:
    """The tasks of a pass as rows, as one entry would leave them."""
    rows = []
    for task_id, placement in pass_over(state, samples, limits):
        row = Task()
        row.CopyFrom(state.tasks[task_id])
        row.state, row.node, row.fence = ASSIGNED, placement.node, fence
        row.placement.CopyFrom(placement)
        rows.append(row)
    return rows


def test_the_chosen_node_keeps_its_score_and_the_others_what_stood_in_the_way() -> None:
    nodes = [node("a", 1), node("b", 1), node("c", labels=["x"])]
    done = task("t", min_memory_mb=1)
    (chosen,) = placed_at(
        FENCE, state_of(*nodes, on("a", task("r")), done), {"b": sample(50), "c": sample(0, 0)}, Limits()
    )
    chosen.state = 5
    scene = Scene(FENCE, nodes, [on("a", task("r"))], samples={"a": sample(), "b": sample(50), "c": sample(0, 0)})
    found = by_node(judge_placement(scene, chosen))
    assert found["b"].eligible
    assert found["b"].score == chosen.placement.score
    assert found["a"].reason == "no free shell slot (1 of 1 taken)"
    assert found["c"].reason == "needs 1 MB more memory"
    assert found["c"].flip == "free 1 MB of memory on c, or lower min_memory_mb to 0"


def test_what_was_not_kept_is_not_judged() -> None:
    wanting = task("t", min_memory_mb=10**6, avoid_gaming=True, labels=["x"])
    scene = Scene(FENCE, [node("a", labels=["x"]), node("b")], [])
    assert scene.unsampled == {"a", "b"}
    found = by_node(judge(scene, wanting))
    assert found["a"].eligible
    assert not found["a"].HasField("terms")
    assert found["b"].reason == "label x missing"


def test_a_node_that_was_out_of_reach_says_so() -> None:
    scene = Scene(FENCE, [node("a")], [], samples={"a": sample()}, unreachable=frozenset({"a"}))
    assert judge(scene, task("t"))[0].reason == "not connected to the leader"


def test_a_failure_of_the_placement_itself_did_not_keep_it_away_from_there_yet() -> None:
    done = on("b", task("t"), FENCE)
    done.placement.node = "b"
    done.unstartable_nodes.extend(["a", "b"])
    nodes = [node("a"), node("b"), node("c")]
    found = by_node(judge_placement(Scene(FENCE, nodes, [], samples=dict.fromkeys("abc", sample())), done))
    assert (found["a"].eligible, found["b"].eligible, found["c"].eligible) == (False, True, True)
    assert found["a"].flip == "cordon b and c: with no other node to ask it is tried on a again"


def test_a_node_that_is_gone_from_the_record_is_still_named_by_its_placement() -> None:
    done = on("gone", task("t"), FENCE)
    done.placement.node, done.placement.score = "gone", 61.5
    found = judge_placement(Scene(FENCE, [node("a")], []), done)
    assert (found[0].node, found[0].eligible, found[0].score) == ("gone", True, 61.5)


@pytest.mark.parametrize(("own", "there"), [("t0", []), ("t1", ["t0"]), ("t2", ["t0", "t1"])])
def test_of_its_own_entry_only_what_was_placed_before_counts(own: str, there: list[str]) -> None:
    rows = [on("a", task(f"t{number}"), FENCE) for number in range(3)]
    order = ["t0", "t1", "t2"]
    (mine,) = [row for row in rows if row.id == own]
    assert [row.id for row in before([*rows, on("a", task("r"))], mine, order)] == [*there, "r"]


@settings(max_examples=100, deadline=None)
@given(made=clusters())
def test_judged_afterwards_every_placement_of_a_pass_was_right(
    made: tuple[ClusterState, dict[str, Any], Limits],
) -> None:
    """Both profiles: the chosen node is eligible, with the score that the pass gave, and no better one was free."""
    state, samples, limits = made
    for profile in ("resources", "orchestrator"):
        state.settings["profile"] = Setting(name="profile", value=profile)
        placed = placed_at(FENCE, state, samples, limits)
        after = [*(row for row in state.tasks.values() if row.state in ON_NODE), *placed]
        order = [row.id for row in placed]
        for row in placed:
            scene = Scene(
                index=FENCE,
                nodes=list(state.nodes.values()),
                tasks=before(after, row, order),
                profile=profile,
                samples=samples,
                prefetch={node_id: limits.prefetch_of(node_id) for node_id in state.nodes},
                unreachable=frozenset(
                    node_id
                    for node_id in state.nodes
                    if limits.reachable is not None and node_id not in limits.reachable
                ),
            )
            found = by_node(judge(scene, row))[row.node]
            if row.node in scene.unsampled:
                assert found.eligible or row.spec.constraints.target_node
                continue
            assert found.eligible, found.reason
            if profile == "resources":
                assert found.score == pytest.approx(row.placement.score)
                assert found.terms == row.placement.terms
