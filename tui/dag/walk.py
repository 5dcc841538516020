"""Ways through a DAG: along edges, to the next failure, and along what decides when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    """The longest way through what remains. It knows nothing of how many tasks can run at once."""
    rest = [max(0.0, remaining_s(key)) for key in graph.keys]
    below = [0.0] * len(graph)
    for number in reversed(graph.order):
        below[number] = rest[number] + max([below[one] for one in graph.children[number]], default=0.0)
    here = max((number for number in graph.order if not graph.parents[number]), key=below.__getitem__, default=-1)
    if here < 0:
        return CriticalPath((), 0.0)
    remaining = below[here]
    keys: list[str] = []
    while True:
        if rest[here] > 0:
            keys.append(graph.keys[here])
        if not graph.children[here]:
            return CriticalPath(tuple(keys), remaining)
        here = max(graph.children[here], key=below.__getitem__)
