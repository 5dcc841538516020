"""The console's Source, over a ClusterClient: link changes join the stream, errors become sentences."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from typing import TypeVar

from cortex.v1 import cluster_pb2, types_pb2
from tui.calls.nodes import INSPECT_TIMEOUT_S
from tui.documents import json_view
from tui.link.client import ClusterClient, ClusterError, Link
from tui.source import LinkState, Moment, SourceError, WatchItem

T = TypeVar("T")
MAX_WAITING_REPLIES = 64
REFUSED_PAUSE_S = 1.0


class ClusterSource:
    """Implements tui.source.Source and, handed out by mutator(), tui.source.Mutator."""

    def __init__(self, client: ClusterClient, name: str) -> None:
        self._client = client
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def watch(self) -> AsyncGenerator[WatchItem, None]:
        waiting: asyncio.Queue[WatchItem] = asyncio.Queue()
        # The queue itself has no bound, so that a link change never waits behind a slow reader.
        room = asyncio.Semaphore(MAX_WAITING_REPLIES)
        before = self._client.on_link
        self._client.on_link = lambda link: waiting.put_nowait(_state(link))
        pump = asyncio.create_task(self._pump(waiting, room))
        try:
            while True:
                item = await waiting.get()
                if not isinstance(item, LinkState):
                    room.release()
                yield item
        finally:
            self._client.on_link = before
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def _pump(self, waiting: asyncio.Queue[WatchItem], room: asyncio.Semaphore) -> None:
        while True:
            try:
                async with aclosing(self._client.watch(samples=True, events=True)) as replies:
                    async for reply in replies:
                        await room.acquire()
                        waiting.put_nowait(reply)
            except ClusterError as error:
                # Refused, as with a wrong secret: it may be put right while the console is open.
                address = self._client.link.address
                waiting.put_nowait(LinkState(False, address, detail=error.message, remedy=error.remedy))
                await asyncio.sleep(REFUSED_PAUSE_S)

    async def get_task(self, task_id: str, *, at: Moment | None = None) -> cluster_pb2.GetTaskReply:
        return await _told(self._client.get_task(task_id, at=at))

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
        return await _told(
            self._client.list_tasks(
                states=states,
                limit=limit,
                cursor=cursor,
                node=node,
                workflow=workflow,
                operation=operation,
                cause=cause,
                at=at,
            )
        )

    async def list_nodes(self, *, at: Moment | None = None) -> cluster_pb2.ListNodesReply:
        return await _told(self._client.list_nodes(at=at))

    async def inspect_node(self, node: str, *, span_us: int = 0, points: int = 0) -> cluster_pb2.InspectNodeReply:
        return await _told(
            self._client.inspect_node(node, span_us=span_us, points=points, timeout_s=INSPECT_TIMEOUT_S)
        )

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
        reply = await _told(
            self._client.list_events(
                task=task,
                node=node,
                workflow=workflow,
                operation=operation,
                actor=actor,
                audit=audit,
                since_us=since_us,
                newest_first=not oldest,
                limit=limit,
                cursor=cursor,
                at=at,
            )
        )
        rows = sorted(reply.events, key=json_view.event_order)
        del reply.events[:]
        reply.events.extend(rows)
        return reply

    async def list_workflows(
        self, *, limit: int = 1000, cursor: str = "", at: Moment | None = None
    ) -> cluster_pb2.ListWorkflowsReply:
        return await _told(self._client.list_workflows(limit=limit, cursor=cursor, at=at))

    async def get_workflow(self, workflow_id: str, *, at: Moment | None = None) -> cluster_pb2.GetWorkflowReply:
        return await _told(self._client.get_workflow(workflow_id, at=at))

    async def rehearse_resume(self, workflow_id: str, key: str = "") -> Sequence[str]:
        return (await _told(self._client.resume_workflow(workflow_id, key, dry_run=True))).ids

    async def list_causes(self, limit: int = 0, *, at: Moment | None = None) -> cluster_pb2.ListCausesReply:
        return await _told(self._client.list_causes(limit, at=at))

    async def list_operations(
        self, *, live: bool = False, limit: int = 1000, cursor: str = "", at: Moment | None = None
    ) -> cluster_pb2.ListOperationsReply:
        return await _told(self._client.list_operations(live=live, limit=limit, cursor=cursor, at=at))

    async def get_operation(self, operation_id: str, *, at: Moment | None = None) -> cluster_pb2.GetOperationReply:
        return await _told(self._client.get_operation(operation_id, at=at))

    async def rehearse_drain(self, request: cluster_pb2.DrainRequest) -> cluster_pb2.RehearseDrainReply:
        return await _told(self._client.rehearse_drain(request))

    async def diff(self, begin: Moment, end: Moment | None = None, limit: int = 0) -> cluster_pb2.DiffReply:
        return await _told(self._client.diff(begin, end, limit))

    async def list_double_runs(
        self, task: str = "", *, limit: int = 1000, at: Moment | None = None
    ) -> cluster_pb2.ListDoubleRunsReply:
        return await _told(self._client.list_double_runs(task, at=at, limit=limit))

    async def get_settings(self, *, at: Moment | None = None) -> cluster_pb2.GetSettingsReply:
        return await _told(self._client.get_settings(at=at))

    async def why(self, task_id: str, *, at: Moment | None = None) -> cluster_pb2.WhyReply:
        return await _told(self._client.why(task_id, at=at))

    async def dry_run(self, task: cluster_pb2.TaskRequest) -> Sequence[cluster_pb2.NodeVerdict]:
        return (await _told(self._client.submit(task, dry_run=True))).verdicts

    async def output(self, request: cluster_pb2.OutputRequest) -> AsyncGenerator[cluster_pb2.OutputReply, None]:
        replies = self._client.output(
            request.id,
            request.stream,
            offset=request.offset,
            stderr_offset=request.stderr_offset,
            follow=request.follow,
            fence=request.fence,
        )
        try:
            async with aclosing(replies):
                async for reply in replies:
                    yield reply
        except ClusterError as error:
            raise SourceError(error.message, error.remedy, error.code) from error

    def mutator(self) -> ClusterMutator:
        return ClusterMutator(self._client)


class ClusterMutator:
    """Implements tui.source.Mutator."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client

    async def submit(self, task: cluster_pb2.TaskRequest) -> cluster_pb2.SubmitReply:
        return await _told(self._client.submit(task))

    async def cancel(self, ids: Sequence[str], reason: str = "") -> cluster_pb2.MutationReply:
        return await _told(self._client.cancel(ids, reason))

    async def retry(
        self,
        ids: Sequence[str] = (),
        *,
        cause: str = "",
        canary: bool = False,
        edited_spec: types_pb2.TaskSpec | None = None,
        undo_window_ms: int | None = None,
    ) -> cluster_pb2.MutationReply:
        return await _told(
            self._client.retry(
                ids, cause=cause, canary=canary, edited_spec=edited_spec, undo_window_ms=undo_window_ms
            )
        )

    async def discard(
        self, ids: Sequence[str], reason: str, *, cause: str = "", undo_window_ms: int | None = None
    ) -> cluster_pb2.MutationReply:
        return await _told(self._client.discard(ids, reason, cause=cause, undo_window_ms=undo_window_ms))

    async def set_priority(
        self, ids: Sequence[str], priority: int, *, undo_window_ms: int | None = None
    ) -> cluster_pb2.MutationReply:
        return await _told(self._client.set_priority(ids, priority, undo_window_ms=undo_window_ms))

    async def annotate(self, task_id: str, text: str) -> cluster_pb2.MutationReply:
        return await _told(self._client.annotate(task_id, text))

    async def undo_operation(self, operation_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        return await _told(self._client.undo_operation(operation_id, reason))

    async def stop_operation(self, operation_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        return await _told(self._client.stop_operation(operation_id, reason))

    async def drain_node(self, request: cluster_pb2.DrainRequest) -> cluster_pb2.DrainNodeReply:
        return await _told(self._client.drain_node(request))

    async def remove_node(self, node: str, message: str = "") -> cluster_pb2.MutationReply:
        return await _told(self._client.remove_node(node, message))

    async def cancel_workflow(self, workflow_id: str, reason: str = "") -> cluster_pb2.MutationReply:
        return await _told(self._client.cancel_workflow(workflow_id, reason))

    async def resume_workflow(self, workflow_id: str, key: str = "") -> cluster_pb2.MutationReply:
        return await _told(self._client.resume_workflow(workflow_id, key))

    async def cordon(self, node: str, message: str = "") -> cluster_pb2.MutationReply:
        return await _told(self._client.cordon(node, message))

    async def uncordon(self, node: str) -> cluster_pb2.MutationReply:
        return await _told(self._client.uncordon(node))


async def _told(call: Awaitable[T]) -> T:
    try:
        return await call
    except ClusterError as error:
        raise SourceError(error.message, error.remedy, error.code) from error


def _state(link: Link) -> LinkState:
    return LinkState(up=link.up, address=link.address, detail=link.reason)
