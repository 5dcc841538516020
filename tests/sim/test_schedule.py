"""Schedules: a step draws the same whatever is left out, and what matters is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim import engine_scenario
from tests.sim.runner import run_one, shrink_seed
from tests.sim.schedule import Schedule, shrink


def test_what_is_left_out_changes_no_other_step() -> None:
    whole, some = Schedule(7), Schedule(7, frozenset({1, 3}))
    for number in range(5):
        one, other = whole.next(), some.next()
        assert one.random.random() == other.random.random()
        assert whole.random.random() == some.random.random()
        assert one.taken
        assert other.taken == (number in (1, 3))


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=4))
def test_nothing_but_what_it_takes_is_kept(count: int, needed: set[int]) -> None:
    needed = {step for step in needed if step < count}
    assert shrink(range(count), lambda kept: needed <= kept) == sorted(needed)


def test_a_failing_seed_becomes_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_scenario, "DURATION_S", 12.0)
    bug = "append_forwards_again"
    seed = next(seed for seed in range(200) if run_one("engine", seed, bug).violations)
    whole = run_one("engine", seed, bug)
    short = shrink_seed("engine", seed, bug)
    assert run_one("engine", seed, bug, kept=frozenset(short)).violations
    assert len(short) < whole.steps


def test_a_sound_seed_cannot_be_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_scenario, "DURATION_S", 1.0)
    with pytest.raises(ValueError, match="breaks nothing"):
        shrink_seed("engine", 0)
