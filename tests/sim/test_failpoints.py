"""A voter that dies, or whose disk fails, at any named place: nothing is lost, and all agree in the end."""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest

from node.core.faults import Fault
from node.failpoints import Action, Failpoints, parse
from tests.sim.daemon_scenario import run_seed
from tests.sim.daemon_world import Host, World
from tests.sim.loop import Killed

pytestmark = pytest.mark.sim
SEEDS = (240, *range(200, 240))
"""The first with three voters and logs so short that who was away for seconds needs a snapshot is run."""
DURATION_S = 10.0
AWAY_S = (3.0, 6.5)
BACK_S = 0.5
PLACES = (
    "acknowledge",
    "apply",
    "copy",
    "folder.sync",
    "install",
    "journal.create",
    "journal.preallocate",
    "journal.remove",
    "journal.sync",
    "journal.write",
    "journal_draft.create",
    "journal_draft.preallocate",
    "journal_draft.rename",
    "journal_draft.sync",
    "journal_draft.write",
    "snapshot.remove",
    "snapshot_draft.create",
    "snapshot_draft.rename",
    "snapshot_draft.sync",
    "snapshot_draft.write",
    "snapshot_part.create",
    "snapshot_part.rename",
    "snapshot_part.sync",
    "snapshot_part.write",
    "worker.create",
    "worker.preallocate",
    "worker.rename",
    "worker.sync",
    "worker.truncate",
    "worker.write",
)
"""All that one run passes, but for when: most of them have a before and an after."""


class Witness:
    """Watches the places that the first voter passes, and calls `deed` at one of them."""

    def __init__(self, deed: Callable[[Host], None], name: str = "", at: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self.done = False
        self._deed, self._name, self._at = deed, name, at

    def prepare(self, world: World) -> None:
        host = world.voters[0]
        host.machine.on_hit = lambda name: self._hit(host, name)
        world.at(AWAY_S[0], host.kill)
        world.at(AWAY_S[1], lambda: None if host.up else host.boot())

    def _hit(self, host: Host, name: str) -> None:
        self.counts[name] += 1
        if name == self._name and self.counts[name] == self._at and not self.done:
            self.done = True
            self._deed(host)


def die(*, power: bool) -> Callable[[Host], None]:
    def deed(host: Host) -> None:
        world = host._world
        world.at(BACK_S, lambda: None if host.up else host.boot())
        if power:
            host.lose_power(forget_saves=False)
        else:
            host.kill()
        raise Killed

    return deed


def run_with(witness: Witness, seed: int = 0) -> list[str]:
    return run_seed(seed or found()[0], kept=frozenset(), duration_s=DURATION_S, prepare=witness.prepare).violations


@cache
def found() -> tuple[int, Counter[str]]:
    """The seed, and how often each place is passed when nothing happens there."""
    for seed in SEEDS:
        witness = Witness(lambda _host: None)
        assert run_with(witness, seed) == []
        if {name.removesuffix(".before").removesuffix(".after") for name in witness.counts} == set(PLACES):
            return seed, witness.counts
    raise AssertionError("no seed passes all places, and no other")


def passed() -> Counter[str]:
    return found()[1]


def test_there_are_enough_places() -> None:
    assert len(passed()) >= 40


@pytest.mark.parametrize("place", PLACES)
def test_a_voter_that_dies_there(place: str) -> None:
    rng = random.Random(place)
    for name in (place, f"{place}.before", f"{place}.after"):
        if not passed()[name]:
            continue
        witness = Witness(die(power=rng.random() < 0.5), name, rng.randint(1, passed()[name]))
        assert run_with(witness) == []
        assert witness.done


@pytest.mark.parametrize("place", [place for place in PLACES if place.startswith(("journal.", "snapshot_draft."))])
def test_a_disk_that_fails_there(place: str) -> None:
    rng = random.Random(place)

    def fail(host: Host) -> None:
        host._world.at(BACK_S, lambda: restart(host))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    witness = Witness(fail, f"{place}.before", rng.randint(1, passed()[f"{place}.before"]))
    violations = run_with(witness)
    assert witness.done
    if place.startswith("journal."):
        # What the disk did not take was promised to nobody: the process stops, and is started again.
        (stopped,) = violations
        assert "n1 stopped: JournalUnusable" in stopped
    else:
        assert violations == []


def restart(host: Host) -> None:
    """As an operator does who finds that it has stopped."""
    if host.up:
        host.kill()
    host.boot()


def test_what_is_armed() -> None:
    assert parse("journal.sync.after=kill@3, copy.before=ENOSPC") == {
        "journal.sync.after": Action("kill", 3),
        "copy.before": Action("ENOSPC", 1),
    }
    points = Failpoints(parse("copy.before=ENOSPC@2"))
    points.hit("copy.before")
    with pytest.raises(OSError, match="No space left"):
        points.hit("copy.before")
    points.hit("copy.before")
    for text in ("copy.before", "copy.before=explode", "=kill", "a=kill@0", "a=kill@x"):
        with pytest.raises(Fault, match="no failpoint"):
            parse(text)
