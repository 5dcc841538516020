"""What the console knows of a cluster, folded by id out of the stream. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import ClassVar

from cortex.v1 import cluster_pb2, types_pb2
from tui.lists.rows import Rows
from tui.lists.searched import event_text, operation_text, task_text, workflow_text
from tui.source import LinkState
from tui.store import operations
from tui.store.letters import Letters
from tui.store.nodes import NodeRows
from tui.store.progress import LiveProgress
from tui.store.waiting import shape_key

MAX_ENDED_TASKS = 100_000
MAX_EVENTS = 20_000
MAX_OPERATIONS = 2000
MAX_ENDED_WORKFLOWS = 20_000
FOLD_ROWS = 100
"""Taken in at once: half a millisecond, for a key may be waiting."""
FOLD_SAMPLES = 200
STALE_AFTER_S = 1.8
"""Heartbeats come every second; a longer silence is shown as a lost link."""

ENDED = frozenset(
    {
        types_pb2.TASK_STATE_COMPLETED,
        types_pb2.TASK_STATE_FAILED,
        types_pb2.TASK_STATE_CANCELLED,
        types_pb2.TASK_STATE_SKIPPED,
        types_pb2.TASK_STATE_DEAD_LETTER,
    }
)
ENDED_WORKFLOWS = frozenset(
    {types_pb2.WORKFLOW_STATE_COMPLETED, types_pb2.WORKFLOW_STATE_FAILED, types_pb2.WORKFLOW_STATE_CANCELLED}
)


@dataclass
class Link:
    """Whether word comes from the cluster, judged by the console itself. Times are monotonic seconds."""

    connected: bool = False
    ever: bool = False
    address: str = ""
    detail: str = ""
    remedy: str = ""
    over: bool = False
    heard_s: float = 0.0

    def lost(self, now_s: float) -> bool:
        return not self.connected or now_s - self.heard_s > STALE_AFTER_S

    def silence_s(self, now_s: float) -> float:
        return max(0.0, now_s - self.heard_s)


@dataclass
class ClusterView:
    """All that the console shows, folded out of the stream. Not thread-safe; no clock of its own."""

    past: ClassVar[bool] = False
    """Whether rows may be older than those that they replace."""
    tasks: Rows[types_pb2.Task] = field(default_factory=lambda: Rows(task_text))
    nodes: NodeRows = field(default_factory=NodeRows)
    events: Rows[types_pb2.Event] = field(default_factory=lambda: Rows(event_text))
    workflows: Rows[types_pb2.Workflow] = field(default_factory=lambda: Rows(workflow_text))
    operations: Rows[types_pb2.Operation] = field(default_factory=lambda: Rows(operation_text))
    letters: Letters = field(init=False)
    link: Link = field(default_factory=Link)
    index: int = 0
    term: int = 0
    leader: str = ""
    ready: bool = False
    """A whole snapshot has been seen."""
    awaiting: str = ""
    """What to say while it is not ready; empty = that the cluster is waited for."""
    snapshots: int = 0
    states: Counter[int] = field(default_factory=Counter)
    """Known tasks by state."""
    workflow_states: Counter[int] = field(default_factory=Counter)
    """Known workflows by state."""
    running_in: Counter[str] = field(default_factory=Counter)
    """Running tasks by workflow; those with none are absent."""
    settings: dict[str, str] = field(default_factory=dict)
    waiting: dict[bytes, str] = field(default_factory=dict)
    """Why tasks wait, by shape_key()."""
    reasons: int = 0
    """Grows when it may be another."""
    progress: LiveProgress = field(default_factory=LiveProgress)
    _messages: int = 0
    _at_us: int = 0
    _online: tuple[int, int] = (0, 0)
    """Version of the nodes, and how many were online then."""
    silent_then: tuple[int, int] = (-1, 0)
    """A local second, and how many nodes were silent in it."""
    _seen: set[str] | None = None
    _ended: deque[str] = field(default_factory=deque)
    _event_keys: list[tuple[int, str]] = field(default_factory=list)
    _ended_workflows: deque[str] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.letters = Letters(self.operations)

    def now_us(self, now_s: float) -> int:
        """Leader time, carried on by the local monotonic clock since the last word; 0 before the first."""
        return self._at_us + int(max(0.0, now_s - self.link.heard_s) * 1_000_000) if self._at_us else 0

    @property
    def heard_us(self) -> int:
        """Leader time of the last word; 0 before the first."""
        return self._at_us

    @property
    def version(self) -> tuple[int, ...]:
        """Another one after every change."""
        letters = self.letters
        rows = (self.tasks, self.nodes, self.workflows, self.operations, letters.causes)
        return self._messages, letters.count, len(letters.words), *(kind.version for kind in rows)

    def fold_link(self, state: LinkState) -> None:
        self._messages += 1
        self.link.connected = state.up
        if not state.up:
            self.waiting.clear()  # the next stream tells all of it again
            self.reasons += 1
        self.link.address = state.address or self.link.address
        self.link.detail = state.detail
        self.link.remedy = state.remedy
        self.link.over = state.over

    def fold(self, reply: cluster_pb2.WatchReply, now_s: float) -> None:
        """Take in one message of the stream, received at `now_s`."""
        for _ in self.folding(reply, now_s):
            pass

    def folding(self, reply: cluster_pb2.WatchReply, now_s: float) -> Iterator[None]:
        """As fold, in parts of about FOLD_ROWS rows; between them other work may be done."""
        link = self.link
        link.connected = link.ever = True
        link.heard_s = now_s
        link.detail = link.remedy = ""
        link.over = False
        self._messages += 1
        if reply.snapshot_begin:
            self._seen = set()
        for number, change in enumerate(reply.changes, 1):
            self._change(change)
            if number % FOLD_ROWS == 0:
                yield
        led = bool(reply.leader)
        for start in range(0, len(reply.samples), FOLD_SAMPLES):
            self.nodes.take(reply.samples[start : start + FOLD_SAMPLES], now_s, self.leader, led=led)
            yield
        self.progress.fold(reply.progress)
        self.reasons += bool(reply.waiting)
        for item in reply.waiting:
            if item.reason:
                self.waiting[shape_key(item.shape)] = item.reason
            else:
                self.waiting.pop(shape_key(item.shape), None)
        if reply.snapshot_end:
            self._end_snapshot()
        self.index = max(self.index, reply.index) if not reply.snapshot_begin else reply.index or self.index
        self._at_us = max(self._at_us, reply.at_us)
        self.term = reply.term or self.term
        self._lead(reply.leader)
        self._messages += 1

    def put_task(self, task: types_pb2.Task) -> None:
        """Keep a row unless a newer one is known: lists and the stream may come in any order."""
        known = self.tasks.get(task.id)
        if known is not None:
            if known.modified_index > task.modified_index:
                return
            self._count(known, -1)
        self._count(task, 1)
        self.progress.seen(task)
        self.tasks.put(task.id, task)
        if task.state in ENDED and (known is None or known.state not in ENDED):
            self._ended.append(task.id)
            if len(self._ended) > MAX_ENDED_TASKS:
                self._forget_oldest()

    def put_event(self, event: types_pb2.Event) -> None:
        if event.id in self.events:
            return
        self.events.put(event.id, event)
        heappush(self._event_keys, (event.index, event.id))
        if len(self._event_keys) > MAX_EVENTS:
            # The earliest, whenever it came: so no gap is left between those that are kept.
            self.events.remove(heappop(self._event_keys)[1])

    def put_workflow(self, row: types_pb2.Workflow) -> None:
        """Keep a row unless a newer one is known."""
        known = self.workflows.get(row.id)
        if known is not None:
            if known.modified_index > row.modified_index:
                return
            self.workflow_states[known.state] -= 1
        self.workflow_states[row.state] += 1
        self.workflows.put(row.id, row)
        if row.state in ENDED_WORKFLOWS and (known is None or known.state not in ENDED_WORKFLOWS):
            self._ended_workflows.append(row.id)
            if len(self._ended_workflows) > MAX_ENDED_WORKFLOWS:
                self._drop_workflow(self._ended_workflows.popleft(), ended=True)

    def put_operation(self, row: types_pb2.Operation) -> None:
        """Keep a row unless more is known."""
        if operations.replaces(row, self.operations.get(row.id)):
            self.operations.put(row.id, row)
            self.letters.note_operation(row)
        if len(self.operations) > MAX_OPERATIONS:
            self.operations.remove(min(self.operations.values(), key=operations.age_order).id)

    def warm(self, count: int) -> None:
        """Prepare a part of what a filter will need."""
        for rows in (self.nodes, self.tasks, self.events, self.workflows):
            rows.warm(count)

    @property
    def cold(self) -> bool:
        """Whether warm() has something to do."""
        return any(rows.cold for rows in (self.nodes, self.tasks, self.events, self.workflows))

    def live_count(self) -> int | None:
        """Tasks that have not ended; None where that is not known yet."""
        return sum(count for state, count in self.states.items() if state not in ENDED)

    def online(self) -> int:
        version, count = self._online
        if version != self.nodes.version:
            count = sum(1 for row in self.nodes.values() if row.node.online)
            self._online = (self.nodes.version, count)
        return count

    def _change(self, change: types_pb2.Change) -> None:
        kind = change.WhichOneof("row")
        if kind == "task":
            self.letters.note_task(change.task, self.tasks.get(change.task.id))
            self.put_task(change.task)
            if self._seen is not None:
                self._seen.add(change.task.id)
        elif kind == "node":
            self.nodes.put_node(change.node, self.leader)
            if self._seen is not None:
                self._seen.add(change.node.id)
        elif kind == "workflow":
            self.put_workflow(change.workflow)
        elif kind == "operation":
            self.put_operation(change.operation)
        elif kind == "event":
            self.put_event(change.event)
        elif kind == "setting":
            self.settings[change.setting.name] = change.setting.value
        elif change.deleted_table:
            self._delete(change.deleted_table, change.deleted_key)

    def _delete(self, table: str, key: str) -> None:
        # A deletion from a live table is how an ended row leaves the leader's memory: it stays shown.
        if table == "nodes":
            self.nodes.remove(key)
        elif table == "tasks" and (task := self.tasks.get(key)) is not None and task.state not in ENDED:
            self._drop_task(key)
        elif table == "workflows":
            self._drop_workflow(key, ended=False)

    def _count(self, task: types_pb2.Task, step: int) -> None:
        self.states[task.state] += step
        if task.workflow_id and task.state == types_pb2.TASK_STATE_RUNNING:
            self.running_in[task.workflow_id] += step
            if not self.running_in[task.workflow_id]:
                del self.running_in[task.workflow_id]

    def _drop_task(self, key: str) -> None:
        task = self.tasks.remove(key)
        if task is not None:
            self._count(task, -1)

    def _drop_workflow(self, key: str, *, ended: bool) -> None:
        row = self.workflows.get(key)
        if row is not None and (row.state in ENDED_WORKFLOWS) is ended:
            self.workflows.remove(key)
            self.workflow_states[row.state] -= 1

    def _lead(self, leader: str) -> None:
        if leader == self.leader:
            return
        self.leader = leader
        self.nodes.lead(leader)

    def _end_snapshot(self) -> None:
        seen = self._seen if self._seen is not None else set()
        for key in [key for key in map(_id_of_task, self.tasks.values()) if key not in seen]:
            self._drop_task(key)
        for key in [row.node.id for row in self.nodes.values() if row.node.id not in seen]:
            self.nodes.remove(key)
        self._seen = None
        self._ended = deque(key for key in self._ended if key in self.tasks)
        self.ready = True
        self.snapshots += 1

    def _forget_oldest(self) -> None:
        key = self._ended.popleft()
        task = self.tasks.get(key)
        if task is not None and task.state in ENDED:
            self._drop_task(key)


def _id_of_task(task: types_pb2.Task) -> str:
    return task.id
