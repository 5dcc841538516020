"""Deliberate bugs of the etcd engine, each of which some seed must find: what the harness is worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node.consensus.etcd import leading
from node.consensus.etcd.forwards import Forwards
from node.consensus.etcd.leading import Leading
from node.consensus.etcd.lease import Lease
from node.consensus.etcd.store import CreatedAt
from node.consensus.raftos.proposals import AnsweredForwards
from tests.consensus.test_etcd_seeds import run_seed

SEEDS = 20
Patch = Callable[[pytest.MonkeyPatch], None]


def appends_wherever_the_log_ends(patch: pytest.MonkeyPatch) -> None:
    """The condition on the last entry is left out: a request that arrives late is carried out twice."""
    patch.setattr(leading, "HasValue", lambda _key, _value: CreatedAt(b"never", 0))


def trusts_its_lease_too_long(patch: pytest.MonkeyPatch) -> None:
    def prolonged(self: Lease, _asked_us: int, ttl_s: int) -> None:
        self._until_us = self._clock.boot_us() + ttl_s * 1_100_000

    patch.setattr(Lease, "_prolonged", prolonged)


def takes_lost_leadership_for_success(patch: pytest.MonkeyPatch) -> None:
    original = Leading._write

    async def write(self: Leading, entries: Any) -> Any:
        outcome = await original(self, entries)
        return outcome if outcome is not False else True

    patch.setattr(Leading, "_write", write)


def answers_repeated_forwards_anew(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AnsweredForwards, "find", lambda _self, _number: None)
    original = Forwards.arrived

    def arrived(self: Forwards, data: Any, leads: Leading) -> None:
        self._under_way.clear()
        original(self, data, leads)

    patch.setattr(Forwards, "arrived", arrived)


@pytest.mark.sim
@pytest.mark.parametrize(
    "bug",
    [
        appends_wherever_the_log_ends,
        trusts_its_lease_too_long,
        takes_lost_leadership_for_success,
        answers_repeated_forwards_anew,
    ],
)
def test_a_seed_finds(bug: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    for seed in range(SEEDS):
        try:
            run_seed(seed)
        except Exception:
            return
    raise AssertionError(f"{SEEDS} seeds found nothing")
