"""The rows in the middle of an entry: what its earlier commands changed, over memory, over cold rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Entry
from cortex.v1.types_pb2 import (
    Batch,
    Event,
    EventType,
    Node,
    Operation,
    Setting,
    SubmitKey,
    Task,
    TaskSpec,
    Workflow,
)
from node.core.checks import TIME_LIMIT_US
from node.core.dag import Dag
from node.core.faults import Code
from node.core.model import DEAD_LETTER, LIVE, LIVE_OPERATION, ON_NODE, Change, Key, Row, Table, member_id
from node.core.state import ClusterState, NodeUse

_DETAIL_CHARS = 300

Cold = Mapping[Key, Row | None]


class Refusal(NamedTuple):
    """Why a command changed nothing."""

    code: Code
    message: str


class Draft:
    """Collects an entry's changes; the state itself is only read. Implements model.Reader."""

    def __init__(self, state: ClusterState, cold: Cold, entry: Entry, index: int) -> None:
        self.index = index
        self.actor = entry.actor[:200]
        # On whose behalf the events to come are: an operation, else the request, whose id is the audit's.
        self.operation = (entry.batch.id or entry.request_id)[:200] if entry.actor else ""
        self.client = entry.client
        # Leader time does not go back, whatever an entry says, and stays where sums still fit into 64 bits.
        self.now_us = min(max(state.at_us, entry.at_us), TIME_LIMIT_US)
        self.assigned: set[str] = set()
        self.double_runs = 0
        self._state = state
        self._cold = cold
        self._tasks: dict[str, Task | None] = {}
        self._old_tasks: dict[str, Task | None] = {}
        self._rows: dict[Key, Row | None] = {}
        self._old_rows: dict[Key, Row | None] = {}
        self._events: list[Event] = []
        self._uses: dict[str, NodeUse] = {}
        self._slots: dict[str, tuple[Node, dict[int, int]]] = {}
        self._locks: dict[str, str | None] = {}
        self._limits: dict[str, int] = {}
        self._live_change = 0
        self._dags: dict[str, Dag] = {}
        # Members of workflows that changed their state: what follows from that is workflows.react()'s.
        self.moves: deque[tuple[Task, Task]] = deque()

    # Reading

    def get(self, table: Table, key: str) -> Row | None:
        if table is Table.TASKS:
            return self.task(key)
        full = Key(table, key)
        if self._rows and full in self._rows:
            return self._rows[full]
        row = self._state.get(table, key)
        return row if row is not None else self._cold.get(full)

    def task(self, task_id: str) -> Task | None:
        if task_id in self._tasks:
            return self._tasks[task_id]
        task = self._state.tasks.get(task_id)
        if task is not None:
            return task
        row = self._cold.get(Key(Table.TASKS, task_id))
        return row if isinstance(row, Task) else None

    def node(self, node_id: str) -> Node | None:
        if not self._rows:
            return self._state.nodes.get(node_id)
        row = self.get(Table.NODES, node_id)
        return row if isinstance(row, Node) else None

    def nodes(self) -> list[Node]:
        """All nodes, by id."""
        ids = set(self._state.nodes) | {key.id for key in self._rows if key.table is Table.NODES}
        return [node for node_id in sorted(ids) if (node := self.node(node_id)) is not None]

    def setting(self, name: str) -> Setting | None:
        row = self.get(Table.SETTINGS, name)
        return row if isinstance(row, Setting) else None

    def submit_key(self, key: str) -> SubmitKey | None:
        row = self.get(Table.SUBMIT_KEYS, key)
        return row if isinstance(row, SubmitKey) else None

    def batch(self, key: str) -> Batch | None:
        row = self.get(Table.BATCHES, key)
        return row if isinstance(row, Batch) else None

    def batches(self) -> list[Batch]:
        """All batches that are not all in."""
        rows: dict[str, Row | None] = dict(self._state.batches)
        rows.update((key.id, row) for key, row in self._rows.items() if key.table is Table.BATCHES)
        return [row for row in rows.values() if isinstance(row, Batch)]

    def operation_row(self, operation_id: str) -> Operation | None:
        row = self.get(Table.OPERATIONS, operation_id)
        return row if isinstance(row, Operation) else None

    def live_operations(self) -> int:
        """How many operations have not ended."""
        rows: dict[str, Row | None] = dict(self._state.operations)
        rows.update((key.id, row) for key, row in self._rows.items() if key.table is Table.OPERATIONS)
        return sum(isinstance(row, Operation) and row.state in LIVE_OPERATION for row in rows.values())

    def workflow(self, workflow_id: str) -> Workflow | None:
        row = self.get(Table.WORKFLOWS, workflow_id)
        return row if isinstance(row, Workflow) else None

    def dag(self, workflow: Workflow) -> Dag:
        """That of a workflow whose members are all known; to be stepped along with the moves."""
        dag = self._dags.get(workflow.id)
        if dag is None:
            known = self._state.dags.get(workflow.id)
            if known is not None:
                dag = known.copy()
            else:
                dag = Dag.of(workflow.count, lambda member: self.task(member_id(workflow.id, member)))
            self._dags[workflow.id] = dag
        return dag

    def live_count(self) -> int:
        return self._state.live_count() + self._live_change

    def use(self, node_id: str) -> NodeUse:
        """What the node's tasks hold; not to be changed."""
        return self._uses.get(node_id) or self._state.use.get(node_id) or NodeUse()

    def slots(self, node: Node) -> Mapping[int, int]:
        """How many tasks of each type a node runs at once; the last one counts where a type is named twice."""
        known = self._slots.get(node.id)
        if known is None or known[0] is not node:
            known = self._slots[node.id] = (node, {offer.type: offer.count for offer in node.slots})
        return known[1]

    def on_node(self, node_id: str) -> int:
        """How many tasks are assigned to or running on the node."""
        return sum(self.use(node_id).counts.values())

    def tasks_on(self, node_id: str) -> list[Task]:
        """What is assigned to or runs on the node, by task id."""
        ids = {key for key, task in self._tasks.items() if task is not None and task.node == node_id}
        found = (self.task(task_id) for task_id in sorted(ids | self._state.by_node.get(node_id, set())))
        return [task for task in found if task is not None and task.node == node_id and task.state in ON_NODE]

    def lock_holder(self, lock: str) -> str | None:
        """Task id of who holds a lock."""
        return self._locks[lock] if lock in self._locks else self._state.locks.get(lock)

    def limit_use(self, key: str) -> int:
        return self._limits[key] if key in self._limits else self._state.limit_use.get(key, 0)

    # Writing

    def edit(self, task: Task) -> Task:
        """A copy to be changed and put()."""
        new = Task()
        new.CopyFrom(task)
        new.modified_index = self.index
        return new

    def put(self, old: Task | None, new: Task) -> None:
        key = new.id
        if key not in self._tasks:
            self._old_tasks[key] = old
        self._tasks[key] = new
        if new.workflow_id and old is not None and old.state != new.state:
            self.moves.append((old, new))
        before, now = old.state if old is not None else None, new.state
        if before == now:
            return
        was = before in ON_NODE
        if old is not None and was != (now in ON_NODE):
            if was:
                self._hold(old.node, key, old.spec, -1)
            else:
                self._hold(new.node, key, new.spec, 1)
        self._live_change += (now in LIVE) - (before in LIVE)

    def delete_task(self, old: Task) -> None:
        """Forget an ended task."""
        if old.id not in self._tasks:
            self._old_tasks[old.id] = old
        self._tasks[old.id] = None

    def put_row(self, table: Table, key: str, new: Row | None) -> None:
        """Put, or with None delete, a row of another table than tasks and events."""
        full = Key(table, key)
        if full not in self._rows:
            self._old_rows[full] = self.get(table, key)
        self._rows[full] = new

    def put_node(self, new: Node, kind: EventType.ValueType, detail: str) -> None:
        """Put a node's new row, with the event of what led to it."""
        new.changed_at_us = self.now_us
        new.modified_index = self.index
        self.put_row(Table.NODES, new.id, new)
        self.node_event(kind, new, detail)

    def event(self, kind: EventType.ValueType, task: Task, detail: str = "") -> None:
        """Record what led to `task` as it is now."""
        event = self._new_event(kind, detail)
        event.task = task.id
        # What waits for a node again still names that of its run before.
        if kind != types_pb2.EVENT_TYPE_RELEASED:
            event.node = task.node
        event.state = task.state
        event.attempt = task.attempt
        event.run = task.run
        if task.workflow_id:
            event.workflow = task.workflow_id

    def workflow_event(self, kind: EventType.ValueType, workflow: Workflow, detail: str = "") -> None:
        event = self._new_event(kind, detail)
        event.workflow = workflow.id
        event.workflow_state = workflow.state
        event.run = workflow.run

    def node_event(self, kind: EventType.ValueType, node: Node, detail: str = "") -> None:
        event = self._new_event(kind, detail)
        event.node = node.id
        event.node_state = node.state
        event.online = node.online

    @contextmanager
    def on_behalf(self, operation: Operation) -> Iterator[None]:
        """What happens within is done for an operation, by who asked for it."""
        before = self.actor, self.operation
        self.actor, self.operation = operation.actor, operation.id
        try:
            yield
        finally:
            self.actor, self.operation = before

    def cluster_event(self, kind: EventType.ValueType, detail: str, task: str = "", node: str = "") -> None:
        """Record what concerns no row, or one that is not there."""
        event = self._new_event(kind, detail)
        event.task = task
        event.node = node

    def changes(self) -> tuple[Change, ...]:
        """At most one change per row, in the order in which the rows were first touched."""
        olds, old_rows, tasks, events = self._old_tasks, self._old_rows, Table.TASKS, Table.EVENTS
        self._tell_what_was()
        # By way of the constructor of tuples: a named one's own is Python.
        make = tuple.__new__
        changes = [make(Change, (tasks, key, olds[key], new)) for key, new in self._tasks.items()]
        changes += [make(Change, (key.table, key.id, old_rows[key], new)) for key, new in self._rows.items()]
        changes += [make(Change, (events, event.id, None, event)) for event in self._events]
        return tuple(changes)

    def _tell_what_was(self) -> None:
        """Put into the first event of each row what the row was before this entry."""
        told: set[str | Key] = set()
        for event in self._events:
            if event.state:
                if event.task not in told:
                    told.add(event.task)
                    self._tell_task(event)
            elif event.workflow_state or event.node_state:
                key = Key(Table.NODES, event.node) if event.node_state else Key(Table.WORKFLOWS, event.workflow)
                if key in told:
                    continue
                told.add(key)
                old = self._old_rows.get(key)
                if isinstance(old, Node):
                    event.was_row.CopyFrom(old)
                elif isinstance(old, Workflow):
                    event.was_workflow_state, event.was_run = old.state, old.run

    def _tell_task(self, event: Event) -> None:
        task_id = event.task
        if task_id not in self._old_tasks:  # refused: it is what it was
            event.was_state, event.was_node = event.state, event.node
            event.was_attempt, event.was_run = event.attempt, event.run
            same = self.task(task_id)
            if same is not None:
                _tell_letter(event, same)
            return
        old, new = self._old_tasks[task_id], self._tasks[task_id]
        if old is None:
            return
        event.was_state = old.state
        if old.node:
            event.was_node = old.node
        if old.attempt:
            event.was_attempt = old.attempt
        event.was_run = old.run
        _tell_letter(event, old)
        if new is None:
            return
        if new.operation != old.operation:
            event.was_operation = old.operation
        if new.priority != old.priority:
            event.was_priority = old.priority
        if new.revived_at_us != old.revived_at_us and new.spec != old.spec:
            event.was_spec.CopyFrom(old.spec)

    def _new_event(self, kind: EventType.ValueType, detail: str) -> Event:
        event = Event()
        event.id = f"{self.index}-{len(self._events)}"
        event.index = self.index
        event.type = kind
        event.at_us = self.now_us
        if detail:
            event.detail = detail[:_DETAIL_CHARS]
        # An assignment is the cluster's own, also in the entry of the submission.
        if kind != types_pb2.EVENT_TYPE_ASSIGNED:
            if self.actor:
                event.actor = self.actor
            if self.operation:
                event.operation = self.operation
        self._events.append(event)
        return event

    def _hold(self, node_id: str, task_id: str, spec: TaskSpec, sign: int) -> None:
        if node_id not in self._uses:
            self._uses[node_id] = self.use(node_id).copy()
        self._uses[node_id].add(spec, sign)
        if locks := spec.locks:  # to walk an empty list costs three times as much as to ask
            for lock in locks:
                if sign > 0:
                    self._locks[lock] = task_id
                elif self.lock_holder(lock) == task_id:
                    self._locks[lock] = None
        if spec.limit_count:
            self._limits[spec.limit_key] = self.limit_use(spec.limit_key) + sign


def _tell_letter(event: Event, old: Task) -> None:
    if old.state == DEAD_LETTER:
        event.was_letter.fingerprint = old.fingerprint
        event.was_letter.dead_lettered_at_us = old.dead_lettered_at_us
        event.was_letter.error = old.error
