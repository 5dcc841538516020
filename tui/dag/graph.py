"""The structure of a DAG: who depends on whom. States and durations are no part of it; they are looked up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """What a drawing tells apart; the value is the word for it."""

    WAITING = "waiting"
    """For what it depends on."""
    READY = "ready"
    """Free to run, and not running yet."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (State.DONE, State.FAILED, State.SKIPPED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Edge:
    """Depends on `parent`; `trigger` says in a word what of it starts the child, empty = as usual."""

    parent: str
    trigger: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One task. `template` is what it is one of many of, as the map it was made by; empty = it stands alone."""

    key: str
    parents: tuple[Edge, ...] = ()
    template: str = ""


class GraphError(ValueError):
    """The nodes make no DAG; the message is a sentence that names them."""


Positions = tuple[int, ...]


class Graph:
    """Nodes in the order given, numbered from 0. Immutable; edges to the same parent count once.

    All but the building is by number: `keys[i]`, `parents[i]`, `children[i]` (sorted), `levels[i]` (longest path
    from a root). `order` is topological: parents first, otherwise as given. `rank[i]`, where there is one, is the
    place in a listing that others look the same in: of folded graphs, so that rows stay where they are.
    """

    __slots__ = ("_triggers", "at", "children", "keys", "levels", "order", "parents", "rank", "templates")

    def __init__(self, nodes: Iterable[Node]) -> None:
        """Raises GraphError for a key given twice, an unknown parent, or a cycle."""
        nodes = tuple(nodes)
        at = {node.key: number for number, node in enumerate(nodes)}
        if len(at) < len(nodes):
            twice = next(node.key for number, node in enumerate(nodes) if at[node.key] != number)
            raise GraphError(f"The key {twice!r} is given to two tasks.")
        parents: list[Positions] = []
        triggers: dict[tuple[int, int], str] = {}
        for child, node in enumerate(nodes):
            for edge in node.parents:
                if edge.parent not in at:
                    raise GraphError(f"The task {node.key!r} depends on {edge.parent!r}, which does not exist.")
                if edge.trigger:
                    triggers[at[edge.parent], child] = edge.trigger
            parents.append(tuple(sorted({at[edge.parent] for edge in node.parents})))
        self._fill(tuple(node.key for node in nodes), parents, tuple(node.template for node in nodes), triggers, at)

    @classmethod
    def of_positions(
        cls,
        keys: Sequence[str],
        parents: Sequence[Positions],
        templates: Sequence[str] = (),
        triggers: dict[tuple[int, int], str] | None = None,
        rank: Positions = (),
    ) -> Graph:
        """The same from numbers, where keys are known to be unique and parents sorted, without doubles.

        Raises GraphError for a cycle.
        """
        graph = cls.__new__(cls)
        at = {key: number for number, key in enumerate(keys)}
        graph._fill(tuple(keys), parents, tuple(templates) or ("",) * len(keys), triggers or {}, at, rank)
        return graph

    def _fill(
        self,
        keys: tuple[str, ...],
        parents: Sequence[Positions],
        templates: tuple[str, ...],
        triggers: dict[tuple[int, int], str],
        at: dict[str, int],
        rank: Positions = (),
    ) -> None:
        children: list[list[int]] = [[] for _ in keys]
        for child, of_child in enumerate(parents):
            for parent in of_child:
                children[parent].append(child)
        self.keys, self.at, self.templates, self._triggers, self.rank = keys, at, templates, triggers, rank
        self.parents = tuple(parents)
        self.children = tuple(map(tuple, children))
        self.order = self._sorted()
        levels = [0] * len(keys)
        for number in self.order:
            above = self.parents[number]
            levels[number] = 1 + max([levels[parent] for parent in above]) if above else 0
        self.levels = tuple(levels)

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: object) -> bool:
        return key in self.at

    @property
    def edge_count(self) -> int:
        return sum(map(len, self.parents))

    def edges(self) -> Iterable[tuple[str, str]]:
        """Every edge as parent key, child key."""
        for child, parents in enumerate(self.parents):
            for parent in parents:
                yield self.keys[parent], self.keys[child]

    def trigger(self, parent: str, child: str) -> str:
        """What of the parent starts the child; empty = as usual, or there is no such edge."""
        return self._triggers.get((self.at[parent], self.at[child]), "")

    @property
    def triggers(self) -> dict[tuple[int, int], str]:
        """Of the edges that have one, by numbers of parent and child."""
        return dict(self._triggers)

    def parents_of(self, key: str) -> tuple[str, ...]:
        return tuple(self.keys[number] for number in self.parents[self.at[key]])

    def children_of(self, key: str) -> tuple[str, ...]:
        return tuple(self.keys[number] for number in self.children[self.at[key]])

    def ancestors(self, key: str) -> frozenset[str]:
        """All that it depends on, however far."""
        return self._reached(key, self.parents)

    def descendants(self, key: str) -> frozenset[str]:
        """All that depends on it, however far."""
        return self._reached(key, self.children)

    def reaches(self, above: str, below: str) -> bool:
        """Whether a path leads from one down to the other; no node reaches itself."""
        return below in self.descendants(above)

    def _reached(self, key: str, next_of: tuple[Positions, ...]) -> frozenset[str]:
        seen: set[int] = set()
        todo = list(next_of[self.at[key]])
        while todo:
            number = todo.pop()
            if number not in seen:
                seen.add(number)
                todo += next_of[number]
        return frozenset(self.keys[number] for number in seen)

    def _sorted(self) -> Positions:
        missing = [len(parents) for parents in self.parents]
        order = [number for number, count in enumerate(missing) if not count]
        for number in order:  # grows while it is read
            for child in self.children[number]:
                missing[child] -= 1
                if not missing[child]:
                    order.append(child)
        if len(order) < len(self.keys):
            raise GraphError(self._cycle_message(missing))
        return tuple(order)

    def _cycle_message(self, missing: Sequence[int]) -> str:
        """`missing` counts the parents that were never reached; a walk up through them must come round."""
        walk: list[int] = []
        here = next(number for number, count in enumerate(missing) if count)
        while here not in walk:
            walk.append(here)
            here = next(parent for parent in self.parents[here] if missing[parent])
        cycle = [*reversed(walk[walk.index(here) :])]
        first = cycle.index(min(cycle))
        cycle = cycle[first:] + cycle[:first]
        names = [repr(self.keys[number]) for number in (*cycle, cycle[0])]
        if len(names) > 8:
            names[4:-3] = ["…"]
        return f"The tasks depend on each other in a circle: {' before '.join(names)}."
