"""Layers from left to right, parents left of children; for graphs that are small enough to be seen whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tui.dag.channel import Net, Routed, routed
from tui.dag.glyphs import ROLES, Cell, DagGlyphs
from tui.dag.graph import Graph, State
from tui.dag.lanes import SHARED_BY
from tui.dag.layers import Item, arranged
from tui.dag.rail import KEPT, StateOf
from tui.drawing.text import clean, fit, width_of

NODES = 200
"""As many as it draws; above, the rail is shown."""
EDGES = 1000
LABEL_CELLS = 32
"""Longer labels are cut."""
UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
_NOBODY = -1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands: its line, the cell of its glyph, and the cells of glyph and label together."""

    key: str
    layer: int
    x: int
    y: int
    width: int


@dataclass(frozen=True, slots=True)
class _Run:
    """A line along a row, both ends included; `owner` is the number of the node that it comes from."""

    left: int
    right: int
    owner: int


def too_large(graph: Graph) -> str:
    """Why layers do not show it, in a sentence; empty when they do."""
    if len(graph) > NODES:
        return f"Layers show at most {NODES} nodes, not {len(graph):,}; fold some, or stay on the rail."
    if graph.edge_count > EDGES:
        return f"Layers show at most {EDGES:,} edges, not {graph.edge_count:,}; fold some, or stay on the rail."
    return ""


class Layered:
    """`width` x `height` cells; `places[key]` says where a node is. Laid out once from structure and labels.

    A label is what stands beside the node's glyph: clean text that does not change with states; the cleaned key
    where none is given. Raises ValueError for a graph that is too large.
    """

    def __init__(self, graph: Graph, labels: Mapping[str, str] | None = None) -> None:
        if reason := too_large(graph):
            raise ValueError(reason)
        self.graph = graph
        given = labels or {}
        self._labels = {key: given[key] if key in given else clean(key) for key in graph.keys}
        self.places: dict[str, Place] = {}
        self.width = 0
        self.height = 0
        self._by_row: dict[int, list[Place]] = {}
        # runs by row; trunks by x, each as top, bottom, owner; joints by row and x as arms and owner
        self._runs: dict[int, list[_Run]] = {}
        self._trunks: dict[int, list[tuple[int, int, int]]] = {}
        self._joints: dict[tuple[int, int], tuple[int, int]] = {}
        # where a line leads into a trunk that several feed, and whose line it is
        self._arrows: dict[tuple[int, int], int] = {}
        self._drawn: dict[tuple[int, int, int | None, bool], list[tuple[str, int, str]]] = {}
        self._draw(arranged(graph))

    def text(self, y: int, glyphs: DagGlyphs, *, left: int = 0, width: int | None = None) -> str:
        """The characters of a line from cell `left` on, `width` of them (to the right end if None), padded."""
        return "".join(char for char, _, _ in self._cells(y, glyphs, left, width))

    def cell(
        self, y: int, state_of: StateOf, glyphs: DagGlyphs, *, left: int = 0, width: int | None = None
    ) -> Cell:
        """The same with the roles of styles, and each node as the glyph of its state.

        Lines carry the role of their source where it failed or runs; labels are `text`.
        """
        spans: list[tuple[str, str]] = []
        for text, owner, kind in self._parts(y, glyphs, left, width):
            role = "text" if kind == "label" else "track"
            if kind != "label" and owner >= 0:
                state = state_of(self.graph.keys[owner])
                if kind == "node":
                    text, role = glyphs.nodes[state] + text[1:], ROLES[state]
                elif state in (State.FAILED, State.RUNNING):
                    role = ROLES[state]
            if spans and spans[-1][1] == role:
                spans[-1] = (spans[-1][0] + text, role)
            else:
                spans.append((text, role))
        return tuple(spans)

    def _parts(self, y: int, glyphs: DagGlyphs, left: int, width: int | None) -> list[tuple[str, int, str]]:
        """Cells of the same as one, blanks with what is before them; kept, since a screen draws them again."""
        key = (y, left, width, glyphs.ascii_only)
        parts = self._drawn.get(key)
        if parts is None:
            if len(self._drawn) >= KEPT:
                self._drawn.clear()
            parts = self._drawn[key] = []
            for char, owner, kind in self._cells(y, glyphs, left, width):
                if parts and (char == " " or (parts[-1][1:] == (owner, kind) and kind != "node")):
                    parts[-1] = (parts[-1][0] + char, parts[-1][1], parts[-1][2])
                else:
                    parts.append((char, owner, kind))
        return parts

    def _cells(self, y: int, glyphs: DagGlyphs, left: int, width: int | None) -> list[tuple[str, int, str]]:
        """Of each cell what it shows, the node that it belongs to, and as what: line, node or label."""
        left = max(0, left)
        right = self.width if width is None else left + max(0, width)
        cells: list[tuple[str, int, str]] = [(" ", -1, "")] * max(0, right - left)
        for run in self._runs.get(y, ()):
            for x in range(max(left, run.left), min(right, run.right + 1)):
                cells[x - left] = (glyphs.line, run.owner, "line")
        for x in range(left, right):
            trunk = next((one for one in self._trunks.get(x, ()) if one[0] <= y <= one[1]), None)
            if trunk is not None:
                joint = self._joints.get((y, x))
                char = _joint(glyphs, joint) if joint else glyphs.lane
                cells[x - left] = (char, trunk[2], "line")
            elif (y, x) in self._arrows:
                cells[x - left] = (glyphs.feed_right, self._arrows[y, x], "line")
        for place in self._by_row.get(y, ()):
            number = self.graph.at[place.key]
            text = fit(self._labels[place.key], place.width - 2, ellipsis=glyphs.cut)
            shown = [(glyphs.node, number, "node"), (" ", -1, ""), *((char, number, "label") for char in text)]
            x = place.x
            for char, owner, kind in shown:
                cells_wide = width_of(char)
                if x >= left and x + cells_wide <= right and cells_wide:
                    cells[x - left] = (char, owner, kind)
                    for covered in range(1, cells_wide):
                        cells[x - left + covered] = ("", owner, kind)
                x += cells_wide
        return cells

    # Laying out.

    def _draw(self, layers: list[list[Item]]) -> None:
        x = 0
        rows: set[int] = set()
        for number, layer in enumerate(layers):
            wide = max([self._label_width(item) + 2 for item in layer if not item.passing], default=0)
            for item in layer:
                rows.add(2 * item.row)
                if item.passing:
                    self._run(2 * item.row, x, x + wide, item.node)
                else:
                    key = self.graph.keys[item.node]
                    self.places[key] = Place(key, number, x, 2 * item.row, self._label_width(item) + 2)
            x = self._channel(layer, x, x + wide)
        self.width = max([place.x + place.width for place in self.places.values()], default=0)
        used = sorted(rows | set(self._runs))
        self._squeeze({row: y for y, row in enumerate(used)})
        self.height = len(used)

    def _channel(self, layer: list[Item], left: int, right: int) -> int:
        """Draws the lines from one layer to the next, from cell `right` on; returns where the next layer begins."""
        source_of = {2 * item.row: item for item in layer if item.into}
        if not source_of:
            return right
        routes, columns = routed(_nets(source_of))
        lead = 3 if any(route.net.shared for route in routes) else 2
        after = right + max(4, 2 * columns + lead + 1)
        at = [right + lead + 2 * column for column in range(columns)]
        starts: dict[int, int] = {}
        for route in routes:
            for target in route.net.targets:
                start = at[route.trunks[-1].column] if route.trunks else 0
                starts[target] = min(start, starts.get(target, start))
        for route in routes:
            first = at[route.trunks[0].column] if route.trunks else after - 1
            for row in route.net.sources:
                item = source_of[row]
                self._run(row, left if item.passing else left + self._label_width(item) + 3, first, item.node)
                if route.net.shared:
                    self._arrows[row, first - 1] = item.node
            self._lines(
                route, _NOBODY if route.net.shared else source_of[route.net.name].node, after - 1, at, starts
            )
        return after

    def _lines(self, route: Routed, owner: int, end: int, at: list[int], starts: Mapping[int, int]) -> None:
        """The trunks of one net, what is between them, and the lines to the targets at `end`.

        `starts` has the leftmost trunk that leads to each target, 0 where a straight line does.
        """
        begin = 0
        for trunk in route.trunks:
            x = at[trunk.column]
            if begin:
                self._run(trunk.entries[0], begin, x, owner)
            self._trunks.setdefault(x, []).append((trunk.top, trunk.bottom, owner))
            last = trunk is route.trunks[-1]
            for y in {*trunk.entries, *trunk.exits}:
                arms = (UP if y > trunk.top else 0) | (DOWN if y < trunk.bottom else 0)
                if y in trunk.entries or (last and starts[y] < x):
                    arms |= LEFT
                if y in trunk.exits:
                    arms |= RIGHT
                    if last:
                        self._run(y, x, end, owner)
                self._joints[y, x] = (arms, owner)
            begin = x

    def _run(self, row: int, left: int, right: int, owner: int) -> None:
        self._runs.setdefault(row, []).append(_Run(left, right, owner))

    def _squeeze(self, y_of: Mapping[int, int]) -> None:
        """Leave out the rows that nothing uses."""
        self.places = {
            key: Place(key, place.layer, place.x, y_of[place.y], place.width) for key, place in self.places.items()
        }
        for place in sorted(self.places.values(), key=lambda place: place.x):
            self._by_row.setdefault(place.y, []).append(place)
        self._runs = {y_of[row]: runs for row, runs in self._runs.items()}
        self._trunks = {
            x: [(y_of[top], y_of[bottom], owner) for top, bottom, owner in trunks]
            for x, trunks in self._trunks.items()
        }
        self._joints = {(y_of[row], x): joint for (row, x), joint in self._joints.items()}
        self._arrows = {(y_of[row], x): owner for (row, x), owner in self._arrows.items()}

    def _label_width(self, item: Item) -> int:
        return min(LABEL_CELLS, width_of(self._labels[self.graph.keys[item.node]]))


def _nets(source_of: Mapping[int, Item]) -> list[Net]:
    """Of the sources of a layer by row; at least three with the same targets make one net."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for row, item in sorted(source_of.items()):
        alike.setdefault(tuple(sorted(2 * one.row for one in item.into)), []).append(row)
    nets: list[Net] = []
    for targets, rows in alike.items():
        together = [tuple(rows)] if len(rows) >= SHARED_BY else [(row,) for row in rows]
        nets += [Net(sources, targets) for sources in together]
    return nets


def _joint(glyphs: DagGlyphs, joint: tuple[int, int]) -> str:
    arms = joint[0]
    return {
        UP | DOWN | LEFT | RIGHT: glyphs.join,
        UP | DOWN | RIGHT: glyphs.tee_right,
        UP | DOWN | LEFT: glyphs.tee_left,
        DOWN | LEFT | RIGHT: glyphs.tee_down,
        UP | LEFT | RIGHT: glyphs.end_both,
        UP | RIGHT: glyphs.end_right,
        UP | LEFT: glyphs.end_left,
        DOWN | RIGHT: glyphs.turn_right,
        DOWN | LEFT: glyphs.turn_left,
    }[arms]
