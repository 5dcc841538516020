"""A fake cluster with a past: what was recorded of it is what it answers of that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from cortex.v1 import cluster_pb2, types_pb2
from tests.tui.fake import NOW_US, sample_nodes, sample_tasks
from tests.tui.fake_source import FakeSource
from tui.source import Moment, SourceError

M = TypeVar("M", bound=Message)
GONE = "That is before the oldest event that is kept, which is at index 11, 2023-11-14T20:43:20Z."
SECOND_US = 1_000_000


def copy(row: M) -> M:
    """A message of its own."""
    made = type(row)()
    made.CopyFrom(row)
    return made


class Recorded(FakeSource):
    """A FakeSource at one recorded moment."""

    def __init__(self, source: FakeSource, at: Moment) -> None:
        super().__init__(
            [copy(row) for row in source.tasks.values()],
            [copy(view) for view in source.nodes.values()],
            [copy(row) for row in source.events if row.index <= at.index],
        )
        self.workflows = {key: copy(reply) for key, reply in source.workflows.items()}
        self.operations = {key: copy(row) for key, row in source.operations.items()}
        self.at = at
        for view in self.nodes.values():
            for name in ("resources", "score", "terms", "leader", "scored"):
                view.ClearField(name)
            view.age_us = -1


class PastSource(FakeSource):
    """Answers of a moment what was recorded last up to then. `asked` are the moments of list_nodes.

    While `hold` is clear, questions about the past wait.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.recorded: list[Recorded] = []
        self.asked: list[Moment] = []
        self.hold = asyncio.Event()
        self.hold.set()

    def record(self, index: int, before_s: float) -> None:
        """Keep what is now as what was so many seconds ago, after that entry."""
        at = Moment(index=index, at_us=NOW_US - int(before_s * SECOND_US))
        self.recorded.append(Recorded(self, at))
        self.recorded.sort(key=lambda one: one.at.index)

    async def at(self, at: Moment) -> Recorded:
        """What was recorded last up to a moment. Raises SourceError outside of what is kept."""
        await self.hold.wait()
        if at.index > self.index or (not at.index and at.at_us > NOW_US):
            raise SourceError("That time is later than now.", "Name a moment of the past.", "invalid")
        found = [
            one for one in self.recorded if (one.at.index <= at.index if at.index else one.at.at_us <= at.at_us)
        ]
        if not found:
            raise SourceError(GONE, "Name a later moment.", "gone")
        return found[-1]

    async def list_nodes(self, *, at: Moment | None = None) -> cluster_pb2.ListNodesReply:
        if at is None:
            return await super().list_nodes()
        self.asked.append(at)
        past = await self.at(at)
        reply = await FakeSource.list_nodes(past)
        reply.at.CopyFrom(Moment(index=past.at.index, at_us=at.at_us or past.at.at_us))
        return reply

    async def list_tasks(
        self,
        states: Sequence[types_pb2.TaskState.ValueType] = (),
        limit: int = 1000,
        cursor: str = "",
        **named: Any,
    ) -> cluster_pb2.ListTasksReply:
        at = named.pop("at", None)
        source = self if at is None else await self.at(at)
        reply = await FakeSource.list_tasks(source, states, len(source.tasks), **named)
        begin = int(cursor or 0)
        after = str(begin + limit) if begin + limit < len(reply.tasks) else ""
        page = reply.tasks[begin : begin + limit]
        return cluster_pb2.ListTasksReply(tasks=page, total=reply.total, next_cursor=after, index=reply.index)

    async def list_events(self, **named: Any) -> cluster_pb2.ListEventsReply:
        at = named.pop("at", None)
        if at is None:
            return await super().list_events(**named)
        past = await self.at(at)
        reply = await FakeSource.list_events(past, **named)
        reply.at.CopyFrom(past.at)
        return reply

    async def list_workflows(self, **named: Any) -> cluster_pb2.ListWorkflowsReply:
        at = named.pop("at", None)
        return await FakeSource.list_workflows(self if at is None else await self.at(at), **named)

    async def get_task(self, task_id: str, *, at: Moment | None = None) -> cluster_pb2.GetTaskReply:
        return await FakeSource.get_task(self if at is None else await self.at(at), task_id)

    async def get_workflow(self, workflow_id: str, *, at: Moment | None = None) -> cluster_pb2.GetWorkflowReply:
        return await FakeSource.get_workflow(self if at is None else await self.at(at), workflow_id)

    async def list_causes(self, limit: int = 0, *, at: Moment | None = None) -> cluster_pb2.ListCausesReply:
        return await FakeSource.list_causes(self if at is None else await self.at(at), limit)

    async def list_operations(self, **named: Any) -> cluster_pb2.ListOperationsReply:
        at = named.pop("at", None)
        return await FakeSource.list_operations(self if at is None else await self.at(at), **named)


def with_past() -> PastSource:
    """Now dune is cordoned and three tasks ended; ten minutes ago it was active and they ran; an hour ago
    there was but one task.
    """
    source = PastSource()
    now_tasks, now_nodes = source.tasks, source.nodes
    source.tasks = {row.id: row for row in sample_tasks()[:1]}
    source.tasks["01jx00000001"].state = types_pb2.TASK_STATE_QUEUED
    source.nodes = {view.node.id: view for view in sample_nodes()}
    source.nodes["dune"].node.state = types_pb2.NODE_STATE_ACTIVE
    source.record(11, 5400)
    source.tasks = {row.id: copy(row) for row in sample_tasks()}
    for number in (6, 7, 8):
        row = source.tasks[f"01jx{number:08d}"]
        row.state, row.completed_at_us = types_pb2.TASK_STATE_RUNNING, 0
        row.ClearField("result")
    source.record(31, 510)
    source.tasks, source.nodes = now_tasks, now_nodes
    source.record(41, 300)
    row = cluster_pb2.RowDiff(table="nodes", id="dune")
    row.fields.add(field="state", before="active", after="cordoned")
    row.fields.add(field="message", after="kernel update")
    ended = cluster_pb2.RowDiff(table="tasks", id="01jx00000006", name="hello")
    ended.fields.add(field="state", before="running", after="completed")
    source.differences = cluster_pb2.DiffReply(
        rows=[row, ended], from_index=31, to_index=1500, from_us=NOW_US - 510 * SECOND_US, to_us=NOW_US
    )
    return source
