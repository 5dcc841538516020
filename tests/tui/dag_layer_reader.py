"""Reads the edges out of the text of a layered drawing, knowing nothing of how it was drawn.

Lines run to the right. A `│` in a line is a crossing. Vertical pieces between joints make a trunk; it carries the
line that ends in it (coming from the left, not going on), or else the only one that comes from the left; any other
line from the left only meets what leaves the trunk there, and goes on. Where an arrow leads into a trunk, it
carries the lines with arrows and no other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.tui.dag_reader import Unreadable

UP, DOWN, LEFT, RIGHT = (0, -1), (0, 1), (-1, 0), (1, 0)
ARMS = {
    "┼": {UP, DOWN, LEFT, RIGHT},
    "├": {UP, DOWN, RIGHT},
    "┤": {UP, DOWN, LEFT},
    "┬": {DOWN, LEFT, RIGHT},
    "┴": {UP, LEFT, RIGHT},
    "╰": {UP, RIGHT},
    "╯": {UP, LEFT},
    "╭": {DOWN, RIGHT},
    "╮": {DOWN, LEFT},
}
NAME = re.compile(r"([●*]) (n\d+)")
Spot = tuple[int, int]


@dataclass(frozen=True)
class Trunk:
    entries: tuple[Spot, ...]
    exits: tuple[Spot, ...]


class Drawing:
    def __init__(self, rows: Sequence[str]) -> None:
        self.rows = rows
        self.names: dict[Spot, str] = {}
        self.ends: dict[str, Spot] = {}
        for y, row in enumerate(rows):
            for match in NAME.finditer(row):
                self.names[match.start(), y] = match[2]
                self.ends[match[2]] = (match.end(), y)
        self.used: set[Spot] = set()
        """Cells that some line was followed through; what is left over would be a stray."""

    def at(self, spot: Spot) -> str:
        x, y = spot
        return self.rows[y][x] if 0 <= y < len(self.rows) and 0 <= x < len(self.rows[y]) else " "

    def arms(self, spot: Spot) -> set[Spot]:
        """Of a joint; empty for anything else."""
        char = self.at(spot)
        if char in "+`'":
            found = {arm for arm in (UP, DOWN) if self.at(moved(spot, arm)) in "|+`'"}
            found |= {arm for arm in (LEFT, RIGHT) if self.at(moved(spot, arm)) in "->"}
            if char in "`'":
                found.discard(DOWN)
            return found
        return ARMS.get(char, set())

    def edges(self) -> set[tuple[str, str]]:
        found = set()
        for name, (x, y) in self.ends.items():
            if self.at((x + 1, y)) in "─-":
                found |= {(name, child) for child in self.follow((x + 1, y), 0)}
        for y, row in enumerate(self.rows):
            for x, char in enumerate(row):
                if char in "─│|-→>" or self.arms((x, y)):
                    assert (x, y) in self.used, f"{char} at {x}, {y} belongs to nothing"
        return found

    def follow(self, spot: Spot, depth: int) -> set[str]:
        """What a line leads to that goes right from here."""
        if depth > 50:
            raise Unreadable("lines run in a circle")
        while True:
            self.used.add(spot)
            char = self.at(spot)
            if spot in self.names:
                return {self.names[spot]}
            if char in "│|":
                if self.at(moved(spot, RIGHT)) not in "─-→>":
                    raise Unreadable(f"a line ends in a crossing at {spot}")
            elif arms := self.arms(spot):
                trunk = self.trunk(spot)
                if spot in trunk.entries:
                    found: set[str] = set()
                    for leaving in trunk.exits:
                        found |= self.follow(moved(leaving, RIGHT), depth + 1)
                    return found
                if RIGHT not in arms:
                    raise Unreadable(f"two lines end in the trunk of {spot}")
            elif char in "→>":
                if LEFT not in self.arms(moved(spot, RIGHT)):
                    raise Unreadable(f"an arrow leads nowhere at {spot}")
            elif char not in "─-":
                raise Unreadable(f"a line ends in {char!r} at {spot}")
            spot = moved(spot, RIGHT)

    def trunk(self, spot: Spot) -> Trunk:
        joints = [spot]
        for way, back in ((UP, DOWN), (DOWN, UP)):
            here = spot
            while way in self.arms(here) or self.at(here) in "│|":
                here = moved(here, way)
                self.used.add(here)
                if arms := self.arms(here):
                    if back not in arms:
                        raise Unreadable(f"a trunk ends beside {here}")
                    joints.append(here)
                elif self.at(here) not in "│|":
                    raise Unreadable(f"a trunk ends in {self.at(here)!r} at {here}")
        ending = [one for one in joints if LEFT in self.arms(one) and RIGHT not in self.arms(one)]
        marked = [one for one in joints if self.at(moved(one, LEFT)) in "→>"]
        entries = marked or ending or [one for one in joints if LEFT in self.arms(one)]
        if (len(entries) != 1) != bool(marked) or (marked and not set(ending) <= set(marked)):
            raise Unreadable(f"the trunk of {spot} has {len(entries)} sources")
        return Trunk(tuple(entries), tuple(one for one in joints if RIGHT in self.arms(one)))


def moved(spot: Spot, arm: Spot) -> Spot:
    return spot[0] + arm[0], spot[1] + arm[1]


def read_layers(rows: Sequence[str]) -> set[tuple[str, str]]:
    """Edges as key of the parent, key of the child; keys are `n` and a number."""
    return Drawing(rows).edges()
