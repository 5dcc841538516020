"""In which order the rail lists the nodes."""

from __future__ import annotations

from heapq import heappop, heappush

from tui.dag.graph import Graph


def rail_order(graph: Graph) -> tuple[int, ...]:
    """Topological: always the node that leaves the fewest lanes open, among equals the one freed last.

    A node's price is the lane that it opens less those that it closes. Prices only fall (it is the last child of
    a parent now), so a node is queued again with its new price and the old entry is passed over.
    """
    missing = [len(parents) for parents in graph.parents]
    waiting = [len(children) for children in graph.children]
    price = [(1 if children else 0) for children in graph.children]
    for children in graph.children:
        if len(children) == 1:
            price[children[0]] -= 1
    freed = [0] * len(graph)
    queue = [(price[number], 0, number) for number, count in enumerate(missing) if not count]
    queue.sort()
    placed = [False] * len(graph)
    order: list[int] = []
    while queue:
        cost, _, number = heappop(queue)
        if placed[number] or cost != price[number]:
            continue
        placed[number] = True
        order.append(number)
        for parent in graph.parents[number]:
            waiting[parent] -= 1
            if waiting[parent] == 1:
                last = next(child for child in graph.children[parent] if not placed[child])
                price[last] -= 1
                if not missing[last]:
                    heappush(queue, (price[last], -freed[last], last))
        for child in graph.children[number]:
            missing[child] -= 1
            if not missing[child]:
                freed[child] = len(order)
                heappush(queue, (price[child], -freed[child], child))
    return tuple(order)
