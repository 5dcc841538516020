"""The made-up cluster: its rows, and how they change from tick to tick. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.demo import nodes, tasks
from tui.demo.nodes import SECOND_US, START_US
from tui.demo.size import DemoSize

Change = types_pb2.Change
Event = types_pb2.Event
VOTERS = 3
TERM = 7
BUSY_PER_NODE = 4
_STEPS = (tasks.QUEUED, tasks.ASSIGNED, tasks.RUNNING, tasks.COMPLETED)
_EVENTS = {
    tasks.QUEUED: types_pb2.EVENT_TYPE_SUBMITTED,
    tasks.ASSIGNED: types_pb2.EVENT_TYPE_ASSIGNED,
    tasks.RUNNING: types_pb2.EVENT_TYPE_STARTED,
    tasks.COMPLETED: types_pb2.EVENT_TYPE_COMPLETED,
}


class DemoCluster:
    """Rows by id; `step` moves time on and gives what changed. The same size always lives the same life."""

    def __init__(self, size: DemoSize) -> None:
        self.size = size
        self.tick = 0
        self.index = tasks.FIRST_INDEX + size.tasks + size.letters
        voters = min(VOTERS, size.nodes)
        self.nodes = {row.id: row for row in (nodes.node(number, voters) for number in range(size.nodes))}
        self._running = min(size.tasks, size.nodes * BUSY_PER_NODE)
        self._changed: dict[str, types_pb2.Task] = {}
        self._next = 0
        self._samples: dict[int, list[cluster_pb2.NodeView]] = {}
        self.workflows = {row.id: row for row in map(self._workflow, range(size.workflows))}
        self.events: list[Event] = []

    @property
    def now_us(self) -> int:
        return START_US + self.tick * SECOND_US // max(1, self.size.rate)

    @property
    def leader(self) -> str:
        return next(iter(self.nodes))

    def _workflow(self, number: int) -> types_pb2.Workflow:
        return tasks.workflow(number, self.size.members if number == 0 else 9 + number % 4 * 6)

    def task(self, task_id: str) -> types_pb2.Task | None:
        """A row of the queue, a dead letter or a member."""
        if (changed := self._changed.get(task_id)) is not None:
            return changed
        workflow, dot, member = task_id.partition(".")
        if dot:
            rows = self.members(workflow) if workflow in self.workflows else []
            return next((row for row in rows if str(row.member) == member), None)
        number = int(task_id[2:]) if task_id[2:].isdigit() else -1
        if task_id == tasks.task_id(number) and 0 <= number < self.size.tasks:
            return tasks.task(number, self.size.nodes, self._running)
        return next((row for row in self.letters() if row.id == task_id), None)

    def queue(self) -> Iterator[types_pb2.Task]:
        for number in range(self.size.tasks):
            changed = self._changed.get(tasks.task_id(number)) if self._changed else None
            yield changed if changed is not None else tasks.task(number, self.size.nodes, self._running)

    def letters(self) -> list[types_pb2.Task]:
        rows = (tasks.letter(number, self.size.nodes) for number in range(self.size.letters))
        return [row for row in (self._changed.get(row.id, row) for row in rows) if row.state == tasks.DEAD]

    def members(self, workflow: str) -> list[types_pb2.Task]:
        return [self._changed.get(row.id, row) for row in tasks.members(self.workflows[workflow])]

    def rows(self) -> Iterator[Change]:
        """The live rows, those first that the first view shows."""
        for node in self.nodes.values():
            yield Change(node=node)
        for workflow in self.workflows.values():
            yield Change(workflow=workflow)
        for letter in self.letters():
            yield Change(task=letter)
        for row in self.queue():
            yield Change(task=row)
        for workflow_id in self.workflows:
            for row in self.members(workflow_id):
                yield Change(task=row)

    def samples(self) -> Sequence[cluster_pb2.NodeView]:
        """Of all nodes as of this tick."""
        for _ in self.sampling(len(self.nodes)):
            pass
        return self._samples[self.tick % nodes.CYCLE]

    def sampling(self, count: int) -> Iterator[None]:
        """Prepares samples(), so many nodes at a time."""
        phase = self.tick % nodes.CYCLE
        if phase in self._samples:
            return
        made: list[cluster_pb2.NodeView] = []
        for number, row in enumerate(list(self.nodes.values())):
            busy = BUSY_PER_NODE if row.online else 0
            made.append(nodes.sample(row, number, phase, busy, number % 2, number == 0))
            if len(made) % count == 0:
                yield
        self._samples[phase] = made

    def step(self) -> list[Change]:
        """One tick later: what changed, in the order of the log."""
        self.tick += 1
        found: list[Change] = []
        for _ in range(self.size.changes // max(1, self.size.rate) if self.size.tasks else 0):
            self._next = (self._next + 1) % self.size.tasks
            row = self.task(tasks.task_id(self._next))
            if row is not None and row.state in _STEPS:
                found += self._advance(row)
        return found

    def _advance(self, row: types_pb2.Task) -> list[Change]:
        """The row in the state that follows its own; what completed is queued anew."""
        at = _STEPS.index(row.state)
        state = _STEPS[(at + 1) % len(_STEPS)]
        changed = types_pb2.Task()
        changed.CopyFrom(row)
        changed.state = state
        if state == tasks.QUEUED:
            changed.ClearField("completed_at_us")
            changed.ClearField("started_at_us")
            changed.node = ""
            changed.created_at_us = changed.queued_at_us = self.now_us
        elif state == tasks.ASSIGNED:
            changed.node, changed.assigned_at_us = nodes.node_id(self._next % self.size.nodes), self.now_us
        elif state == tasks.RUNNING:
            changed.started_at_us = self.now_us
        else:
            tasks.end(changed, state, self.now_us)
        return self.put(changed, _EVENTS[state])

    def put(self, row: types_pb2.Task, kind: types_pb2.EventType.ValueType, actor: str = "") -> list[Change]:
        """Keep a changed row; the changes that tell of it."""
        self.index += 1
        row.modified_index = self.index
        self._changed[row.id] = row
        event = Event(
            id=f"{self.index}-0",
            index=self.index,
            task=row.id,
            type=kind,
            node=row.node,
            at_us=self.now_us,
            state=row.state,
            attempt=row.attempt,
            run=row.run,
            actor=actor,
            workflow=row.workflow_id,
        )
        self.events = [*self.events[-999:], event]
        return [Change(task=row), Change(event=event)]

    def put_node(self, row: types_pb2.Node, kind: types_pb2.EventType.ValueType) -> list[Change]:
        """Keep a changed node; the changes that tell of it."""
        self.index += 1
        row.modified_index = self.index
        self.nodes[row.id] = row
        self._samples.clear()
        event = Event(
            id=f"{self.index}-0",
            index=self.index,
            node=row.id,
            type=kind,
            at_us=self.now_us,
            node_state=row.state,
            detail=row.message,
            actor="uid:1000",
            online=row.online,
        )
        self.events = [*self.events[-999:], event]
        return [Change(node=row), Change(event=event)]
