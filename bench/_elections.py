"""A daemon that tells the moments of its elections, for `bench.failover`: `python -m bench._elections run …`.

DATA/elections.jsonl gets a line for each, [unix seconds, what], written at once, since the daemon is to be killed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node import cli, replica
from node.consensus.raftos import engine, roles, state

FILE = "elections.jsonl"
TOLD, FIRED, STANDS, LOST, LEADS, COMMITS, SERVES = (
    "a leader's process has ended",
    "the timer fired",
    "stands for election",
    "lost to a split",
    "leads",
    "commits",
    "serves",
)


def moments(data: Path, since: float) -> list[tuple[float, str]]:
    """What a daemon told after `since`, unix seconds, in order."""
    path = data / FILE
    lines = path.read_text().splitlines() if path.exists() else []
    return [(at, what) for at, what in map(json.loads, lines) if at > since]


def _before(owner: Any, method: str, note: Callable[..., None]) -> None:
    """Have `note` called with the arguments of every call of `owner.method`."""
    inner = getattr(owner, method)

    def outer(*args: Any, **more: Any) -> Any:
        note(*args, **more)
        return inner(*args, **more)

    setattr(owner, method, outer)


def _install(told: Callable[[str], None]) -> None:
    def serves(one: Any, serving: bool) -> None:
        if serving and not one.serving:
            told(SERVES)

    def exposes(one: Any) -> None:
        # A leader of a new term commits for the first time.
        commit = min(one._log.commit_index, one._writer.durable_index)
        if commit > one._exposed_commit and one.role.value == "leader" and one.term not in terms:
            terms.add(one.term)
            told(COMMITS)

    def becomes(_one: object, role: type) -> None:
        if role.__name__ == "Leader":
            told(LEADS)

    def patience(one: Any) -> None:
        if one._lost:
            told(LOST)

    terms: set[int] = set()
    _before(state.RaftState, "lose_leader", lambda _one: told(TOLD))
    _before(roles.Follower, "start_election", lambda _one: told(FIRED))
    _before(roles.Candidate, "_stand", lambda _one: told(STANDS))
    _before(roles.Candidate, "_patience", patience)
    _before(state.RaftState, "_change_state", becomes)
    _before(engine.RaftosEngine, "_expose_commit", exposes)
    _before(replica.Replica, "_set_serving", serves)


def main() -> None:
    """As cortexd."""
    path = Path(sys.argv[sys.argv.index("--data") + 1]) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", buffering=1) as file:
        _install(lambda what: file.write(json.dumps([time.time(), what]) + "\n") and None)
        cli.main()


if __name__ == "__main__":
    main()
