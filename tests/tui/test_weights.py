"""The most that a term of a score can have, by the weights that it was scored with."""

from __future__ import annotations

from unittest.mock import AsyncMock, Mock

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource
from tui.documents.node_text import score_text
from tui.errors import ClusterError
from tui.past.view import PastSource, PastView
from tui.source import SourceError
from tui.store.score import most_points, points_of, weights_in
from tui.verbs.why import verdict_row, weights_told

WEIGHTS = "cpu=0.10,memory=0.505,disk=0.195,network=0.10,gpu=0.10"
ONLY_GPU = "cpu=0,memory=0,disk=0,network=0,gpu=1"


@pytest.mark.parametrize(
    ("name", "weights", "most"),
    [("cpu", "", "30"), ("cpu", WEIGHTS, "10"), ("memory", WEIGHTS, "50.5"), ("load", WEIGHTS, "30"),
     ("cpu", "cpu=", "30"), ("cpu", "cpu=nan", "30"), ("cpu", "cpu", "30")],
)  # fmt: skip
def test_it_is_its_weight_of_100_or_the_usual_one(name: str, weights: str, most: str) -> None:
    assert points_of(most_points(name, 30.0, weights)) == most


ORCHESTRATED = types_pb2.ScoreTerms(priority=28, capability=30, load=20, fairness=10)
OTHERS = "priority=0.40,capability=0.30,load=0.20,fairness=0.10"


def test_a_score_in_words_has_the_most_of_each_term() -> None:
    plain = types_pb2.ScoreTerms(cpu=2.1, memory=28.7, disk=2.8, network=10, tasks=-10)
    assert (
        score_text(33.6, plain, "")
        == "33.6 of 85 (cpu 2.1/30, memory 28.7/30, disk 2.8/15, network 10.0/10, tasks -10.0)"
    )
    assert score_text(43.6, plain, WEIGHTS).startswith("43.6 of 90 (cpu 2.1/10, memory 28.7/50.5")
    said = "priority 28.0/40, capability 30.0/30, load 20.0/20, fairness 10.0/10"
    assert score_text(88, ORCHESTRATED, OTHERS) == f"88.0 of 100 ({said})"
    verdict = cluster_pb2.NodeVerdict(node="n1", eligible=True, score=88, terms=ORCHESTRATED)
    assert verdict_row(verdict, OTHERS, "n1") == ("n1", "placed", "88.0", said, "")
    assert verdict_row(verdict, None)[3] == "priority 28.0, capability 30.0, load 20.0, fairness 10.0"


async def test_the_tables_have_the_terms_of_the_profile() -> None:
    source = FakeSource()
    task = source.tasks["01jx00000001"]
    task.placement.node, task.placement.weights = "anvil", OTHERS
    verdict = cluster_pb2.NodeVerdict(node="anvil", eligible=True, score=88, terms=ORCHESTRATED)
    source.whys[task.id] = cluster_pb2.WhyReply(task=task, past=True, index=task.fence, nodes=[verdict])
    async with open_console(source, (200, 50)) as session:
        scored = [view for view in fake.sample_nodes() if view.scored]
        for view in scored:
            view.terms.CopyFrom(ORCHESTRATED)
        source.push(samples=scored)
        await session.until(lambda: "PRIO/50" in session.text)
        assert "GPU/15" not in session.text
        assert "CPU/30" not in session.text
        assert "of 100" in session.text
        for key in ("s", "O"):
            await session.press(key)
            assert "PRIO/50" in session.text
            assert "CPU/30" not in session.text
            assert "GPU/15" not in session.text
            await session.press("escape")
        await session.press("2", "slash", *"render", "enter", "W")
        titles = session.line_with("VERDICT").split()
        assert titles[5:9] == ["PRIO", "CAPAB", "LOAD", "FAIR"]
        assert "load 20.0/20" in session.text


async def test_what_was_judged_of_then_is_shown_by_the_weights_of_then() -> None:
    source = FakeSource()
    task = source.tasks["01jx00000001"]
    verdict = cluster_pb2.NodeVerdict(node="anvil", eligible=True, score=40, terms=fake.terms(30, 40, 50, 5, 1))
    source.whys[task.id] = cluster_pb2.WhyReply(task=task, past=True, index=task.fence + 7, nodes=[verdict])
    source.settings_at["weights"] = f'"{WEIGHTS}"'
    async with open_console(source, (120, 30)) as session:
        await session.press("2", "slash", *"render", "enter", "W")
        await session.until(lambda: "/50.5" in session.text)
    assert weights_in(await PastSource(source, PastView()).get_settings()) == WEIGHTS
    assert weights_in(await source.get_settings()) == ""


async def test_an_answer_stands_without_the_weights_of_then() -> None:
    source = FakeSource()
    task = source.tasks["01jx00000001"]
    verdict = cluster_pb2.NodeVerdict(node="anvil", eligible=True, score=40, terms=fake.terms(30, 40, 50, 5, 1))
    reply = cluster_pb2.WhyReply(task=task, past=True, index=task.fence + 7, nodes=[verdict])
    source.whys[task.id] = reply
    source.get_settings = AsyncMock(side_effect=SourceError("No leader."))  # type: ignore[method-assign]
    async with open_console(source, (120, 30)) as session:
        await session.press("2", "slash", *"render", "enter", "W")
        assert "40.0" in session.text
        assert "Asking the leader" not in session.text
        assert "No leader" not in session.text
    client = Mock(get_settings=AsyncMock(side_effect=ClusterError("no_leader", "No leader.", "Wait.")))
    assert await weights_told(client, reply) is None
    reply.past = False
    client = Mock(spec=["get_settings"], get_settings=FakeSource().get_settings)
    assert await weights_told(client, reply) == "", "of now"


async def test_titles_bars_and_the_panel_show_the_most_in_force() -> None:
    source = FakeSource()
    async with open_console(source, (200, 50)) as session:
        assert "CPU/30" in session.text
        assert "of 85" in session.text
        scored = [view for view in fake.sample_nodes() if view.scored]
        for view in scored:
            view.weights = WEIGHTS
        source.push(samples=scored)
        await session.until(lambda: "CPU/10" in session.text)
        assert "MEM/50.5" in session.text
        assert "CPU/30" not in session.text
        assert "of 90" in session.text


async def test_weights_that_are_all_the_gpus_leave_no_share_of_a_score() -> None:
    source = FakeSource()
    async with open_console(source, (120, 30)) as session:
        scored = [view for view in fake.sample_nodes() if view.scored]
        for view in scored:
            view.weights = ONLY_GPU
        source.push(samples=scored)
        await session.until(lambda: "CPU/0" in session.text)
        assert "of 0" in session.text
        await session.press("m")
        assert "SCORE as share of full" in session.text
