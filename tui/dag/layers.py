"""Which layer and row each node of a layered drawing gets, with the rows that long edges pass through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tui.dag.graph import Graph

SWEEPS = 4
STRAIGHT = 8.0
"""How much more a long edge wants to stay straight than a node wants to stand amid its neighbours."""


@dataclass(slots=True)
class Item:
    """A node in its layer, or the place in a layer where the lines of a node further left pass through."""

    node: int
    layer: int
    passing: bool
    row: int = 0
    into: list[Item] = field(default_factory=list)
    """What its lines lead to in the next layer."""
    out_of: list[Item] = field(default_factory=list)


def arranged(graph: Graph) -> list[list[Item]]:
    """Layer by layer from the left, each from top to bottom; rows from 0 on, none of them empty."""
    layers = _layers(graph)
    for sweep in range(SWEEPS):
        _reorder(layers, leftwards=sweep % 2 == 1)
    for leftwards in (False, True, False):
        _align(layers, leftwards=leftwards)
    used = sorted({item.row for layer in layers for item in layer})
    rank = {row: place for place, row in enumerate(used)}
    for layer in layers:
        for item in layer:
            item.row = rank[item.row]
    return layers


def _layers(graph: Graph) -> list[list[Item]]:
    level = list(graph.levels)
    for number, parents in enumerate(graph.parents):
        if not parents and graph.children[number]:
            level[number] = min(graph.levels[child] for child in graph.children[number]) - 1
    layers: list[list[Item]] = [[] for _ in range(max(level, default=-1) + 1)]
    items = [Item(number, level[number], False) for number in range(len(graph))]
    for number in graph.order:
        layers[level[number]].append(items[number])
    for number in graph.order:
        reach = max((level[child] for child in graph.children[number]), default=0)
        before = items[number]
        for layer in range(level[number] + 1, reach + 1):
            found = [items[child] for child in graph.children[number] if level[child] == layer]
            if layer < reach:
                found.append(Item(number, layer, True))
                layers[layer].append(found[-1])
            for item in found:
                before.into.append(item)
                item.out_of.append(before)
            before = found[-1]
    for of_layer in layers:
        for row, item in enumerate(of_layer):
            item.row = row
    return layers


def _reorder(layers: Sequence[list[Item]], *, leftwards: bool) -> None:
    """Each layer by where its neighbours on the side that was done before stand on average."""
    for layer in reversed(layers) if leftwards else layers:
        weights: list[tuple[float, int]] = []
        for row, item in enumerate(layer):
            near = item.into if leftwards else item.out_of
            weights.append((sum(one.row for one in near) / len(near) if near else row, row))
        ranked = sorted(zip(weights, layer, strict=True), key=lambda pair: pair[0])
        layer[:] = [item for _, item in ranked]
        for row, item in enumerate(layer):
            item.row = row


def _align(layers: Sequence[list[Item]], *, leftwards: bool) -> None:
    """Give each item the row that it wants, as near as the order of its layer lets it."""
    for layer in reversed(layers) if leftwards else layers:
        wants: list[float] = []
        weights: list[float] = []
        for item in layer:
            near = item.into if leftwards else item.out_of
            rows = sorted(one.row for one in near)
            wants.append(rows[(len(rows) - 1) // 2] if rows else item.row)
            straight = item.passing or (len(near) == 1 and near[0].passing)
            weights.append(STRAIGHT if straight else 1.0)
        for item, row in zip(layer, nearest_rows(wants, weights), strict=True):
            item.row = row


def nearest_rows(wants: Sequence[float], weights: Sequence[float]) -> list[int]:
    """Whole rows in strictly rising order with the least weighted squares of distances, up to rounding."""
    # Pool adjacent violators over what is left when the k-th has k rows above it.
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for place, (want, weight) in enumerate(zip(wants, weights, strict=True)):
        mean, members = want - place, 1
        while pools and pools[-1][0] > mean:
            before, its_weight, its_members = pools.pop()
            mean = (before * its_weight + mean * weight) / (its_weight + weight)
            weight += its_weight
            members += its_members
        pools.append((mean, weight, members))
    rows: list[int] = []
    for mean, _, members in pools:
        rows += [round(mean) + place for place in range(len(rows), len(rows) + members)]
    return rows
