"""Scores computed by hand, and that the weights are those of the specification."""

from __future__ import annotations

import math

import pytest

from cortex.v1.types_pb2 import Gpu, Resources, ScoreTerms
from node.core import scheduler, score
from node.core.filters import Ask, NodeInfo, ask_of, node_info
from node.core.model import RUNNING
from node.core.room import Rooms
from node.core.scheduler import Limits
from node.core.state import ClusterState
from node.core.weights import DEFAULT, ONE, RESOURCE_TERMS
from tests.core.scheduling import GB, gpu, node, pass_over, sample, state_of, task


def summed(terms: ScoreTerms) -> float:
    return sum(getattr(terms, item.name) for item in terms.DESCRIPTOR.fields)


def busy(count: int) -> ClusterState:
    """A cluster whose node n runs so many tasks."""
    rows = [task(f"r{number}") for number in range(count)]
    for row in rows:
        row.state, row.node = RUNNING, "n"
    return state_of(node("n"), *rows)


def score_for(info: NodeInfo, running: int, ask: Ask) -> tuple[float, ScoreTerms]:
    return scheduler.score(Rooms(busy(running)).make(info, 0), ask)


def node_score(seen: Resources | None, running: int) -> tuple[float, ScoreTerms]:
    return scheduler.node_score(busy(running), node_info(node("n"), seen))


def test_weights_sum_to_exactly_one() -> None:
    weights = [getattr(DEFAULT, name) for name in RESOURCE_TERMS]
    assert weights == [300, 300, 150, 100, 150]
    assert sum(weights) == ONE
    assert [weight / ONE for weight in weights] == [0.30, 0.30, 0.15, 0.10, 0.15], "as floats, to the last bit"
    assert (score.TASK_PENALTY, score.GAMING_PENALTY) == (5, 40)


def test_an_idle_machine_with_a_gpu_is_worth_100() -> None:
    idle = sample(cpu=0, memory=100, disk=100, gpus=[gpu(0)])
    assert score.points(idle).micros(gpu=True) == 100 * score.MICROS
    assert score.points(idle).micros(gpu=False) == 85 * score.MICROS


# cpu 80 × 0.30 = 24, memory 75 × 0.30 = 22.5, disk min(50, 90) × 0.15 = 7.5, network 90 × 0.10 = 9
BUSY = {"disk_io_percent": 10.0, "rx_bytes_per_s": 12_500_000.0, "tx_bytes_per_s": 100.0, "link_bits_per_s": GB}


def test_terms_computed_by_hand() -> None:
    points, terms = node_score(sample(20, 75, 50, **BUSY), 2)
    assert (terms.cpu, terms.memory, terms.disk, terms.network) == pytest.approx((24.0, 22.5, 7.5, 9.0))
    assert (terms.gpu, terms.tasks, terms.gaming) == (0.0, -10.0, 0.0)
    assert points == pytest.approx(53.0)
    assert summed(terms) == pytest.approx(points)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"disk_io_percent": 80.0}, 0.15 * 20),
        ({"disk_io_percent": 40.0}, 0.15 * 50),
        ({"disk_io_percent": 250.0}, 0.0),
    ],
)
def test_disk_is_the_worse_of_space_and_io(fields: dict[str, float], expected: float) -> None:
    assert score.points(sample(disk=50, **fields)).disk == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 10.0),
        ({"tx_bytes_per_s": 62_500_000.0}, 5.0),  # half of the 1 Gbit/s that an unknown link is taken for
        ({"rx_bytes_per_s": 62_500_000.0, "link_bits_per_s": 10 * GB}, 9.5),
        ({"rx_bytes_per_s": 1e12}, 0.0),
    ],
)
def test_network_is_the_busier_direction_against_the_link(fields: dict[str, float], expected: float) -> None:
    assert score.points(sample(**fields)).network == pytest.approx(expected)


def test_the_gpu_term_is_of_the_best_gpu_that_no_game_uses_and_only_for_who_asks() -> None:
    both = sample(gpus=[gpu(70), gpu(10, gaming=True)])
    info = node_info(node("n"), both)
    plain, _ = score_for(info, 0, ask_of(task("t").spec))
    wants, terms = score_for(info, 0, ask_of(task("t", requires_gpu=True).spec))
    reserves, _ = score_for(info, 0, ask_of(task("t", gpus=1).spec))
    assert terms.gpu == pytest.approx(0.15 * 30)
    assert wants - plain == pytest.approx(4.5)
    assert reserves == wants
    assert score.points(sample(gpus=[gpu(10, gaming=True)])).gpu == 0.0


@pytest.mark.parametrize(
    "fields",
    [
        {"gaming": True},
        {"interactive_owner": True},
        {"gpus": [Gpu(gaming=True)]},
        {"gaming": True, "interactive_owner": True},
    ],
)
def test_a_game_or_an_owner_at_the_machine_costs_40_once(fields: dict[str, object]) -> None:
    points, terms = node_score(sample(20, 75, 50, **fields), 0)
    undisturbed, _ = node_score(sample(20, 75, 50), 0)
    assert terms.gaming == -40.0
    assert points == pytest.approx(undisturbed - 40)
    assert summed(terms) == pytest.approx(points)


def test_without_a_sample_only_penalties_count() -> None:
    points, terms = node_score(None, 3)
    assert points == -15.0
    assert terms == ScoreTerms(tasks=-15.0)


def test_figures_that_are_no_numbers_or_out_of_range_stay_within_their_term() -> None:
    wild = Resources(
        cpu_percent=math.nan, disk_io_percent=-math.inf, rx_bytes_per_s=math.nan, memory_total_bytes=-5
    )
    worth = score.points(wild)
    for term, weight in (
        (worth.cpu, 30),
        (worth.memory, 30),
        (worth.disk, 15),
        (worth.network, 10),
        (worth.gpu, 15),
    ):
        assert 0.0 <= term <= weight


def test_preferred_capabilities_raise_the_score_by_five_each() -> None:
    info = node_info(node("n", capabilities=["avx", "docker"]), sample())
    plain, _ = score_for(info, 1, ask_of(task("t").spec))
    liked, terms = score_for(info, 1, ask_of(task("t", preferred_capabilities=["avx", "docker", "kvm"]).spec))
    assert liked - plain == pytest.approx(10.0)
    assert terms.preferred == 10.0
    assert summed(terms) == pytest.approx(liked)


def test_a_placement_keeps_the_terms_of_the_moment() -> None:
    state = state_of(node("n"), task("a"), task("b"))
    first, second = pass_over(state, {"n": sample(20, 75, 50)}, Limits())
    assert first.placement.terms.tasks == 0.0
    assert second.placement.terms.tasks == -5.0
    for planned in (first, second):
        assert summed(planned.placement.terms) == pytest.approx(planned.placement.score)
        assert f"{planned.placement.score:.1f} points" in planned.placement.reason
        assert planned.placement.reason.endswith(".")
