"""The rail: one row per node, one lane per source. Laid out once from the structure; rows are drawn when asked for.

A lane begins under its source and ends in the row of the source's last child; children in between join it in
passing. So a row tells which lanes its node joins, and the drawing reads back to the exact edges: see DESIGN.md.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable

from tui.dag.glyphs import ROLES, Cell, DagGlyphs
from tui.dag.graph import Graph, State
from tui.dag.order import rail_order

StateOf = Callable[[str], State]
STEP = 2
"""Cells from one lane to the next."""


class Rail:
    """`keys` from top to bottom; rows are numbered from 0, lanes from the left from 0."""

    __slots__ = ("_begins", "_joins", "_lane", "_last", "_rows", "_sources", "graph", "keys", "lane_count", "order")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.order = rail_order(graph)
        self.keys = tuple(graph.keys[number] for number in self.order)
        self._rows = {key: row for row, key in enumerate(self.keys)}
        row_of = [0] * len(graph)
        for row, number in enumerate(self.order):
            row_of[number] = row
        # by row: where its node's lane is, and the last row that lane reaches
        self._last = [max((row_of[child] for child in graph.children[n]), default=row_of[n]) for n in self.order]
        self._lane: list[int] = []
        # by row: lanes that its node joins sideways, sorted
        self._joins: list[tuple[int, ...]] = []
        # by lane: rows where a node stands in it, sorted
        self._begins: list[list[int]] = []
        self._allot(row_of)
        self.lane_count = len(self._begins)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def width(self) -> int:
        """Cells that the widest row takes."""
        return max(0, self.lane_count * STEP - 1)

    def row(self, key: str) -> int:
        """Raises KeyError for a key that is not drawn."""
        return self._rows[key]

    def lane(self, row: int) -> int:
        return self._lane[row]

    def text(self, row: int, glyphs: DagGlyphs, *, left: int = 0, width: int | None = None) -> str:
        """The row's characters from cell `left` on, `width` of them (to the right end if None), padded."""
        return "".join(
            char for char, _ in self._cells(row, glyphs, left, self.width - left if width is None else width)
        )

    def cell(
        self, row: int, state_of: StateOf, glyphs: DagGlyphs, *, left: int = 0, width: int | None = None,
        group: bool = False,
    ) -> Cell:  # fmt: skip
        """The same with the roles of styles, and the node as the glyph of its state (of a `group` as its own).

        Lanes and joins carry the role of their source where it failed or runs, so that it can be followed.
        """
        here = self.keys[row]
        state = state_of(here)
        node = glyphs.group if group else glyphs.nodes[state]
        roles = {-1: "track", row: ROLES[state]}
        spans: list[list[str]] = []
        for char, owner in self._cells(row, glyphs, left, self.width - left if width is None else width):
            role = roles.get(owner)
            if role is None:
                source = state_of(self.keys[owner])
                role = roles[owner] = ROLES[source] if source in (State.FAILED, State.RUNNING) else "track"
            if owner == row and char == glyphs.node:
                char = node
            if spans and (spans[-1][1] == role or char == " "):
                spans[-1][0] += char
            else:
                spans.append([char, role])
        return tuple((text, role) for text, role in spans)

    def owner(self, row: int, lane: int) -> int:
        """Row of the source whose lane comes down into this row there; -1 where none does."""
        begins = self._begins[lane]
        at = bisect_left(begins, row) - 1
        return begins[at] if at >= 0 and self._last[begins[at]] >= row else -1

    def _cells(self, row: int, glyphs: DagGlyphs, left: int, width: int) -> list[tuple[str, int]]:
        """Each cell's character and the row of the source that it belongs to; -1 for none."""
        here = self._lane[row]
        joins = self._joins[row]
        first = min(here, joins[0]) if joins else here
        last = max(here, joins[-1]) if joins else here
        cells: list[tuple[str, int]] = []
        for x in range(max(0, left), max(0, left) + max(0, width)):
            lane, between = divmod(x, STEP)
            if between or lane >= self.lane_count:
                cells.append((glyphs.line if first <= lane < last else " ", -1))
            elif lane == here:
                cells.append((glyphs.node, row))
            else:
                owner = self.owner(row, lane)
                if owner < 0:
                    cells.append((glyphs.line if first < lane < last else " ", -1))
                elif not _holds(joins, lane):
                    cells.append((glyphs.lane, owner))
                else:
                    cells.append((_joint(glyphs, lane, first, last, self._last[owner] == row), owner))
        return cells

    def _allot(self, row_of: list[int]) -> None:
        """Give every node its lane, from top to bottom."""
        graph, last = self.graph, self._last
        free: list[int] = []
        blocked = -1  # the lane of a sink in the row above
        for row, number in enumerate(self.order):
            sources = sorted((self._lane[row_of[parent]], row_of[parent]) for parent in graph.parents[number])
            ending = [lane for lane, source in sources if last[source] == row]
            lane = self._takeover(row, sources)
            if lane < 0:
                lane = self._free_lane(free, sources, blocked)
            self._lane.append(lane)
            self._joins.append(tuple(at for at, _ in sources if at != lane))
            self._begins[lane].append(row)
            for ended in ending:
                if ended != lane:
                    insort(free, ended)
            blocked = -1
            if last[row] == row:
                insort(free, lane)
                blocked = lane

    def _takeover(self, row: int, sources: list[tuple[int, int]]) -> int:
        """The leftmost lane that ends here and may go straight into the node; -1 if none.

        Right under its source it may only where nothing joins from the side: a node with a line beside it, under a
        node, says that it hangs on the line alone.
        """
        for lane, source in sources:
            if self._last[source] == row and (source != row - 1 or len(sources) == 1):
                return lane
        return -1

    def _free_lane(self, free: list[int], sources: list[tuple[int, int]], blocked: int) -> int:
        """The free lane nearest to the leftmost source; a new one at the right when there is none."""
        wanted = sources[0][0] if sources else 0
        at = bisect_left(free, wanted)
        best = -1
        for near in (at, at - 1, at + 1, at - 2):
            if 0 <= near < len(free) and (sources or free[near] != blocked):
                lane = free[near]
                if best < 0 or abs(lane - wanted) < abs(best - wanted):
                    best = lane
        if best < 0:
            self._begins.append([])
            return len(self._begins) - 1
        del free[bisect_left(free, best)]
        return best


def _holds(sorted_lanes: tuple[int, ...], lane: int) -> bool:
    at = bisect_left(sorted_lanes, lane)
    return at < len(sorted_lanes) and sorted_lanes[at] == lane


def _joint(glyphs: DagGlyphs, lane: int, first: int, last: int, ends: bool) -> str:
    if lane == first:
        return glyphs.end_right if ends else glyphs.tee_right
    if lane == last:
        return glyphs.end_left if ends else glyphs.tee_left
    return glyphs.end_both if ends else glyphs.join
