"""The lines between two layers: one trunk per source, bent where a row would not tell whose line it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

Into = Mapping[int, Sequence["Net"]]
"""By row, the nets that lead to it."""
Order = list[tuple[int, set[int]]]
GAP = 2
"""Rows that stay free between two trunks of a column, beyond the one that rows have between them."""


@dataclass(frozen=True, slots=True)
class Net:
    """Lines from sources on the left to targets on the right, from each source to all targets; rows are even."""

    sources: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def name(self) -> int:
        """A row is the source of one net."""
        return self.sources[0]

    @property
    def shared(self) -> bool:
        return len(self.sources) > 1

    @property
    def plain(self) -> bool:
        """A straight line, which needs no trunk."""
        return not self.shared and self.targets == self.sources

    @property
    def through(self) -> bool:
        """Whether a line goes straight on in its row beside leading to others."""
        return not self.shared and self.name in self.targets


@dataclass(frozen=True, slots=True)
class Trunk:
    """The vertical part of a net, in a column of the channel: lines come in from the left at rows `entries`."""

    column: int
    entries: tuple[int, ...]
    exits: tuple[int, ...]

    @property
    def top(self) -> int:
        return min(*self.entries, *self.exits)

    @property
    def bottom(self) -> int:
        return max(*self.entries, *self.exits)


@dataclass(frozen=True, slots=True)
class Routed:
    """A net's trunks from left to right: none for a plain one, two for a bent one, joined in the odd row below."""

    net: Net
    trunks: tuple[Trunk, ...]


def routed(nets: Sequence[Net]) -> tuple[list[Routed], int]:
    """Where every net runs, and how many columns that takes; shared nets may be taken apart.

    In a row, whatever a source's line meets first is its own trunk, and a trunk has either one place where a line
    from the left ends in it, or none and one where a line from the left goes on: so all can be read; lines into a
    shared trunk are marked. Nets for which no order of columns gives that are bent: down at the left edge, along
    the odd row that is theirs, and into a trunk at the right edge.
    """
    nets = list(nets)
    while True:
        into: dict[int, list[Net]] = {}
        for net in nets:
            for target in net.targets:
                into.setdefault(target, []).append(net)
        order, bent = _ordered([net for net in nets if not net.plain], into)
        if not any(net.shared and net.name in bent for net in nets):
            return _placed(nets, order, bent)
        parted = [net for net in nets if net.shared and net.name in bent]
        nets = [net for net in nets if net not in parted]
        nets += [Net((source,), net.targets) for net in parted for source in net.sources]


def _placed(nets: Sequence[Net], order: Order, bent: set[int]) -> tuple[list[Routed], int]:
    named = {net.name: net for net in nets}
    left = _Columns(0)
    downs = {row: left.place(row, row + 1, 0) for row in sorted(bent)}
    middle = _Columns(left.count)
    column: dict[int, int] = {}
    for name, after in order:
        rows = (*named[name].sources, *named[name].targets)
        least = max((column[other] + 1 for other in after), default=middle.first)
        column[name] = middle.place(min(rows), max(rows), least)
    right = _Columns(middle.first + middle.count)
    found: list[Routed] = []
    for net in nets:
        row = net.name
        if row in column:
            found.append(Routed(net, (Trunk(column[row], net.sources, net.targets),)))
        elif row in downs:
            last = right.place(min(row + 1, *net.targets), max(row + 1, *net.targets), right.first)
            found.append(Routed(net, (Trunk(downs[row], (row,), (row + 1,)), Trunk(last, (row + 1,), net.targets))))
        else:
            found.append(Routed(net, ()))
    return found, right.first + right.count


def _ordered(nets: Sequence[Net], into: Into) -> tuple[Order, set[int]]:
    """Trunks from left to right by the names of their nets, each with those that must be left of it; and the nets
    that have to be bent: where a circle of demands was broken, or no place would do.
    """
    bent = {net.name for net in nets if _cut_off(net, into)}
    before = {net.name: _right_of(net, into) for net in nets if net.name not in bent}
    after: dict[int, set[int]] = {row: set() for row in before}
    for row, others in before.items():
        others &= after.keys()
        for other in others:
            after[other].add(row)
    missing = {row: len(others) for row, others in after.items()}
    rank = {net.name: _preference(net) for net in nets}
    ready = [(rank[row], row) for row, count in missing.items() if not count]
    heapify(ready)
    order: Order = []
    while missing:
        if ready:
            row = heappop(ready)[1]
            order.append((row, after[row] - bent))
        else:
            row = max(missing, key=lambda row: (len(before[row] & missing.keys()), row))
            bent.add(row)
        del missing[row]
        for other in before[row] & missing.keys():
            missing[other] -= 1
            if not missing[other]:
                heappush(ready, (rank[other], other))
    return order, bent


def _cut_off(net: Net, into: Into) -> bool:
    """Whether it goes straight on in its row while a plain net comes from the left into another of its rows."""
    return net.through and any(
        other.plain and other.name == target and other is not net
        for target in net.targets
        for other in into[target]
    )


def _right_of(net: Net, into: Into) -> set[int]:
    """Names of the nets whose trunk must be right of this one's."""
    others = [other for source in net.sources for other in into.get(source, ())]
    if net.through:
        for target in net.targets:
            others += into[target]
    return {other.name for other in others if other is not net and not other.plain}


def _preference(net: Net) -> tuple[int, int]:
    """Nets that lead down from the lowest, nets that lead up from the highest: they cross each other least."""
    down = sum(net.targets) * len(net.sources) > sum(net.sources) * len(net.targets)
    return (1, -net.sources[-1]) if down else (0, net.name)


class _Columns:
    """Columns filled with trunks that do not touch."""

    def __init__(self, first: int) -> None:
        self.first = first
        self._taken: list[list[tuple[int, int]]] = []

    @property
    def count(self) -> int:
        return len(self._taken)

    def place(self, top: int, bottom: int, least: int) -> int:
        """The leftmost column from `least` on where these rows are free."""
        at = max(0, least - self.first)
        while True:
            if at >= len(self._taken):
                self._taken.append([])
            if all(
                bottom + GAP < other_top or other_bottom + GAP < top for other_top, other_bottom in self._taken[at]
            ):
                self._taken[at].append((top, bottom))
                return self.first + at
            at += 1
