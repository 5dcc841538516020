"""What a supervisor tells a daemon that comes to it: every attempt it knows, and how each stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from node.supervisor import wire
from node.supervisor.attempt import Attempt

Held = tuple[object, ...]


def inventory(
    waiting: Iterable[str], attempts: Mapping[str, Attempt], results: Mapping[str, Held], lost: Iterable[str]
) -> list[Held]:
    """(key, state, pid, started_us, result) of each; what the daemon wants to forget is not among them."""
    found: list[Held] = [(key, wire.WAITING, 0, 0, ()) for key in waiting]
    found += [
        (key, wire.RUNNING, attempt.group, attempt.started_us, ())
        for key, attempt in attempts.items()
        if not attempt.forgotten
    ]
    found += [(key, wire.ENDED, 0, 0, result) for key, result in results.items()]
    found += [(key, wire.LOST, 0, 0, ()) for key in lost]
    return found
