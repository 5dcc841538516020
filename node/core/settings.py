"""Replicated settings: what each is called, its default and the values that it may have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cortex.v1.types_pb2 import SandboxLevel, Setting
from node.core import weights
from node.core.model import FIRST_LEVEL

MAX_QUEUE_DEPTH = "max_queue_depth"
# How nodes are scored for a task.
PROFILE = "profile"
RESOURCES = "resources"
ORCHESTRATOR = "orchestrator"
# Of the terms of a score.
WEIGHTS = "weights"
# Of shell tasks that name no level.
SANDBOX = "sandbox"
# What is kept of the past: rows, and seconds since their end. Dead letters are counted apart.
MAX_ENDED_TASKS = "max_ended_tasks"
ENDED_TASKS_KEPT_S = "ended_tasks_kept_s"
MAX_DEAD_LETTERS = "max_dead_letters"
DEAD_LETTERS_KEPT_S = "dead_letters_kept_s"
EVENTS_KEPT_S = "events_kept_s"
MAX_DOUBLE_RUNS = "max_double_runs"
DOUBLE_RUNS_KEPT_S = "double_runs_kept_s"
MAX_OPERATIONS = "max_operations"
OPERATIONS_KEPT_S = "operations_kept_s"
# Times by which a leader judges its machines, in milliseconds.
LEASE_MS = "lease_ms"
LEASE_MARGIN_MS = "lease_margin_ms"
RENEW_MS = "renew_ms"
HEARTBEAT_MS = "heartbeat_ms"
SUSPECT_MS = "suspect_ms"
OFFLINE_MS = "offline_ms"
# Longest prompt of an agent, in characters.
PROMPT_LIMIT_CHARS = "prompt_limit_chars"
# Counts restores and recoveries from a lost majority: no operator sets it.
RECOVERY_EPOCH = "recovery_epoch"
# The cluster's feature level: only `cortex cluster finalize` raises it.
FEATURE_LEVEL = "feature_level"

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
    MAX_DOUBLE_RUNS: IntegerRule(default=100_000, low=1, high=100_000_000),
    DOUBLE_RUNS_KEPT_S: IntegerRule(default=30 * _DAY_S, low=1, high=_LONGEST_S),
    MAX_OPERATIONS: IntegerRule(default=10_000, low=1, high=1_000_000),
    OPERATIONS_KEPT_S: IntegerRule(default=30 * _DAY_S, low=1, high=_LONGEST_S),
    LEASE_MS: IntegerRule(default=30_000, low=3_000, high=3_600_000),
    LEASE_MARGIN_MS: IntegerRule(default=5_000, low=500, high=600_000),
    RENEW_MS: IntegerRule(default=10_000, low=500, high=1_200_000),
    HEARTBEAT_MS: IntegerRule(default=5_000, low=500, high=600_000),
    SUSPECT_MS: IntegerRule(default=10_000, low=1_000, high=3_600_000),
    PROMPT_LIMIT_CHARS: IntegerRule(default=10_000, low=100, high=100_000),
    OFFLINE_MS: IntegerRule(default=15_000, low=1_000, high=3_600_000),
}

# The first must be at least that many times the second.
_RATIOS = ((LEASE_MS, 2, RENEW_MS), (SUSPECT_MS, 2, HEARTBEAT_MS), (OFFLINE_MS, 1, SUSPECT_MS))

# The first one is the default.
CHOICES: dict[str, tuple[str, ...]] = {
    PROFILE: (RESOURCES, ORCHESTRATOR),
    SANDBOX: ("none", "default", "strict"),
}

NAMES: tuple[str, ...] = tuple(sorted({*INTEGERS, *CHOICES, WEIGHTS}))

# What a profile scores by.
_TERMS = {RESOURCES: weights.RESOURCE_TERMS, ORCHESTRATOR: weights.ORCHESTRATOR_TERMS}

# Defaults that another profile than the first one has.
_OF_PROFILE = {(ORCHESTRATOR, MAX_QUEUE_DEPTH): 1_000}


def flaw(name: str, value: str) -> str | None:
    """What is wrong with a setting, in one sentence; None when it may be set."""
    if name in CHOICES:
        choices = CHOICES[name]
        return None if _word(value) in choices else f"{name} must be one of {', '.join(choices)}."
    if name == WEIGHTS:
        fault = weights.flaw(_word(value))
        return None if fault is None else f"{WEIGHTS} {fault}"
    rule = INTEGERS.get(name)
    if rule is None:
        return f"There is no setting {name[:64]!a}."  # which there are differs by release: the log does not say
    number = _number(value)
    if number is None or not rule.low <= number <= rule.high:
        return f"{name} must be a whole number from {rule.low} to {rule.high}."
    return None


def clash(name: str, value: str, row: Callable[[str], Setting | None]) -> str | None:
    """How a value that may be set stands against other settings, by their rows; None when they go together."""
    if name in (PROFILE, WEIGHTS):
        return _foreign_weights({each: row(each) for each in (PROFILE, WEIGHTS)} | {name: Setting(value=value)})
    for large, times, small in _RATIOS:
        if name not in (large, small):
            continue
        found = {each: _number(value) if each == name else integer(row(each), each) for each in (large, small)}
        if (found[large] or 0) < times * (found[small] or 0):
            more = f"{times} times " if times > 1 else ""
            return f"{large} ({found[large]}) must be at least {more}{small} ({found[small]})."
    return None


def _foreign_weights(rows: Mapping[str, Setting | None]) -> str | None:
    """Weights of terms that the profile does not score by would count for nothing."""
    profile, row = choice(rows[PROFILE], PROFILE), rows[WEIGHTS]
    terms = weights.terms_of(_word(row.value)) if row is not None else ()
    if not terms or terms == _TERMS[profile]:
        return None
    own = ", ".join(_TERMS[profile])
    return f"{WEIGHTS} are of the terms {', '.join(terms)}, and profile {profile} has {own}."


def weights_of(row: Setting | None) -> weights.Weights:
    """Weights of a score's terms, by the row of the setting."""
    return weights.parse(_word(row.value)) if row is not None else weights.DEFAULT


def default_weights(profile: str) -> str:
    """The weights that a profile has of its own, as text that may be set."""
    return weights.DEFAULT.of(_TERMS[profile])


def longest_lease_ms(row: Setting | None, default_ms: int, now_us: int) -> int:
    """Longest lease that may still be in force: one from before it was lowered may be. Times are leader time."""
    value = _number(row.value) if row is not None else None
    former = _number(row.former) if row is not None and row.former else None
    current = default_ms if value is None else value
    if row is None or former is None or now_us >= row.at_us + former * 1000:
        return current
    return max(current, former)


def recovery_epoch(row: Setting | None) -> int:
    """How often the cluster was restored or recovered, by its row."""
    return (_number(row.value) or 0) if row is not None else 0


def feature_level(row: Setting | None) -> int:
    """The cluster's, by its row; the first where nobody ever raised it."""
    return (_number(row.value) or FIRST_LEVEL) if row is not None else FIRST_LEVEL


def integer(row: Setting | None, name: str, profile: str = RESOURCES) -> int:
    """Value of an integer setting: what `row` says, else its default under `profile`."""
    number = _number(row.value) if row is not None else None
    return default_of(name, profile) if number is None else number


def choice(row: Setting | None, name: str) -> str:
    """Value of a setting that has one of a few words: what `row` says, else its default."""
    choices = CHOICES[name]
    word = _word(row.value) if row is not None else ""
    return word if word in choices else choices[0]


def sandbox(row: Setting | None) -> SandboxLevel.ValueType:
    """The level that a shell task gets which names none."""
    return SandboxLevel.Value(f"SANDBOX_LEVEL_{choice(row, SANDBOX).upper()}")


def max_queue_depth(row: Callable[[str], Setting | None]) -> int:
    """Tasks that may live at once, by the settings' rows: its own, or the default of the profile in force."""
    return integer(row(MAX_QUEUE_DEPTH), MAX_QUEUE_DEPTH, choice(row(PROFILE), PROFILE))


def default_of(name: str, profile: str = RESOURCES) -> int:
    """What an integer setting is when it was not set."""
    return _OF_PROFILE.get((profile, name), INTEGERS[name].default)


def _word(value: str) -> str:
    """A JSON string without its quotes; a bare word is taken as it is."""
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value


def _number(value: str) -> int | None:
    return int(value) if _WHOLE.fullmatch(value) else None
