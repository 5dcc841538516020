"""Folding: many tasks as one row. What can be folded is decided from the structure once; what is, by the operator.

Groups form a tree over the tasks, and every way to open and close them is a DAG again: see DESIGN.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from tui.dag.glyphs import DagGlyphs
from tui.dag.graph import Graph, Positions
from tui.dag.order import depth_first

LEAST = 3
"""Members of a group; fewer are not worth a fold."""
ROWS = 30
"""As many rows as stay readable without folding what its names tell apart."""


class Kind(Enum):
    TEMPLATE = "template"
    """Tasks made by one map, of one level."""
    CHAIN = "chain"
    """Each depends on the one before alone, and nothing else depends on that one."""
    TWINS = "twins"
    """The same parents and the same children."""


@dataclass(frozen=True, slots=True)
class Group:
    """`members` are what opening it shows: tasks, or groups inside; `tasks` all tasks in it, as in the graph."""

    key: str
    kind: Kind
    members: tuple[str, ...]
    tasks: tuple[str, ...]
    template: str = ""

    def title(self, glyphs: DagGlyphs) -> str:
        """`map[*]`, `fetch → load`, `lint-*`, or `lint, unit, …`; names in it are as they came."""
        if self.kind is Kind.TEMPLATE:
            return f"{self.template}[*]"
        if self.kind is Kind.CHAIN:
            return f"{self.tasks[0]} {glyphs.leads_to} {self.tasks[-1]}"
        prefix = _common_prefix(min(self.tasks), max(self.tasks))
        return f"{prefix}*" if len(prefix) > 1 else f"{self.tasks[0]}, {self.tasks[1]}, {glyphs.cut}"


Opened = frozenset[str]
"""Keys of the groups that are open; all others are folded."""


class View:
    """What is shown while some groups are open: `graph` holds tasks and groups as nodes."""

    __slots__ = ("_folds", "_shown", "graph", "opened")

    def __init__(self, folds: Folds, opened: Opened) -> None:
        self._folds = folds
        self.opened = opened
        shown = folds.shown_by_task(opened)
        full = folds.graph
        at: dict[str, int] = {}
        number_of = [at.setdefault(key, len(at)) for key in shown]
        parents: list[set[int]] = [set() for _ in at]
        for task, above in enumerate(full.parents):
            parents[number_of[task]].update([number_of[parent] for parent in above])
        for number, above_it in enumerate(parents):
            above_it.discard(number)
        rank = [len(shown)] * len(at)
        for number, place in zip(number_of, folds.rank, strict=True):
            rank[number] = min(rank[number], place)
        self._shown = shown
        self.graph = Graph.of_positions(
            tuple(at),
            [tuple(sorted(above)) for above in parents],
            triggers=_merged(full, number_of),
            rank=tuple(rank),
        )

    def group(self, key: str) -> Group | None:
        """The group that a node stands for; None for a task."""
        return self._folds.groups.get(key)

    def shown_as(self, key: str) -> str:
        """The node that stands for a task or a group: itself, or the group that it is folded into.

        For an open group, the first of what it shows. Raises KeyError for what the graph does not know.
        """
        group = self._folds.groups.get(key)
        return self._shown[self._folds.graph.at[group.tasks[0] if group else key]]

    def tasks(self, key: str) -> tuple[str, ...]:
        """The tasks behind a node."""
        group = self._folds.groups.get(key)
        return group.tasks if group else (key,)


class Folds:
    """All groups of a graph, by key. Nothing in it depends on states."""

    __slots__ = ("_inside", "graph", "groups", "rank")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rank = depth_first(graph)
        self.groups: Mapping[str, Group] = {group.key: group for group in _groups(graph)}
        self._inside = {member: group.key for group in self.groups.values() for member in group.members}

    def view(self, opened: Opened) -> View:
        return View(self, opened)

    def initial(self, rows: int = ROWS) -> Opened:
        """Templates folded; if that leaves more than so many rows, chains too, then twins."""
        count = len(self.graph) - sum(len(g.tasks) - 1 for g in self.groups.values() if g.kind is Kind.TEMPLATE)
        opened = {group.key for group in self.groups.values() if group.kind is not Kind.TEMPLATE}
        for kind in (Kind.CHAIN, Kind.TWINS):
            if count <= rows:
                break
            for group in self.groups.values():
                if group.kind is kind:
                    opened.discard(group.key)
                    count -= len(group.members) - 1
        return frozenset(opened)

    def all_open(self) -> Opened:
        return frozenset(self.groups)

    def all_folded(self) -> Opened:
        return frozenset()

    def opening(self, opened: Opened, key: str) -> Opened:
        """With one group open as well; the same for a task."""
        return opened | {key} if key in self.groups else opened

    def folding(self, opened: Opened, key: str) -> Opened:
        """With the innermost open group around a node folded; the same where none is."""
        around = self.around(key)
        return opened - {around[0]} if around else opened

    def revealing(self, opened: Opened, key: str) -> Opened:
        """With all groups around a task open, so that it has a row of its own."""
        return opened | set(self.around(key))

    def around(self, key: str) -> tuple[str, ...]:
        """Keys of the groups that a task or group is in, innermost first."""
        found: list[str] = []
        while key := self._inside.get(key, ""):
            found.append(key)
        return tuple(found)

    def shown_by_task(self, opened: Opened) -> list[str]:
        """For every task, in the graph's order, the key of what shows it."""
        shown = list(self.graph.keys)
        at = self.graph.at
        for group in self.groups.values():  # those inside come before those around them
            if group.key not in opened:
                for task in group.tasks:
                    shown[at[task]] = group.key
        return shown


def _groups(graph: Graph) -> Iterable[Group]:
    """Those inside come before those around them."""
    templates: dict[tuple[str, int], list[int]] = {}
    for number, template in enumerate(graph.templates):
        if template:
            # Of one level: an edge between groups then always leads to a deeper level, so that no cycle can arise.
            templates.setdefault((template, graph.levels[number]), []).append(number)
    stage = _Stage(graph)
    for (template, level), numbers in templates.items():
        if len(numbers) >= LEAST:
            yield stage.fold(Kind.TEMPLATE, f"template:{template}:{level}", numbers, template)
    stage = stage.next()
    for chain in stage.chains():
        yield stage.fold(Kind.CHAIN, f"chain:{stage.first_task(chain)}", chain)
    stage = stage.next()
    for twins in stage.twins():
        yield stage.fold(Kind.TWINS, f"twins:{stage.first_task(twins)}", twins)


class _Stage:
    """The graph with the groups of the stages before folded; numbers are its own."""

    def __init__(self, graph: Graph, tasks: Sequence[tuple[str, ...]] = (), closed: Iterable[str] = ()) -> None:
        self._graph = graph
        self._tasks = list(tasks) or [(key,) for key in graph.keys]
        self._closed = set(closed)
        """Groups that are in no group themselves: those of a template, which deserve their row."""
        self._folded: list[Group] = []

    def first_task(self, numbers: Sequence[int]) -> str:
        return self._tasks[numbers[0]][0]

    def fold(self, kind: Kind, key: str, numbers: Sequence[int], template: str = "") -> Group:
        members = tuple(self._graph.keys[number] for number in numbers)
        tasks = tuple(task for number in numbers for task in self._tasks[number])
        group = Group(key, kind, members, tasks, template)
        self._folded.append(group)
        return group

    def next(self) -> _Stage:
        if not self._folded:
            return self
        graph = self._graph
        within = {member: group for group in self._folded for member in group.members}
        at: dict[str, int] = {}
        number_of: list[int] = []
        tasks: list[tuple[str, ...]] = []
        for number, key in enumerate(graph.keys):
            group = within.get(key)
            key = group.key if group else key
            if key not in at:
                at[key] = len(at)
                tasks.append(group.tasks if group else self._tasks[number])
            number_of.append(at[key])
        parents: list[set[int]] = [set() for _ in at]
        for number, above in enumerate(graph.parents):
            parents[number_of[number]].update([number_of[parent] for parent in above])
        for number, above_it in enumerate(parents):
            above_it.discard(number)
        closed = self._closed | {group.key for group in self._folded if group.kind is Kind.TEMPLATE}
        return _Stage(Graph.of_positions(tuple(at), [tuple(sorted(above)) for above in parents]), tasks, closed)

    def chains(self) -> Iterable[list[int]]:
        graph = self._graph
        follower = {
            above[0]: number
            for number, above in enumerate(graph.parents)
            if len(above) == 1
            and len(graph.children[above[0]]) == 1
            and graph.keys[number] not in self._closed
            and graph.keys[above[0]] not in self._closed
        }
        inner = set(follower.values())
        for number in graph.order:
            if number in follower and number not in inner:
                chain = [number]
                while chain[-1] in follower:
                    chain.append(follower[chain[-1]])
                if len(chain) >= LEAST:
                    yield chain

    def twins(self) -> Iterable[list[int]]:
        graph = self._graph
        alike: dict[tuple[Positions, Positions], list[int]] = {}
        for number, key in enumerate(graph.keys):
            sides = (graph.parents[number], graph.children[number])
            if key not in self._closed and any(sides):
                alike.setdefault(sides, []).append(number)
        yield from (numbers for numbers in alike.values() if len(numbers) >= LEAST)


def _merged(graph: Graph, number_of: Sequence[int]) -> dict[tuple[int, int], str]:
    """Triggers of the edges between what is shown: theirs where all agree, else none."""
    found: dict[tuple[int, int], set[str]] = {}
    triggers = graph.triggers
    if not triggers:
        return {}
    for child, parents in enumerate(graph.parents):
        for parent in parents:
            edge = (number_of[parent], number_of[child])
            found.setdefault(edge, set()).add(triggers.get((parent, child), ""))
    return {edge: words.pop() for edge, words in found.items() if len(words) == 1 and "" not in words}


def _common_prefix(one: str, other: str) -> str:
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    return one[:same]
