"""Throttle: a warning that repeats is logged at most once a minute, with how often it was held back."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import structlog

from node.env import Clock

QUIET_US = 60 * 1_000_000
_LEVELS = frozenset({"warning", "error"})
# Distinct warnings that are remembered; beyond them the oldest is forgotten and logged again.
_LIMIT = 256


class Throttle:
    """A structlog processor, after the level and before the time are added. Equal are all fields."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[int, int]] = {}  # logged at (boot time), held back since

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """`event`, with `held_back` if it was. Raises structlog.DropEvent while it is held back."""
        if method not in _LEVELS:
            return event
        key = repr(sorted((name, repr(value)) for name, value in event.items()))
        now_us, held_back = self._clock.boot_us(), 0
        if key in self._seen:
            logged_us, held_back = self._seen[key]
            if now_us - logged_us < QUIET_US:
                self._seen[key] = logged_us, held_back + 1
                raise structlog.DropEvent
            del self._seen[key]
        elif len(self._seen) >= _LIMIT:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = now_us, 0
        if held_back:
            event["held_back"] = held_back
        return event
