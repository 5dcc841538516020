"""The most that a term of a score can have, by the weights that it was scored with."""

from __future__ import annotations

import pytest

from tests.tui import fake
from tests.tui.console import open_console
from tests.tui.fake_source import FakeSource
from tui.columns.nodes import most_points, points_of

WEIGHTS = "cpu=0.10,memory=0.505,disk=0.195,network=0.10,gpu=0.10"


@pytest.mark.parametrize(
    ("name", "weights", "most"),
    [("cpu", "", "30"), ("cpu", WEIGHTS, "10"), ("memory", WEIGHTS, "50.5"), ("load", WEIGHTS, "30"),
     ("cpu", "cpu=", "30"), ("cpu", "cpu=nan", "30"), ("cpu", "cpu", "30")],
)  # fmt: skip
def test_it_is_its_weight_of_100_or_the_usual_one(name: str, weights: str, most: str) -> None:
    assert points_of(most_points(name, 30.0, weights)) == most


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
