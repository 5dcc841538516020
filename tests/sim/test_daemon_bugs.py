"""The whole-daemon simulation finds each deliberate bug above the log, and nothing without one."""

from __future__ import annotations

import pytest

from tests.sim.daemon_bugs import BUGS
from tests.sim.runner import run_one

_SEEDS = range(110, 125)


@pytest.mark.sim
@pytest.mark.parametrize("bug", BUGS)
def test_each_bug_is_found(bug: str) -> None:
    assert any(run_one("daemons", seed, bug).violations for seed in _SEEDS)


@pytest.mark.sim
def test_a_sound_daemon_breaks_no_invariant() -> None:
    result = run_one("daemons", _SEEDS[0])
    assert result.violations == []
    assert result.operations > 50
