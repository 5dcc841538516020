"""Rates from counters that only grow, wrap around, or start again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


def advance(before: int, after: int, wraps_at: int) -> int:
    """By how much a counter grew. A step back is a wrap-around when that is less than half of the counter's range,
    else the counter began anew and nothing is known: 0."""
    grown = (after - before) % wraps_at
    return grown if grown <= wraps_at // 2 else 0


@dataclass(slots=True)
class Rates:
    """Turns successive readings of named counters into growth per second."""

    wraps_at: int
    _counters: Mapping[str, int] = field(default_factory=dict)
    _read_at_us: int = 0

    def update(self, counters: Mapping[str, int], now_us: int) -> dict[str, float]:
        """Growth per second of each counter that the reading before had too; empty at the first reading."""
        seconds = (now_us - self._read_at_us) / 1e6
        before = self._counters
        self._counters = dict(counters)
        self._read_at_us = now_us
        if seconds <= 0:
            return {}
        return {
            name: advance(before[name], value, self.wraps_at) / seconds
            for name, value in counters.items()
            if name in before
        }
