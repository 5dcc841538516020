"""The numbered steps of a nemesis, and the shortest choice of them under which a run still goes wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Step:
    number: int
    random: random.Random
    """Its own, so that what it draws is the same whichever others are taken."""
    taken: bool


class Schedule:
    """Draws the steps of one seed; of those only the `kept` are taken, all when that is None."""

    def __init__(self, seed: int, kept: frozenset[int] | None = None) -> None:
        self._seed = seed
        self._kept = kept
        self.random = random.Random(f"{seed}/nemesis")
        """For when the next step comes, and what it is."""
        self.drawn = 0

    def next(self) -> Step:
        number = self.drawn
        self.drawn += 1
        own = random.Random(f"{self._seed}/nemesis/{number}")
        return Step(number, own, self._kept is None or number in self._kept)


def shrink(steps: Iterable[int], fails: Callable[[frozenset[int]], bool]) -> list[int]:
    """The fewest steps found by which it still fails, none of which can be left out (ddmin of Zeller, 2002)."""
    kept = list(steps)
    parts = 2
    while kept:
        for part in _parts(kept, parts):
            rest = [step for step in kept if step not in part]
            if fails(frozenset(rest)):
                kept, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(kept):
                break
            parts = min(2 * parts, len(kept))
    return kept


def _parts(steps: Sequence[int], count: int) -> list[set[int]]:
    edges = [len(steps) * at // count for at in range(count + 1)]
    return [set(steps[start:stop]) for start, stop in pairwise(edges) if stop > start]
