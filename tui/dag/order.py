"""In which order the rail lists the nodes."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from tui.dag.graph import Graph
from tui.dag.lanes import Lanes


def rail_order(graph: Graph, lanes: Lanes) -> tuple[int, ...]:
    """Topological: always the node that leaves the fewest lanes open, among equals the first depth first.

    A node's price is the lane that it opens less those that it closes. Prices only fall (another source opened its
    lane, or it is the last child of a lane now), so a node is queued again with its new price and the old entry is
    passed over.
    """
    rank = graph.rank or depth_first(graph)
    missing = [len(parents) for parents in graph.parents]
    waiting = [len(children) for children in lanes.children]
    opened = [False] * len(waiting)
    price = [(1 if lane >= 0 else 0) for lane in lanes.of_source]
    for children in lanes.children:
        if len(children) == 1:
            price[children[0]] -= 1
    queue = [(price[number], rank[number], number) for number, count in enumerate(missing) if not count]
    heapify(queue)
    placed = [False] * len(graph)
    order: list[int] = []
    while queue:
        cost, _, number = heappop(queue)
        if placed[number] or cost != price[number]:
            continue
        placed[number] = True
        order.append(number)
        cheaper: list[int] = []
        own = lanes.of_source[number]
        if own >= 0 and not opened[own]:
            opened[own] = True
            cheaper += [one for one in lanes.sources[own] if not placed[one]]
        for lane in lanes.into[number]:
            waiting[lane] -= 1
            if waiting[lane] == 1:
                cheaper.append(next(child for child in lanes.children[lane] if not placed[child]))
        for one in cheaper:
            price[one] -= 1
            if not missing[one]:
                heappush(queue, (price[one], rank[one], one))
        for child in graph.children[number]:
            missing[child] -= 1
            if not missing[child]:
                heappush(queue, (price[child], rank[child], child))
    return tuple(order)


def depth_first(graph: Graph) -> tuple[int, ...]:
    """Each node's place when sink follows sink, each after all that it needs: what feeds a join is together."""
    rank = [0] * len(graph)
    place = 0
    seen = [False] * len(graph)
    for sink in _sinks(graph):
        path = [(sink, iter(graph.parents[sink]))]
        while path:
            number, parents = path[-1]
            parent = next((one for one in parents if not seen[one]), -1)
            if parent >= 0:
                seen[parent] = True
                path.append((parent, iter(graph.parents[parent])))
            else:
                rank[number] = place
                place += 1
                path.pop()
    return tuple(rank)


def _sinks(graph: Graph) -> list[int]:
    """As a walk down from the roots meets them, shallow branches first."""
    height = [0] * len(graph)
    for number in reversed(graph.order):
        height[number] = 1 + max([height[child] for child in graph.children[number]], default=-1)
    sinks: list[int] = []
    seen = [False] * len(graph)
    todo = [number for number in reversed(range(len(graph))) if not graph.parents[number]]
    while todo:
        number = todo.pop()
        if seen[number]:
            continue
        seen[number] = True
        if not graph.children[number]:
            sinks.append(number)
        todo += sorted(graph.children[number], key=lambda child: (-height[child], -child))
    return sinks
