"""What each setting means, for whoever sets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cortex.v1.types_pb2 import Setting
from node.core import settings, weights

# One sentence each; the values that a setting may have are added from its rule.
MEANINGS: Mapping[str, str] = {
    settings.MAX_QUEUE_DEPTH: "Tasks that may live at once; a submission beyond that is refused.",
    settings.PROFILE: "How nodes are scored for a task: by their free resources, or as an orchestrator of agents.",
    settings.WEIGHTS: "What each term of the profile's score counts; all together, so that a change is one.",
    settings.SANDBOX: "Sandbox level of a shell task that names none; it runs only on nodes that offer its level.",
    settings.MAX_ENDED_TASKS: "Ended tasks that are kept, dead letters aside; the oldest go first.",
    settings.ENDED_TASKS_KEPT_S: "How long a task is kept after its end, and a node after its removal, in seconds.",
    settings.MAX_DEAD_LETTERS: "Dead letters that are kept; the oldest go first.",
    settings.DEAD_LETTERS_KEPT_S: "How long a dead letter is kept, in seconds.",
    settings.EVENTS_KEPT_S: "How far back events, and with them views of the past (--at), reach, in seconds.",
    settings.MAX_DOUBLE_RUNS: "Lines of the ledger of double runs that are kept; the oldest go first.",
    settings.DOUBLE_RUNS_KEPT_S: "How long a line of the ledger of double runs is kept, in seconds.",
    settings.MAX_OPERATIONS: "Ended operations that are kept; the oldest go first.",
    settings.OPERATIONS_KEPT_S: "How long an operation is kept after its end, in seconds.",
    settings.PROMPT_LIMIT_CHARS: "Longest prompt that an agent may be given, in characters.",
    settings.LEASE_MS: "How long a command may run without its machine hearing from the leader, in milliseconds.",
    settings.LEASE_MARGIN_MS: "What the leader waits after the end of a lease before it calls a machine lost.",
    settings.RENEW_MS: "How often a machine renews its leases, in milliseconds.",
    settings.HEARTBEAT_MS: "How often a machine and the leader say that they are there, in milliseconds.",
    settings.SUSPECT_MS: "Silence after which a machine is suspect and gets no new tasks, in milliseconds.",
    settings.OFFLINE_MS: "Silence after which a machine is offline, in milliseconds.",
}


class SettingView(NamedTuple):
    """A setting as users see it; values are JSON."""

    name: str
    value: str
    default_value: str
    help: str


def views(rows: Mapping[str, Setting]) -> list[SettingView]:
    """All settings by name: those that were set, and the others with their defaults."""
    return [_view(name, rows) for name in settings.NAMES]


def _view(name: str, rows: Mapping[str, Setting]) -> SettingView:
    meaning = MEANINGS.get(name, "")
    if name in settings.CHOICES:
        choices = settings.CHOICES[name]
        value = settings.choice(rows.get(name), name)
        return SettingView(name, f'"{value}"', f'"{choices[0]}"', f"{meaning} One of {', '.join(choices)}.".strip())
    profile = settings.choice(rows.get(settings.PROFILE), settings.PROFILE)
    if name == settings.WEIGHTS:
        value = settings.weights_of(rows.get(name)).text or weights.WORD
        bounds = f"{meaning} Numbers of at most three decimals that sum to exactly 1, or {weights.WORD}, which is"
        return SettingView(
            name, f'"{value}"', f'"{weights.WORD}"', f"{bounds} {settings.default_weights(profile)}."
        )
    rule = settings.INTEGERS[name]
    value = str(settings.integer(rows.get(name), name, profile))
    bounds = f"{meaning} A whole number from {rule.low} to {rule.high}.".strip()
    return SettingView(name, value, str(settings.default_of(name, profile)), bounds)
