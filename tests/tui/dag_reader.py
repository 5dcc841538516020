"""Reads the edges out of the text of a drawn rail, knowing nothing of how it was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Signs:
    nodes: str
    lane: str
    line: str
    goes_on: str
    """Joins the lane, which goes on below."""
    ends: str
    """Joins the lane, which ends."""
    begins: str
    """Where a lane begins that a node feeds."""
    feeds: str
    """Before the joint where a node feeds a lane: to the right, to the left."""


UNICODE = Signs("●◌○▸✗↷⊘⊞", lane="│", line="─", goes_on="├┤┼", ends="╰╯┴", begins="╮╭┬", feeds="→←")
ASCII = Signs("*.o>x~/#", lane="|", line="-", goes_on="+", ends="`'", begins="+", feeds="><")
"""Nodes and lanes stand in even cells, what is between them in odd ones."""


class Unreadable(Exception):
    """The drawing says nothing clear."""


Lanes = dict[int, set[int]]
"""Rows of its sources, by the x of a lane."""


def read_rail(rows: Sequence[str], signs: Signs) -> set[tuple[int, int]]:
    """Edges as row of the parent, row of the child."""
    edges: set[tuple[int, int]] = set()
    lanes: Lanes = {}  # what surely comes down into the next row
    above = -1  # x of the node in the row above, whose lane may come down
    taken: list[set[int]] = []  # by lanes whose sources were read: none may follow
    for number, row in enumerate(rows):
        at = [x for x, char in enumerate(row) if char in signs.nodes and x % 2 == 0]
        if len(at) != 1:
            raise Unreadable(f"row {number} has {len(at)} nodes")
        here = at[0]
        left, right = _touched(row, here, signs)
        below: Lanes = {}
        parents: list[set[int]] = []
        fed = False
        for x in range(0, len(row), 2):
            char = row[x]
            lane = {number - 1} if x == above and char in signs.lane + signs.goes_on + signs.ends else lanes.get(x)
            if x == here:
                continue
            if char in " " + signs.line:
                if lane is not None:
                    raise Unreadable(f"row {number} cuts the lane at {x}")
                if (char == signs.line) != (left < x < right):
                    raise Unreadable(f"row {number} has a loose line or a gap at {x}")
            elif char == signs.lane:
                if lane is None:
                    raise Unreadable(f"row {number} has a lane from nowhere at {x}")
                below[x] = lane
            elif not left <= x <= right:
                raise Unreadable(f"row {number} has a joint without a line at {x}")
            elif (x > here and row[x - 1] == signs.feeds[0]) or (x < here and row[x + 1] == signs.feeds[1]):
                if fed or (lane is None) != (
                    char in signs.begins and char not in signs.goes_on * (lane is not None)
                ):
                    raise Unreadable(f"row {number} feeds what is none at {x}")
                if char not in signs.begins + signs.goes_on or any(lane is one for one in taken):
                    raise Unreadable(f"row {number} feeds a lane that has ended at {x}")
                fed = True
                below[x] = lane if lane is not None else set()
                below[x].add(number)
            else:
                if lane is None or char not in signs.goes_on + signs.ends:
                    raise Unreadable(f"row {number} joins no lane at {x}")
                parents.append(lane)
                if char in signs.goes_on:
                    below[x] = lane
        if len([char for char in row[1::2] if char in signs.feeds]) != fed:
            raise Unreadable(f"row {number} has a loose arrow")
        if here in lanes:
            parents.append(lanes[here])
        elif here == above and not parents:
            parents.append({number - 1})
        for sources in parents:
            edges |= {(source, number) for source in sources}
        taken += parents
        lanes, above = below, -1 if fed else here
    if lanes:
        raise Unreadable("lanes lead out of the drawing")
    return edges


def _touched(row: str, here: int, signs: Signs) -> tuple[int, int]:
    """From where to where the line through the node runs."""
    left = right = here
    while left >= 2 and row[left - 1] in signs.line + signs.feeds:
        left -= 2
    while right + 2 < len(row) and row[right + 1] in signs.line + signs.feeds:
        right += 2
    return left, right
