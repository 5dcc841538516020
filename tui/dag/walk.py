"""Ways through a DAG: along edges, to the next failure, and along what decides when it ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from tui.dag.collapse import Folds
from tui.dag.graph import Graph, State

RemainingS = Callable[[str], float]
"""Seconds that a task still takes: 0 when it ended, its estimate less its run time when it runs."""


def parent(graph: Graph, rows: Sequence[str], key: str) -> str:
    """Where `h` leads: the parent listed nearest above, `rows` being the drawn order; itself for a root."""
    return _nearest(rows, key, graph.parents_of(key))


def child(graph: Graph, rows: Sequence[str], key: str) -> str:
    """Where `l` leads: the child listed nearest below; itself for a sink."""
    return _nearest(rows, key, graph.children_of(key))


def _nearest(rows: Sequence[str], key: str, others: Sequence[str]) -> str:
    if not others:
        return key
    at = {name: row for row, name in enumerate(rows)}
    return min(others, key=lambda other: (abs(at[other] - at[key]), at[other]))


def next_failed(folds: Folds, state_of: Callable[[str], State], key: str, *, back: bool = False) -> str:
    """The next failed task after a task or group, in topological order and around the end; empty when none failed.

    It may be folded away: Folds.revealing shows it.
    """
    graph = folds.graph
    order = [graph.keys[number] for number in graph.order]
    group = folds.groups.get(key)
    if group is not None:
        # into the group first
        inside = [task for task in group.tasks if state_of(task) is State.FAILED]
        if inside:
            return inside[-1 if back else 0]
        key = group.tasks[0]
    if back:
        order.reverse()
    start = order.index(key) + 1 if key in graph else 0
    return next((task for task in (*order[start:], *order[:start]) if state_of(task) is State.FAILED), "")


@dataclass(frozen=True)
class CriticalPath:
    """The tasks that decide when all is over, first to last, and the seconds that they still take together."""

    keys: tuple[str, ...]
    remaining_s: float


def critical_path(graph: Graph, remaining_s: RemainingS) -> CriticalPath:
    """The longest way through what remains, as if everything could run at once."""
    rest, below = _remaining(graph, remaining_s)
    here = max((number for number in graph.order if not graph.parents[number]), key=below.__getitem__, default=-1)
    keys: list[str] = []
    total = below[here] if here >= 0 else 0.0
    while here >= 0:
        if rest[here] > 0:
            keys.append(graph.keys[here])
        here = max(graph.children[here], key=below.__getitem__, default=-1)
    return CriticalPath(tuple(keys), total)


def finish_s(graph: Graph, remaining_s: RemainingS, running: Collection[str], at_once: int) -> float:
    """Seconds until all is over if at most `at_once` tasks run at a time, what `running` names first.

    Plays the schedule through: whenever there is room, what has most behind it begins. Never less than the critical
    path.
    """
    rest, below = _remaining(graph, remaining_s)
    missing = [sum(1 for parent in parents if below[parent] > 0) for parents in graph.parents]
    room = max(1, at_once)
    ready = [
        (graph.keys[number] not in running, -below[number], number)
        for number in graph.order
        if below[number] > 0 and not missing[number]
    ]
    heapify(ready)
    ends: list[tuple[float, int]] = []
    now = 0.0
    while ready or ends:
        while ready and len(ends) < room:
            number = heappop(ready)[2]
            heappush(ends, (now + rest[number], number))
        now, ended = heappop(ends)
        for child in graph.children[ended]:
            missing[child] -= 1
            if not missing[child] and below[child] > 0:
                heappush(ready, (graph.keys[child] not in running, -below[child], child))
    return now


def _remaining(graph: Graph, remaining_s: RemainingS) -> tuple[list[float], list[float]]:
    """Of each node the seconds that it still takes, and those of the longest way from it on, itself included."""
    rest = [max(0.0, remaining_s(key)) for key in graph.keys]
    below = [0.0] * len(graph)
    for number in reversed(graph.order):
        below[number] = rest[number] + max([below[child] for child in graph.children[number]], default=0.0)
    return rest, below
