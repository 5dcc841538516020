"""A warning that repeats does not fill the disk, and says how often it came."""

from __future__ import annotations

import pytest
import structlog

from node.log_throttle import QUIET_US, Throttle


class HandClock:
    def __init__(self) -> None:
        self.now_us = 5

    def wall_us(self) -> int:
        return 0

    def boot_us(self) -> int:
        return self.now_us


def logged(throttle: Throttle, level: str = "warning", **fields: object) -> dict[str, object] | None:
    try:
        return dict(throttle(None, level, {"event": "it fails", **fields}))
    except structlog.DropEvent:
        return None


def test_the_first_and_one_a_minute_with_a_count() -> None:
    clock = HandClock()
    throttle = Throttle(clock)
    assert logged(throttle, error="x") == {"event": "it fails", "error": "x"}
    assert [logged(throttle, error="x") for _ in range(3)] == [None] * 3
    clock.now_us += QUIET_US
    assert logged(throttle, error="x") == {"event": "it fails", "error": "x", "held_back": 3}
    assert logged(throttle, error="x") is None
    clock.now_us += 2 * QUIET_US
    assert logged(throttle, error="x") == {"event": "it fails", "error": "x", "held_back": 1}
    clock.now_us += QUIET_US
    assert logged(throttle, error="x") == {"event": "it fails", "error": "x"}


def test_what_differs_and_what_is_no_warning_is_not_held_back() -> None:
    throttle = Throttle(HandClock())
    assert all(logged(throttle, node=f"n{number}") for number in range(3))
    assert all(logged(throttle, "info") for _ in range(3))
    assert logged(throttle, "error") is not None
    assert logged(throttle, "error") is None


def test_it_remembers_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.log_throttle._LIMIT", 2)
    throttle = Throttle(HandClock())
    assert all(logged(throttle, node=f"n{number}") for number in range(4))
    assert len(throttle._seen) == 2
    assert logged(throttle, node="n3") is None
    assert logged(throttle, node="n0") is not None
