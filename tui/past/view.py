"""A past moment of the cluster, in the form that every screen shows: a store of its own, and a source that asks
for nothing later.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from cortex.v1 import cluster_pb2, types_pb2
from tui.lists.rows import Rows
from tui.past.moments import Moment
from tui.source import Mutator, Source, SourceError, WatchItem
from tui.store.nodes import NodeRow
from tui.store.view import ClusterView

READ_ONLY = "This is the past: return to now for that."
REFUSED = "This is the past: {app.time_travel} or {app.step_back} returns to now."
"""With the words of its keys to be filled in."""
MAX_TRIES = 8
"""Of one call, while the moment moves on under it."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Loaded:
    """What was read of one moment."""

    at: Moment
    """Index and time."""
    nodes: Sequence[cluster_pb2.NodeView] = ()
    tasks: dict[str, types_pb2.Task] = field(default_factory=dict)
    workflows: Sequence[types_pb2.Workflow] = ()
    operations: Sequence[types_pb2.Operation] = ()
    events: Sequence[types_pb2.Event] = ()
    causes: cluster_pb2.ListCausesReply = field(default_factory=cluster_pb2.ListCausesReply)
    total: int = 0
    """Tasks of the cluster."""
    cursor: str = ""
    """Where more tasks go on; empty when these are all."""


@dataclass
class PastView(ClusterView):
    """Rows of one moment. Another moment takes their places: cursors, marks and filters stay with their rows."""

    past: ClassVar[bool] = True
    at: Moment = field(default_factory=Moment)
    live_total: int | None = None
    total: int = 0

    def now_us(self, now_s: float) -> int:
        return self.at.at_us

    def live_count(self) -> int | None:
        return self.live_total

    def put_task(self, task: types_pb2.Task) -> None:
        known = self.tasks.get(task.id)
        if known is not None:
            self._count(known, -1)
        self._count(task, 1)
        self.tasks.put(task.id, task)

    def put_workflow(self, row: types_pb2.Workflow) -> None:
        known = self.workflows.get(row.id)
        if known is not None:
            self.workflow_states[known.state] -= 1
        self.workflow_states[row.state] += 1
        self.workflows.put(row.id, row)

    def put_operation(self, row: types_pb2.Operation) -> None:
        self.operations.put(row.id, row)
        self.letters.note_operation(row)

    def show(self, loaded: Loaded) -> None:
        """Take over another moment."""
        self.at, self.index = loaded.at, loaded.at.index
        self.live_total, self.total = None, loaded.total
        _replace(self.nodes, {row.node.id: NodeRow(row.node, row) for row in loaded.nodes}, _same_node)
        _replace(self.tasks, loaded.tasks)
        _replace(self.workflows, {row.id: row for row in loaded.workflows})
        _replace(self.operations, {row.id: row for row in loaded.operations})
        _replace(self.events, {row.id: row for row in loaded.events})
        self._event_keys[:] = sorted((row.index, row.id) for row in loaded.events)
        self.states.clear()
        self.running_in.clear()
        for task in loaded.tasks.values():
            self._count(task, 1)
        self.workflow_states.clear()
        self.workflow_states.update(row.state for row in loaded.workflows)
        self.letters.index = -1
        self.letters.put(loaded.causes)
        self.letters.changed_index = 0
        self.ready = True
        self.snapshots += 1


def _equal(was: object, row: object) -> bool:
    return was == row


def _same_node(was: NodeRow, row: NodeRow) -> bool:
    return was.view == row.view


def _replace(rows: Rows[R], wanted: dict[str, R], same: Callable[[Any, Any], bool] = _equal) -> None:
    for key in [key for key in rows.keys if key in rows and key not in wanted]:
        rows.remove(key)
    for key, row in wanted.items():
        known = rows.get(key)
        if known is None or not same(known, row):
            rows.put(key, row)


class PastSource:
    """Implements tui.source.Source: every question is about the moment that is shown.

    An answer about a moment that is not shown any more is asked for again.
    """

    def __init__(self, source: Source, view: PastView) -> None:
        self._source = source
        self._view = view

    @property
    def name(self) -> str:
        return self._source.name

    async def _ask(self, call: Callable[[Moment], Awaitable[T]]) -> T:
        for _ in range(MAX_TRIES):
            at = self._view.at
            # By index: each answer is of the same entry, whatever the clocks say.
            reply = await call(Moment(index=at.index) if at.index else at)
            if at == self._view.at:
                return reply
        raise SourceError("The moment moved on.", "Wait until it stands still.")

    async def watch(self) -> AsyncIterator[WatchItem]:
        raise SourceError("The past does not change.", READ_ONLY)
        yield

    async def get_task(self, task_id: str, *, at: Moment | None = None) -> cluster_pb2.GetTaskReply:
        return await self._ask(lambda shown: self._source.get_task(task_id, at=at or shown))

    async def list_tasks(
        self,
        states: Sequence[types_pb2.TaskState.ValueType] = (),
        limit: int = 1000,
        cursor: str = "",
        *,
        node: str = "",
        workflow: str = "",
        operation: str = "",
        cause: str = "",
        at: Moment | None = None,
    ) -> cluster_pb2.ListTasksReply:
        return await self._ask(
            lambda shown: self._source.list_tasks(
                states,
                limit,
                cursor,
                node=node,
                workflow=workflow,
                operation=operation,
                cause=cause,
                at=at or shown,
            )
        )

    async def list_nodes(self, *, at: Moment | None = None) -> cluster_pb2.ListNodesReply:
        return await self._ask(lambda shown: self._source.list_nodes(at=at or shown))

    async def list_events(
        self,
        *,
        task: str = "",
        node: str = "",
        workflow: str = "",
        operation: str = "",
        actor: str = "",
        audit: bool = False,
        since_us: int = 0,
        limit: int = 1000,
        cursor: str = "",
        at: Moment | None = None,
        oldest: bool = False,
    ) -> cluster_pb2.ListEventsReply:
        return await self._ask(
            lambda shown: self._source.list_events(
                task=task,
                node=node,
                workflow=workflow,
                operation=operation,
                actor=actor,
                audit=audit,
                since_us=since_us,
                limit=limit,
                cursor=cursor,
                at=at or shown,
                oldest=oldest,
            )
        )

    async def list_workflows(
        self, *, limit: int = 1000, cursor: str = "", at: Moment | None = None
    ) -> cluster_pb2.ListWorkflowsReply:
        return await self._ask(
            lambda shown: self._source.list_workflows(limit=limit, cursor=cursor, at=at or shown)
        )

    async def get_workflow(self, workflow_id: str, *, at: Moment | None = None) -> cluster_pb2.GetWorkflowReply:
        return await self._ask(lambda shown: self._source.get_workflow(workflow_id, at=at or shown))

    async def list_causes(self, limit: int = 0, *, at: Moment | None = None) -> cluster_pb2.ListCausesReply:
        return await self._ask(lambda shown: self._source.list_causes(limit, at=at or shown))

    async def list_operations(
        self, *, live: bool = False, limit: int = 1000, cursor: str = "", at: Moment | None = None
    ) -> cluster_pb2.ListOperationsReply:
        return await self._ask(
            lambda shown: self._source.list_operations(live=live, limit=limit, cursor=cursor, at=at or shown)
        )

    async def get_operation(self, operation_id: str, *, at: Moment | None = None) -> cluster_pb2.GetOperationReply:
        return await self._ask(lambda shown: self._source.get_operation(operation_id, at=at or shown))

    async def diff(self, begin: Moment, end: Moment | None = None, limit: int = 0) -> cluster_pb2.DiffReply:
        return await self._source.diff(begin, end, limit)

    async def inspect_node(self, node: str, *, span_us: int = 0, points: int = 0) -> cluster_pb2.InspectNodeReply:
        raise SourceError("A node tells of itself as it is.")

    async def list_double_runs(
        self, task: str = "", *, limit: int = 1000, at: Moment | None = None
    ) -> cluster_pb2.ListDoubleRunsReply:
        return await self._ask(lambda shown: self._source.list_double_runs(task, limit=limit, at=at or shown))

    async def why(self, task_id: str, *, at: Moment | None = None) -> cluster_pb2.WhyReply:
        return await self._ask(lambda shown: self._source.why(task_id, at=at or shown))

    async def get_settings(self, *, at: Moment | None = None) -> cluster_pb2.GetSettingsReply:
        return await self._ask(lambda shown: self._source.get_settings(at=at or shown))

    async def rehearse_resume(self, workflow_id: str, key: str = "") -> Sequence[str]:
        raise SourceError(READ_ONLY)

    async def rehearse_drain(self, request: cluster_pb2.DrainRequest) -> cluster_pb2.RehearseDrainReply:
        raise SourceError(READ_ONLY)

    async def dry_run(self, task: cluster_pb2.TaskRequest) -> Sequence[cluster_pb2.NodeVerdict]:
        raise SourceError(READ_ONLY)

    async def output(self, request: cluster_pb2.OutputRequest) -> AsyncGenerator[cluster_pb2.OutputReply, None]:
        raise SourceError("Output is not kept by moment.", READ_ONLY)
        yield

    def mutator(self) -> Mutator:
        raise SourceError(READ_ONLY)
