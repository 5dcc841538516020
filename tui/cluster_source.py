"""The console's Source, over a ClusterClient: link changes join the stream, errors become sentences."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from typing import TypeVar

from cortex.v1 import cluster_pb2, types_pb2
from tui import json_view
from tui.client import ClusterClient, ClusterError, Link
from tui.source import LinkState, SourceError, WatchItem

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

    async def get_task(self, task_id: str) -> cluster_pb2.GetTaskReply:
        return await _told(self._client.get_task(task_id))

    async def list_tasks(
        self, states: Sequence[types_pb2.TaskState.ValueType] = (), limit: int = 1000, cursor: str = ""
    ) -> cluster_pb2.ListTasksReply:
        return await _told(self._client.list_tasks(states=states, limit=limit, cursor=cursor))

    async def list_events(
        self, *, task: str = "", node: str = "", since_us: int = 0, limit: int = 1000, cursor: str = ""
    ) -> cluster_pb2.ListEventsReply:
        reply = await _told(
            self._client.list_events(
                task=task, node=node, since_us=since_us, newest_first=True, limit=limit, cursor=cursor
            )
        )
        rows = sorted(reply.events, key=json_view.event_order)
        del reply.events[:]
        reply.events.extend(rows)
        return reply

    async def why(self, task_id: str) -> cluster_pb2.WhyReply:
        return await _told(self._client.why(task_id))

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
            raise SourceError(error.message, error.remedy) from error

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

    async def retry(self, ids: Sequence[str]) -> cluster_pb2.MutationReply:
        return await _told(self._client.retry(ids))

    async def cordon(self, node: str, message: str = "") -> cluster_pb2.MutationReply:
        return await _told(self._client.cordon(node, message))

    async def uncordon(self, node: str) -> cluster_pb2.MutationReply:
        return await _told(self._client.uncordon(node))


async def _told(call: Awaitable[T]) -> T:
    try:
        return await call
    except ClusterError as error:
        raise SourceError(error.message, error.remedy) from error


def _state(link: Link) -> LinkState:
    return LinkState(up=link.up, address=link.address, detail=link.reason)
