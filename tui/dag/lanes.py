"""Which lane of the rail each node's edges run in."""

from __future__ import annotations

from dataclasses import dataclass

from tui.dag.graph import Graph, Positions

SHARED_BY = 3
"""As many sources with the same children share a lane; fewer have one each."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """Numbers of lanes by number of node, and the other way."""

    of_source: Positions
    """-1 for what has no children."""
    into: tuple[Positions, ...]
    """Lanes that lead to each node, sorted."""
    sources: tuple[Positions, ...]
    children: tuple[Positions, ...]

    def shared(self, lane: int) -> bool:
        return len(self.sources[lane]) > 1


def lanes_of(graph: Graph) -> Lanes:
    """One lane per source, but one for all of at least three sources that have the same children.

    So a barrier between two stages costs a joint per task, not one per pair of tasks.
    """
    alike: dict[Positions, list[int]] = {}
    for number, children in enumerate(graph.children):
        if children:
            alike.setdefault(children, []).append(number)
    of_source = [-1] * len(graph)
    sources: list[Positions] = []
    for numbers in alike.values():
        for together in [numbers] if len(numbers) >= SHARED_BY else [[number] for number in numbers]:
            for number in together:
                of_source[number] = len(sources)
            sources.append(tuple(together))
    into = tuple(tuple(sorted({of_source[parent] for parent in parents})) for parents in graph.parents)
    return Lanes(tuple(of_source), into, tuple(sources), tuple(graph.children[those[0]] for those in sources))
