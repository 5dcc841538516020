"""The setting `weights`: what may be set, and that scores and placements follow it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from cortex.v1.log_pb2 import Command, SettingsChange
from cortex.v1.types_pb2 import Setting
from node.core import settings, weights
from node.core.explain import why
from node.core.faults import Code
from node.core.hindsight import Scene, judge
from node.core.scheduler import Limits, Queue, node_score, plan
from node.core.score import MICROS
from node.core.settings_help import views
from node.core.weights import DEFAULT, ONE, ORCHESTRATOR_TERMS, RESOURCE_TERMS
from tests.core.cluster import Machine, cluster
from tests.core.scheduling import NOW_US, gpu, node, pass_over, places, sample, state_of, task

MEMORY_FIRST = "cpu=0.1,memory=0.5,disk=0.15,network=0.1,gpu=0.15"
LOAD_FIRST = "priority=0,capability=0.105,load=0.845,fairness=0.05"
BUSY_OR_FULL = {"busy": sample(cpu=70, memory=90), "full": sample(cpu=0, memory=40)}


def row(text: str) -> Setting:
    return Setting(name="weights", value=f'"{text}"')


def change(m: Machine, name: str, value: str) -> str:
    """What the cluster says against it; empty when it is accepted."""
    reply = m.one(Command(settings_change=SettingsChange(name=name, value=value)))
    assert reply.accepted or reply.code == Code.INVALID
    return "" if reply.accepted else reply.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cpu=1", "must name every term: memory, disk, network, gpu missing."),
        ("cpu=0.3,memory=0.3,disk=0.15,network=0.1,gpu=0.15,luck=0", "'luck' is none of them."),
        ("luck=1", "'luck' is none of them."),
        ("cpu=0.3,memory=0.3,disk=0.15,network=0.1,load=0.15", "'load' is none of them."),
        ("cpu=0.3,cpu=0.3,memory=0.3,disk=0.15,network=0.1,gpu=0.15", "cpu is there twice."),
        ("cpu=-0.1,memory=0.7,disk=0.15,network=0.1,gpu=0.15", "that of cpu is '-0.1'."),
        ("cpu=0.3001,memory=0.2999,disk=0.15,network=0.1,gpu=0.15", "that of cpu is '0.3001'."),
        ("cpu=nan,memory=0.3,disk=0.15,network=0.1,gpu=0.15", "that of cpu is 'nan'."),
        ("cpu=٠,memory=0.6,disk=0.15,network=0.1,gpu=0.15", "that of cpu is '\\u0660'."),
        ("cpu,memory=0.6,disk=0.15,network=0.1,gpu=0.15", "that of cpu is ''."),
        ("cpu=0.3,memory=0.3,disk=0.15,network=0.1,gpu=0.149", "these sum to 0.999."),
        ("cpu=1.3,memory=0.3,disk=0.15,network=0.1,gpu=0.15", "these sum to 2.00."),
        ("cpu=1," * 60, "must have at most 200 characters."),
        ("null", "'null' is none of them."),
    ],
)
def test_what_may_not_be_set_is_refused_with_its_cause(text: str, says: str) -> None:
    m = cluster()
    for value in (text, f'"{text}"'):
        said = change(m, "weights", value)
        assert "weights must" in said
        assert said.endswith(says)
        assert said.endswith(settings.flaw("weights", value) or "?"), "known before the log is asked"
    assert "weights" not in m.state.settings
    assert weights.parse(text) == DEFAULT


def test_they_are_those_of_the_profile_in_force() -> None:
    m = cluster()
    other = "weights are of the terms priority, capability, load, fairness, and profile resources has cpu, "
    assert other in change(m, "weights", LOAD_FIRST)
    assert change(m, "profile", "orchestrator") == ""
    assert change(m, "weights", LOAD_FIRST) == ""
    assert other in change(m, "profile", "resources")
    assert change(m, "weights", "default") == ""
    assert change(m, "profile", "resources") == ""
    assert change(m, "weights", '""') == ""
    assert settings.weights_of(m.state.settings["weights"]) == DEFAULT


def test_a_view_shows_what_is_in_force_and_it_may_be_set_as_shown() -> None:
    def shown(*rows: Setting) -> tuple[str, str]:
        """The value, and what the help says that the default is."""
        (view,) = [one for one in views({each.name: each for each in rows}) if one.name == "weights"]
        default = view.help.rpartition(" ")[2].rstrip(".")
        assert view.default_value == '"default"'
        assert settings.flaw("weights", view.value) is settings.flaw("weights", default) is None
        return view.value.strip('"'), default

    plain = "cpu=0.30,memory=0.30,disk=0.15,network=0.10,gpu=0.15"
    assert shown() == shown(row("default")) == shown(row("")) == ("default", plain)
    assert shown(row(MEMORY_FIRST)) == ("cpu=0.10,memory=0.50,disk=0.15,network=0.10,gpu=0.15", plain)
    orchestrated = Setting(name="profile", value="orchestrator")
    value, default = shown(orchestrated, row(LOAD_FIRST))
    assert value == "priority=0.00,capability=0.105,load=0.845,fairness=0.05"
    assert default == "priority=0.50,capability=0.30,load=0.15,fairness=0.05"


@examples(max_examples=100, deadline=None)
@given(cuts=st.lists(st.integers(0, ONE), min_size=4, max_size=4), order=st.permutations(RESOURCE_TERMS))
def test_any_split_of_one_may_be_set_in_any_order(cuts: list[int], order: list[str]) -> None:
    edges = [0, *sorted(cuts), ONE]
    split = {name: high - low for name, low, high in zip(order, edges, edges[1:], strict=False)}
    text = ", ".join(f"{name} = {value // ONE}.{value % ONE:03d}" for name, value in split.items())
    assert weights.flaw(text) is None
    made = weights.parse(text)
    assert {name: getattr(made, name) for name in RESOURCE_TERMS} == split
    assert weights.parse(made.text) == made
    idle = sample(cpu=0, memory=100, disk=100, gpus=[gpu(0)])
    state = state_of(node("n"), row(text), task("t", requires_gpu=True))
    (placed,) = pass_over(state, {"n": idle})
    assert round(placed.placement.score * MICROS) == 100 * MICROS


def test_other_weights_place_elsewhere_and_every_answer_tells_the_same() -> None:
    nodes, wanting = [node("busy"), node("full")], task("t")
    assert places(pass_over(state_of(*nodes, wanting), BUSY_OR_FULL)) == {"t": "full"}
    state = state_of(*nodes, wanting, row(MEMORY_FIRST))
    (planned,) = pass_over(state, BUSY_OR_FULL)
    placement = planned.placement
    assert placement.node == "busy"
    assert (placement.terms.cpu, placement.terms.memory) == pytest.approx((3.0, 45.0))
    assert placement.weights == weights.parse(MEMORY_FIRST).text
    verdicts = {one.node: one for one in why(state, BUSY_OR_FULL, wanting)}
    assert verdicts["busy"].terms == placement.terms
    scene = Scene(1, nodes, [], weights=placement.weights, samples=BUSY_OR_FULL)
    assert {one.node: one.score for one in judge(scene, wanting)} == {n: v.score for n, v in verdicts.items()}


def test_a_queue_that_knows_its_nodes_scores_them_anew_when_weights_change() -> None:
    queue, state = Queue(), state_of(node("busy"), node("full"), task("t"))
    queue.load(state)
    for text, chosen in (("default", "full"), (MEMORY_FIRST, "busy"), ("", "full")):
        state.settings["weights"] = row(text)
        (planned,) = plan(queue, state, BUSY_OR_FULL, Limits(), NOW_US, 1).placements
        assert planned.placement.node == chosen
        score, _ = node_score(state, queue.info(state, BUSY_OR_FULL, chosen))
        assert score == planned.placement.score


def test_profile_orchestrator_has_its_own() -> None:
    orchestrated = Setting(name="profile", value="orchestrator")
    state = state_of(node("a"), task("t", priority=7), orchestrated, row(LOAD_FIRST))
    (planned,) = pass_over(state, {})
    terms = planned.placement.terms
    assert (terms.priority, terms.capability, terms.load, terms.fairness) == (0.0, 10.5, 84.5, 5.0)
    assert planned.placement.score == 100.0
    assert planned.placement.weights == weights.parse(LOAD_FIRST).text
    assert weights.terms_of(LOAD_FIRST) == ORCHESTRATOR_TERMS
