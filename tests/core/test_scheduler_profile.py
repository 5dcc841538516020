"""Profile orchestrator: its terms by hand, and that a pass is that of a scheduler too simple to be wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.v1.types_pb2 import Placement, ScoreTerms, Setting, Task
from node.core import scheduler, score
from node.core.explain import why
from node.core.filters import node_info
from node.core.model import RUNNING
from node.core.scheduler import Limits
from node.core.state import ClusterState
from node.core.weights import DEFAULT, ONE, ORCHESTRATOR_TERMS
from tests.core.scheduling import GB, gpu, node, pass_over, places, plain_plan, sample, state_of, task
from tests.core.test_scheduler_queue import clusters
from tests.core.test_scheduler_score import summed

ORCHESTRATOR = Setting(name="profile", value='"orchestrator"')


def orchestrated(*rows: Any) -> ClusterState:
    return state_of(*rows, ORCHESTRATOR)


def on(node_id: str, task_id: str, **fields: Any) -> Task:
    row = task(task_id, **fields)
    row.state, row.node = RUNNING, node_id
    return row


def placed(state: ClusterState, task_id: str = "t", **samples: Any) -> Placement:
    (found,) = [one.placement for one in pass_over(state, samples) if one.task_id == task_id]
    return found


def test_weights_sum_to_exactly_one() -> None:
    weights = [getattr(DEFAULT, name) for name in ORCHESTRATOR_TERMS]
    assert weights == [500, 300, 150, 50]
    assert sum(weights) == ONE


def test_terms_by_hand() -> None:
    """0.5 × 70 for priority 7, 0.3 × 50 for one of two liked, 0.15 × 75 for one of four slots, 0.05 × 75 for one
    of the cluster's four tasks."""
    state = orchestrated(
        node("a", 4, capabilities=["x"]),
        node("b", 3, capabilities=["z"]),
        on("a", "r1"),
        *(on("b", f"s{number}") for number in range(3)),
        task("t", priority=7, preferred_capabilities=["x", "y"]),
    )
    found = placed(state)
    assert (found.node, found.profile) == ("a", "orchestrator")
    terms = found.terms
    assert (terms.priority, terms.capability, terms.load, terms.fairness) == (35.0, 15.0, 11.25, 3.75)
    assert found.score == summed(terms) == 65.0


def test_an_idle_cluster_gives_the_highest_priority_100_points() -> None:
    found = placed(orchestrated(node("a"), task("t", priority=10)))
    assert found.score == 100.0
    assert found.reason == "Best score with a free slot: 100.0 points."


def test_no_sample_is_needed_and_none_matters_but_for_games() -> None:
    busy, idle = sample(cpu=100, memory=0), sample(cpu=0)
    state = orchestrated(node("a"), node("b"), task("t"))
    assert placed(state, a=busy, b=idle).node == "a"
    assert placed(state).node == "a"
    for played in (sample(gaming=True), sample(interactive_owner=True), sample(gpus=[gpu(5, gaming=True)])):
        found = placed(state, a=played, b=busy)
        assert found.node == "b"
    (alone,) = pass_over(orchestrated(node("a"), task("t")), {"a": sample(gaming=True)})
    assert alone.placement.terms.gaming == -40.0
    assert alone.placement.score == 50.0 - 40.0


def test_filters_stay_as_they_are() -> None:
    state = orchestrated(node("a"), node("b"), task("t", min_memory_mb=9_000))
    assert placed(state, a=sample(memory=50), b=sample(memory=60)).node == "b"
    assert pass_over(state, {"a": sample(memory=50)}) == []
    assert sample(memory=60).memory_available_bytes == round(9.6 * GB)


@pytest.mark.parametrize("profile", ["resources", "orchestrator"])
def test_a_suspect_node_comes_after_its_equals_and_before_waiting(profile: str) -> None:
    suspect, sound = node("a"), node("b", 1)
    suspect.suspect_reason = "3 tasks failed there that succeeded elsewhere"
    setting = Setting(name="profile", value=profile)
    state = state_of(suspect, sound, task("t1"), task("t2"), setting)
    planned = pass_over(state, {"a": sample(), "b": sample()}, Limits(default_prefetch=9))
    assert places(planned) == {"t1": "b", "t2": "a"}
    assert planned[1].placement.terms.suspect == -20.0
    assert summed(planned[1].placement.terms) == pytest.approx(planned[1].placement.score)


def test_preferred_capabilities_outweigh_load_and_ties_go_to_the_lower_id() -> None:
    rows = [node("a", 2), node("b", 2, capabilities=["x"]), on("b", "r")]
    assert placed(orchestrated(*rows, task("t", preferred_capabilities=["x"]))).node == "b"
    assert placed(orchestrated(*rows, task("t"))).node == "a"
    assert placed(orchestrated(node("b"), node("a"), task("t"))).node == "a"


def test_a_burst_spreads_by_the_share_of_slots_and_goes_on_where_it_waits() -> None:
    state = orchestrated(node("a", 1), node("b", 3), *(task(f"t{number}") for number in range(8)))
    planned = pass_over(state, {}, Limits(default_prefetch=9))
    assert [one.placement.node for one in planned] == ["a", "b", "b", "b", "a", "b", "b", "b"]
    loads = [one.placement.terms.load for one in planned]
    assert loads[0] == 15.0
    assert loads[4] == 0.0  # full
    assert loads[5:] == pytest.approx([0.0, -5.0, -10.0])


def test_fairness_is_the_share_of_what_the_others_hold() -> None:
    rows = [node("a", 10), node("b", 20), *(on("b", f"s{number}", type=8) for number in range(2))]
    rows += [on("a", "r1", type=8), on("a", "r2", type=8)]
    found = placed(orchestrated(*rows, on("a", "r3", type=8), task("t")))
    assert found.node == "b"
    assert found.terms.fairness == pytest.approx(0.05 * 100 * (1 - 2 / 5))
    assert score.fairness_micros(5, 5) == 0
    assert score.fairness_micros(9, 5) == 0  # more than there were when the pass began


def test_a_node_in_a_view_is_scored_by_the_profile_in_force() -> None:
    info = node_info(node("a"), sample(cpu=0))
    points, terms = scheduler.node_score(orchestrated(node("a")), info)
    assert points == 50.0
    assert (terms.capability, terms.load, terms.fairness, terms.cpu) == (30.0, 15.0, 5.0, 0.0)


def test_why_shows_the_same_terms_as_the_placement() -> None:
    wanting = task("t", priority=5, preferred_capabilities=["x"])
    state = orchestrated(node("a", capabilities=["x"]), node("b"), on("b", "r"), wanting)
    verdicts = {verdict.node: verdict for verdict in why(state, {}, wanting)}
    found = placed(state)
    assert verdicts["a"].terms == found.terms
    assert verdicts["b"].terms == ScoreTerms(priority=25.0, load=11.25)


@settings(max_examples=100, deadline=None)
@given(made=clusters(), most=st.integers(1, 20))
def test_a_pass_equals_looking_at_every_node_for_every_task(
    made: tuple[ClusterState, dict[str, Any], Limits], most: int
) -> None:
    state, samples, limits = made
    state.settings["profile"] = ORCHESTRATOR
    planned = pass_over(state, samples, limits, most)
    plain = plain_plan(state, samples, limits, most)
    assert [(one.task_id, one.placement.node) for one in planned] == [(one, place) for one, place, _ in plain]
    assert [one.placement.score for one in planned] == pytest.approx([points for *_, points in plain], abs=1e-5)
    assert all(summed(one.placement.terms) == pytest.approx(one.placement.score) for one in planned)
