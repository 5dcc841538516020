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


UNICODE = Signs(nodes="●◌○▸✗↷⊘⊞", lane="│", line="─", goes_on="├┤┼", ends="╰╯┴")
ASCII = Signs(nodes="*.o>x~/#", lane="|", line="-", goes_on="+", ends="`'")


class Unreadable(Exception):
    """The drawing says nothing clear."""


def read_rail(rows: Sequence[str], signs: Signs) -> set[tuple[int, int]]:
    """Edges as row of the parent, row of the child."""
    edges: set[tuple[int, int]] = set()
    lanes: dict[int, int] = {}  # x -> row of its source, for lanes that surely come down into the next row
    above = -1  # x of the node in the row above, whose lane may come down
    for number, row in enumerate(rows):
        at = [x for x, char in enumerate(row) if char in signs.nodes]
        if len(at) != 1:
            raise Unreadable(f"row {number} has {len(at)} nodes")
        here = at[0]
        touched = _touched(row, here, signs)
        below: dict[int, int] = {}
        for x, char in enumerate(row):
            if char == " " and touched[0] < x < touched[1]:
                raise Unreadable(f"row {number} has a gap at {x}")
            if x == here or char == " ":
                continue
            source = number - 1 if x == above else lanes.get(x, -1)
            if char == signs.line:
                if source >= 0 and x != above:
                    raise Unreadable(f"row {number} cuts the lane at {x}")
                if not touched[0] < x < touched[1]:
                    raise Unreadable(f"row {number} has a loose line at {x}")
                continue
            if source < 0:
                raise Unreadable(f"row {number} has a lane from nowhere at {x}")
            if char in signs.goes_on + signs.ends:
                if not touched[0] <= x <= touched[1]:
                    raise Unreadable(f"row {number} has a joint without a line at {x}")
                edges.add((source, number))
            elif char != signs.lane:
                raise Unreadable(f"row {number} has {char!r} at {x}")
            if char not in signs.ends:
                below[x] = source
        if here in lanes:
            edges.add((lanes[here], number))
        elif here == above and touched == (here, here):
            edges.add((number - 1, number))
        lost = set(lanes) - set(below) - {here} - {x for x in lanes if row[x] in signs.ends}
        if lost:
            raise Unreadable(f"row {number} loses the lanes at {sorted(lost)}")
        lanes, above = below, here
    if lanes:
        raise Unreadable("lanes lead out of the drawing")
    return edges


def _touched(row: str, here: int, signs: Signs) -> tuple[int, int]:
    """From where to where the line through the node runs."""
    left = right = here
    while left >= 2 and row[left - 1] == signs.line:
        left -= 2
    while right + 2 < len(row) and row[right + 1] == signs.line:
        right += 2
    return left, right
