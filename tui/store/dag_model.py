"""A workflow as the rows of a DAG: what is folded, in which order, in which state. Pure.

Its shape is laid out when it is first known and when folds are opened or closed; a changed task changes its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from cortex.v1 import types_pb2
from tui.dag.collapse import Folds, Group, Kind, Opened, View
from tui.dag.graph import Edge, Graph, GraphError, Node, State
from tui.dag.rail import Rail
from tui.dag.tally import Tally
from tui.lists.rows import Rows
from tui.store.dag_needs import Needs
from tui.store.workflow_members import Members

Task = types_pb2.Task

STATES: Mapping[int, State] = {
    types_pb2.TASK_STATE_PENDING: State.WAITING,
    types_pb2.TASK_STATE_QUEUED: State.READY,
    types_pb2.TASK_STATE_ASSIGNED: State.READY,
    types_pb2.TASK_STATE_RUNNING: State.RUNNING,
    types_pb2.TASK_STATE_COMPLETED: State.DONE,
    types_pb2.TASK_STATE_FAILED: State.FAILED,
    types_pb2.TASK_STATE_DEAD_LETTER: State.FAILED,
    types_pb2.TASK_STATE_CANCELLED: State.CANCELLED,
    types_pb2.TASK_STATE_SKIPPED: State.SKIPPED,
}
MAX_FINAL_EDGES = 8
"""What runs finally is drawn below all others while they end in so few tasks; above, it stands by itself."""


class Mode(Enum):
    RAIL = "rail"
    LAYERED = "layered"
    LIST = "list"
    """Every task, nothing folded; it can be sorted."""


@dataclass(frozen=True)
class DagRow:
    """One line: a task, or a group that is folded."""

    key: str
    position: int
    """From 0 at the top of the drawing."""
    task: Task | None
    group: Group | None = None


def _text(row: DagRow) -> str:
    task = row.task
    if task is None:
        return row.key
    return "\n".join((row.key, task.name, task.id, task.node, task.error, task.reason))


class DagModel:
    """`rows` of what is shown just now, by the keys of `shown`; looked up by whoever draws them."""

    def __init__(self, members: Members) -> None:
        self.members = members
        self.rows: Rows[DagRow] = Rows(_text)
        self.problem = ""
        """Why edges are missing from the drawing; empty when they are all there."""
        self.mode = Mode.RAIL
        self.flat = False
        """Whether every task is listed whatever the mode, as while a filter is set."""
        self.critical: frozenset[str] = frozenset()
        self.version = 0
        """Counts every change of a task."""
        self.needs = Needs({})
        self.tasks: dict[str, int] = {}
        """Numbers of the members by their key in the graph."""
        self.keys: dict[int, str] = {}
        self.opened: Opened = frozenset()
        self._build(Graph(()))

    def _build(self, graph: Graph) -> None:
        self.folds = Folds(graph)
        self.tally = Tally(self.folds, {key: STATES.get(self.task(key).state, State.WAITING) for key in graph.keys})
        self.needs = Needs(self.members.tasks)
        self.opened = self.folds.initial()
        self.arrange()

    # What is drawn.

    @property
    def listed(self) -> bool:
        return self.flat or self.mode is Mode.LIST

    def task(self, key: str) -> Task:
        """Raises KeyError for a group."""
        return self.members.tasks[self.tasks[key]]

    def needs_of(self, task: Task) -> str:
        return self.needs.words(task.member)

    def shown_as(self, key: str) -> str:
        """Key of the row that shows a task or a group; empty when there is none."""
        try:
            return self.view.shown_as(key)
        except KeyError:
            return ""

    # Changes.

    def sync(self) -> bool:
        """Take in what changed; returns whether the rows are others now."""
        news = self.members.take()
        if any(task.member not in self.keys for task in news):
            self.keys = _unique_keys(self.members.tasks)
            self.tasks = {key: number for number, key in self.keys.items()}
            self.version += 1
            graph, self.problem = _graph(self.members.tasks, self.keys)
            self._build(graph)
            return True
        dirty: set[str] = set()
        for task in news:
            key = self.keys[task.member]
            self.version += 1
            self.tally.put(key, STATES.get(task.state, State.WAITING))
            self.needs.put(task.member)
            dirty.add(self.view.shown_as(key))
        for key in sorted(dirty):
            self._put(key)
        return False

    def arrange(self) -> None:
        """Lay out what is shown anew."""
        self.view: View = self.folds.view(self.folds.all_open() if self.listed else self.opened)
        self.rail: Rail | None = None if self.listed else Rail(self.view.graph)
        graph = self.view.graph
        self.shown: Sequence[str] = self.rail.keys if self.rail else [graph.keys[number] for number in graph.order]
        self._positions = {key: at for at, key in enumerate(self.shown)}
        self.label_chars = max([len(key) for key in self.shown], default=0)
        for key in [row.key for row in self.rows.values() if row.key not in self._positions]:
            self.rows.remove(key)
        for key in self.shown:
            self._put(key)

    def _put(self, key: str) -> None:
        group = self.view.group(key)
        self.rows.put(key, DagRow(key, self._positions[key], None if group else self.task(key), group))

    # Folds.

    def open_fold(self, key: str) -> bool:
        """False when there is nothing to open."""
        return self._folded_as(self.folds.opening(self.opened, key))

    def close_fold(self, key: str) -> bool:
        """Fold the innermost open group around a row; False when there is none."""
        return self._folded_as(self.folds.folding(self.opened, key))

    def fold_all(self) -> bool:
        """Open everything; fold everything when all is open. False when nothing can be folded."""
        everything = self.folds.all_open()
        return self._folded_as(everything if self.opened != everything else self.folds.all_folded())

    def reveal(self, key: str) -> None:
        """Open what a task is folded into."""
        self._folded_as(self.folds.revealing(self.opened, key))

    def _folded_as(self, opened: Opened) -> bool:
        if opened == self.opened:
            return False
        self.opened = opened
        self.arrange()
        return True

    def show(self, mode: Mode, *, flat: bool) -> None:
        if (mode, flat) != (self.mode, self.flat):
            self.mode, self.flat = mode, flat
            self.arrange()


def resume_key(model: DagModel, key: str) -> str:
    """What `--from` takes to run again from a row on; empty where no one key says it."""
    group = model.view.group(key)
    if group is None:
        return model.task(key).task_key
    if group.kind is Kind.TEMPLATE:
        return group.template
    return model.task(group.tasks[0]).task_key if group.kind is Kind.CHAIN else ""


def _unique_keys(tasks: Mapping[int, Task]) -> dict[int, str]:
    """The key of each member; one that another has too gets its number."""
    taken: set[str] = set()
    keys: dict[int, str] = {}
    for number in sorted(tasks):
        key = tasks[number].task_key or tasks[number].name
        if not key or key in taken:
            key = f"{key}#{number}"
        taken.add(key)
        keys[number] = key
    return keys


def _graph(tasks: Mapping[int, Task], keys: Mapping[int, str]) -> tuple[Graph, str]:
    """The graph, and what is wrong with it: rows of a circle are shown without any edges."""
    numbers = sorted(tasks, key=lambda number: (getattr(tasks[number], "finally"), number))
    needed = {need for task in tasks.values() for need in task.depends_on}
    ends = [keys[number] for number in numbers if number not in needed and not getattr(tasks[number], "finally")]

    def parents(number: int) -> tuple[Edge, ...]:
        task = tasks[number]
        if getattr(task, "finally") and not task.depends_on:
            return tuple(map(Edge, ends)) if len(ends) <= MAX_FINAL_EDGES else ()
        return tuple(Edge(keys[need]) for need in task.depends_on if need in keys)

    try:
        return Graph(Node(keys[number], parents(number), tasks[number].template) for number in numbers), ""
    except GraphError as error:
        return Graph(Node(keys[number]) for number in numbers), f"{error} No edges are drawn."
