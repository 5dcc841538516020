"""Replicated settings: what each is called, its default and the values that it may have."""

from __future__ import annotations

import re
from typing import NamedTuple

from cortex.v1.types_pb2 import Setting

MAX_QUEUE_DEPTH = "max_queue_depth"
# What is kept of the past: rows, and seconds since their end. Dead letters are counted apart.
MAX_ENDED_TASKS = "max_ended_tasks"
ENDED_TASKS_KEPT_S = "ended_tasks_kept_s"
MAX_DEAD_LETTERS = "max_dead_letters"
DEAD_LETTERS_KEPT_S = "dead_letters_kept_s"
EVENTS_KEPT_S = "events_kept_s"

_DAY_S = 24 * 3600
_LONGEST_S = 3650 * _DAY_S

_WHOLE = re.compile(r"-?[0-9]{1,18}")


class IntegerRule(NamedTuple):
    default: int
    low: int
    high: int


INTEGERS: dict[str, IntegerRule] = {
    MAX_QUEUE_DEPTH: IntegerRule(default=1_000_000, low=1, high=10_000_000),
    MAX_ENDED_TASKS: IntegerRule(default=1_000_000, low=1, high=100_000_000),
    ENDED_TASKS_KEPT_S: IntegerRule(default=30 * _DAY_S, low=1, high=_LONGEST_S),
    MAX_DEAD_LETTERS: IntegerRule(default=10_000, low=1, high=100_000_000),
    DEAD_LETTERS_KEPT_S: IntegerRule(default=180 * _DAY_S, low=1, high=_LONGEST_S),
    EVENTS_KEPT_S: IntegerRule(default=_DAY_S, low=1, high=_LONGEST_S),
}


def flaw(name: str, value: str) -> str | None:
    """What is wrong with a setting, in one sentence; None when it may be set."""
    rule = INTEGERS.get(name)
    if rule is None:
        return f"There is no setting {name[:64]!r}; there are: {', '.join(sorted(INTEGERS))}."
    number = _number(value)
    if number is None or not rule.low <= number <= rule.high:
        return f"{name} must be a whole number from {rule.low} to {rule.high}."
    return None


def integer(row: Setting | None, name: str) -> int:
    """Value of an integer setting: what `row` says, else its default."""
    rule = INTEGERS[name]
    number = _number(row.value) if row is not None else None
    return rule.default if number is None else number


def _number(value: str) -> int | None:
    return int(value) if _WHOLE.fullmatch(value) else None
