"""The rail: one row per node, one lane per source. Laid out once from the structure; rows are drawn when asked for.

A lane begins under its source and ends in the row of the source's last child; children in between join it in
passing. Sources with the same children feed one lane together. So a row tells which lanes its node joins and feeds,
and the drawing reads back to the exact edges: see DESIGN.md.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import NamedTuple

from tui.dag.glyphs import ROLES, Cell, DagGlyphs
from tui.dag.graph import Graph, State
from tui.dag.lanes import lanes_of
from tui.dag.order import rail_order

StateOf = Callable[[str], State]
STEP = 2
"""Cells from one column of lanes to the next."""
ASKED = 8
"""A lane of more sources is not coloured after them: asking all for every row would cost too much."""
KEPT = 512
"""Rows that are kept as they were drawn, but for states."""
_NOBODY, _LINE, _NODE = -1, -2, -3


class _Row(NamedTuple):
    """Columns: of the node, of the lanes beside it that lead to it, and of the lane that it feeds or -1."""

    here: int
    joins: tuple[int, ...]
    feeds: int

    @property
    def first(self) -> int:
        return min(self.here, *self.joins, self.feeds if self.feeds >= 0 else self.here)

    @property
    def last(self) -> int:
        return max(self.here, *self.joins, self.feeds)


class Rail:
    """`keys` from top to bottom; rows are numbered from 0, columns of lanes from the left from 0."""

    __slots__ = (
        "_drawn",
        "_lanes",
        "_last",
        "_opened",
        "_places",
        "_rows",
        "_starts",
        "graph",
        "keys",
        "lane_count",
    )

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._lanes = lanes_of(graph)
        order = rail_order(graph, self._lanes)
        self.keys = tuple(graph.keys[number] for number in order)
        self._rows = {key: row for row, key in enumerate(self.keys)}
        row_of = [0] * len(graph)
        for row, number in enumerate(order):
            row_of[number] = row
        # by lane: the last row that it reaches
        self._last = [max([row_of[child] for child in children]) for children in self._lanes.children]
        self._places: list[_Row] = []
        # by column: the rows in which a lane begins there, sorted, and which lanes those are
        self._starts: list[list[int]] = []
        self._opened: list[list[int]] = []
        self._drawn: dict[tuple[int, int, int | None, bool], list[tuple[str, int]]] = {}
        self._allot(order)
        self.lane_count = len(self._starts)

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
        """The column where the node stands; its cell is the double."""
        return self._places[row].here

    def text(self, row: int, glyphs: DagGlyphs, *, left: int = 0, width: int | None = None) -> str:
        """The row's characters from cell `left` on, `width` of them (to the right end if None), padded."""
        return "".join(char for char, _ in self._cells(row, glyphs, left, width))

    def cell(
        self, row: int, state_of: StateOf, glyphs: DagGlyphs, *, left: int = 0, width: int | None = None,
        group: bool = False,
    ) -> Cell:  # fmt: skip
        """The same with the roles of styles, and the node as the glyph of its state (of a `group` as its own).

        Lanes carry the role of their source where it failed or runs, so that it can be followed.
        """
        state = state_of(self.keys[row])
        roles = {_NOBODY: "track", _LINE: _line_role(state), _NODE: ROLES[state]}
        spans: list[tuple[str, str]] = []
        for text, lane in self._parts(row, glyphs, left, width):
            if lane == _NODE:
                text = (glyphs.group if group else glyphs.nodes[state]) + text[1:]
            elif lane not in roles:
                roles[lane] = self._lane_role(lane, state_of)
            role = roles[lane]
            if spans and spans[-1][1] == role:
                spans[-1] = (spans[-1][0] + text, role)
            else:
                spans.append((text, role))
        return tuple(spans)

    def _parts(self, row: int, glyphs: DagGlyphs, left: int, width: int | None) -> list[tuple[str, int]]:
        """Cells of the same lane as one, blanks with what is before them; kept, since a screen draws them again."""
        key = (row, left, width, glyphs.ascii_only)
        parts = self._drawn.get(key)
        if parts is None:
            if len(self._drawn) >= KEPT:
                self._drawn.clear()
            parts = self._drawn[key] = []
            for char, lane in self._cells(row, glyphs, left, width):
                if parts and (parts[-1][1] == lane or char == " "):
                    parts[-1] = (parts[-1][0] + char, parts[-1][1])
                else:
                    parts.append((char, lane))
        return parts

    def _lane_role(self, lane: int, state_of: StateOf) -> str:
        sources = self._lanes.sources[lane]
        if len(sources) == 1:
            return _line_role(state_of(self.graph.keys[sources[0]]))
        if len(sources) > ASKED:
            return "track"
        states = {state_of(self.graph.keys[number]) for number in sources}
        return next((ROLES[state] for state in (State.FAILED, State.RUNNING) if state in states), "track")

    def _lane_at(self, row: int, column: int) -> int:
        """The lane that comes down into a row there; -1 if none."""
        at = bisect_left(self._starts[column], row) - 1
        lane = self._opened[column][at] if at >= 0 else -1
        return lane if lane >= 0 and self._last[lane] >= row else -1

    def _cells(self, row: int, glyphs: DagGlyphs, left: int, width: int | None) -> list[tuple[str, int]]:
        """Each cell's character and the lane that it belongs to, or _NODE, _LINE (what it feeds) or _NOBODY."""
        left = max(0, left)
        place = self._places[row]
        here, joins, feeds = place
        first, last = place.first, place.last
        arrow = feeds * STEP + (-1 if feeds > here else 1) if feeds >= 0 else -1
        cells: list[tuple[str, int]] = []
        for x in range(left, left + max(0, self.width - left if width is None else width)):
            column, between = divmod(x, STEP)
            lane = -1 if between or column >= self.lane_count else self._lane_at(row, column)
            if x == arrow:
                cells.append((glyphs.feed_right if feeds > here else glyphs.feed_left, _LINE))
            elif column == here and not between:
                cells.append((glyphs.node, _NODE))
            elif column == feeds and not between:
                cells.append((_joint(glyphs, column, first, last, lane >= 0, True), _LINE))
            elif lane < 0:
                line = first <= column < last if between else first < column < last
                cells.append((glyphs.line if line else " ", _NOBODY))
            elif _holds(joins, column):
                cells.append((_joint(glyphs, column, first, last, True, self._last[lane] > row), lane))
            else:
                cells.append((glyphs.lane, lane))
        return cells

    def _allot(self, order: tuple[int, ...]) -> None:
        """Give every node and every lane its column, from top to bottom."""
        lanes = self._lanes
        free: list[int] = []
        at: list[int] = [-1] * len(self._last)  # column by lane
        above = sink = -1  # column of the node in the row above, unless it feeds; the same if it is a sink
        for row, number in enumerate(order):
            leading = sorted((at[lane], lane) for lane in lanes.into[number])
            ending = [column for column, lane in leading if self._last[lane] == row]
            # Right under a node, what has a line to a lane is read as hanging on that line alone.
            here = next((one for one in ending if one != above or len(leading) == 1), -1)
            if here < 0:
                here = self._free_column(free, leading[0][0] if leading else 0, -1 if leading else sink)
            own = lanes.of_source[number]
            feeds = -1
            if own >= 0 and lanes.shared(own):
                if at[own] < 0:
                    at[own] = self._free_column(free, here + 1, above)
                    self._start(at[own], row, own)
                feeds = at[own]
            elif own >= 0:
                at[own] = here
                self._start(here, row, own)
            self._places.append(_Row(here, tuple(column for column, _ in leading if column != here), feeds))
            for column in ending:
                if column != here:
                    insort(free, column)
            if own < 0 or feeds >= 0:
                insort(free, here)
            above, sink = here if feeds < 0 else -1, here if own < 0 else -1

    def _start(self, column: int, row: int, lane: int) -> None:
        self._starts[column].append(row)
        self._opened[column].append(lane)

    def _free_column(self, free: list[int], wanted: int, blocked: int) -> int:
        """The free one nearest to the wanted one; a new one at the right when there is none."""
        at = bisect_left(free, wanted)
        best = -1
        for near in (at, at - 1, at + 1, at - 2):
            if 0 <= near < len(free) and free[near] != blocked:
                column = free[near]
                if best < 0 or abs(column - wanted) < abs(best - wanted):
                    best = column
        if best < 0:
            self._starts.append([])
            self._opened.append([])
            return len(self._starts) - 1
        del free[bisect_left(free, best)]
        return best


def _line_role(state: State) -> str:
    return ROLES[state] if state in (State.FAILED, State.RUNNING) else "track"


def _holds(sorted_columns: tuple[int, ...], column: int) -> bool:
    at = bisect_left(sorted_columns, column)
    return at < len(sorted_columns) and sorted_columns[at] == column


def _joint(glyphs: DagGlyphs, column: int, first: int, last: int, up: bool, down: bool) -> str:
    """Where a row's line, from column `first` to `last`, touches a lane that leads up, down or both."""
    if column == first:
        right = (glyphs.turn_right, glyphs.end_right, glyphs.tee_right)
        return right[2 if up and down else int(up)]
    if column == last:
        left = (glyphs.turn_left, glyphs.end_left, glyphs.tee_left)
        return left[2 if up and down else int(up)]
    both = (glyphs.tee_down, glyphs.end_both, glyphs.join)
    return both[2 if up and down else int(up)]
