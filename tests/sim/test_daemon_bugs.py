"""The simulation of whole daemons finds each deliberate bug above the log."""

from __future__ import annotations

import pytest

from tests.sim.sought import DAEMONS, SEEDS_AT_MOST, recorded, seek


@pytest.mark.sim
@pytest.mark.parametrize("bug", DAEMONS)
def test_the_bug_is_found(bug: str) -> None:
    assert seek(bug, recorded()[bug]) is not None, f"{bug} was not found in {SEEDS_AT_MOST['daemons']} seeds"
