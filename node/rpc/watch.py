"""Watch: rows as of one index, then what changed, in order and without a gap, for as long as the caller reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from node.core.faults import Code, Fault
from node.core.model import ENDED, Key, Row, Table
from node.feed import Gone
from node.link import Caller
from node.replica import Replica
from node.rpc.nodes import NodeCalls
from node.rpc.views import frames, merge, row_change
from node.rpc.waiting import Told
from node.store.events import EventQuery
from node.store.moment_workflows import WorkflowQuery
from node.store.queries import LIMIT_MAX, TaskQuery, encode_cursor

BEAT_S = 1.0
# How long a daemon that lags behind waits for the position of a watcher that comes from another one.
CATCH_UP_S = 5.0
# What a snapshot shows of the past; older tasks are read page by page.
_ENDED_SHOWN = 500
_DEAD_SHOWN = 1000
_WORKFLOWS_SHOWN = 200
# Log indexes, not events.
_EVENTS_SHOWN = 300


class Watcher:
    """Serves all watches of one daemon; node samples are fetched once a second for all of them."""

    def __init__(self, replica: Replica, nodes: NodeCalls) -> None:
        self._replica = replica
        self._nodes = nodes
        self._samples: list[pb.NodeView] = []
        self._waiting: list[pb.Waiting] = []
        self._sampled_at = -BEAT_S
        self._sampling: asyncio.Task[None] | None = None

    async def watch(self, request: pb.WatchRequest, caller: Caller) -> AsyncIterator[pb.WatchReply]:
        """Raises Fault(GONE) when the feed no longer reaches back to the position asked for."""
        position = request.after_index
        told = Told()
        if request.snapshot:
            position = self._replica.state.index
            for reply in list(self._snapshot(request, position)):
                yield reply
        loop = asyncio.get_running_loop()
        next_beat = loop.time()
        patience = loop.time() + CATCH_UP_S
        while True:
            behind = position > self._replica.feed.last_index and loop.time() < patience
            try:
                batches = [] if behind else self._replica.feed.after(position)
            except Gone:
                raise Fault(
                    Code.GONE,
                    f"Changes after index {position} are not kept any more.",
                    "Ask for a snapshot and go on from there.",
                ) from None
            if batches:
                # Only the last part moves the index on: whoever loses the link between them asks for all again.
                parts = list(frames(merge(batches, events=request.events))) or [[]]
                for part in parts[:-1]:
                    yield self._frame(position, batches[-1].at_us, part)
                position = batches[-1].index
                yield self._frame(position, batches[-1].at_us, parts[-1])
            if loop.time() >= next_beat:
                next_beat = loop.time() + BEAT_S
                samples, waiting = await self._node_samples(caller) if request.samples else ([], [])
                news = told.news(waiting)
                now_us = self._replica.now_us()
                yield self._frame(position, now_us, [], samples=samples, waiting=news, heartbeat=True)
            if not batches:
                await self._wait(position, next_beat - loop.time())

    def _frame(
        self,
        index: int,
        at_us: int,
        changes: list[types_pb2.Change],
        samples: list[pb.NodeView] | None = None,
        waiting: list[pb.Waiting] | None = None,
        heartbeat: bool = False,
    ) -> pb.WatchReply:
        return pb.WatchReply(
            index=index,
            at_us=at_us,
            changes=changes,
            samples=samples or (),
            waiting=waiting or (),
            leader=self._replica.leader or "",
            term=self._replica.term,
            heartbeat=heartbeat,
        )

    def _snapshot(self, request: pb.WatchRequest, index: int) -> Iterator[pb.WatchReply]:
        leader, term = self._replica.leader or "", self._replica.term
        at_us = self._replica.now_us()
        yield pb.WatchReply(index=index, at_us=at_us, snapshot_begin=True, leader=leader, term=term)
        for part in frames(row_change(row) for row in self._rows(events=request.events)):
            yield self._frame(index, at_us, part)
        yield pb.WatchReply(index=index, at_us=at_us, snapshot_end=True, leader=leader, term=term)

    def _rows(self, *, events: bool) -> Iterator[Row]:
        state, store = self._replica.state, self._replica.store
        yield from state.nodes.values()
        yield from state.settings.values()
        yield from state.operations.values()
        yield from self._workflows()
        yield from state.tasks.values()
        ended = store.list_tasks(TaskQuery(states=tuple(sorted(ENDED)), limit=_ENDED_SHOWN)).tasks
        dead = store.list_dead_letters(_DEAD_SHOWN).tasks
        past = {task.id: task for task in (*ended, *dead) if task.id not in state.tasks}
        # What was trimmed since the last save is still in the store.
        yield from (task for task in past.values() if not self._replica.saver.peek(Key(Table.TASKS, task.id))[0])
        if events:
            after = encode_cursor(max(0, self._replica.saver.saved_index - _EVENTS_SHOWN), "0")
            page = store.list_events(EventQuery(cursor=after, limit=LIMIT_MAX))
            recent = {event.id: event for event in page.events}
            recent.update({event.id: event for event in self._replica.unsaved_events("")})
            yield from recent.values()

    def _workflows(self) -> Iterator[Row]:
        """All that live, and the newest."""
        state, store = self._replica.state, self._replica.store
        yield from state.workflows.values()
        past = store.list_workflows(WorkflowQuery(limit=_WORKFLOWS_SHOWN)).workflows
        for workflow in past:
            known = workflow.id in state.workflows or self._replica.saver.peek(Key(Table.WORKFLOWS, workflow.id))[0]
            if not known:
                yield workflow

    async def _wait(self, position: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                while self._replica.feed.last_index <= position:
                    await self._replica.feed.wait()
        except TimeoutError:
            pass

    async def _node_samples(self, caller: Caller) -> tuple[list[pb.NodeView], list[pb.Waiting]]:
        """Views at most a beat old; a slow leader delays nobody, its last answer is shown with its age."""
        loop = asyncio.get_running_loop()
        if self._replica.serving:
            return self._nodes.node_views(), self._nodes.waiting()
        if self._sampling is None and loop.time() - self._sampled_at >= BEAT_S * 0.9:
            self._sampling = loop.create_task(self._fetch(caller))
        return self._samples, self._waiting

    async def _fetch(self, caller: Caller) -> None:
        try:
            reply = await self._nodes.list_nodes(pb.ListNodesRequest(waiting=True), caller)
            self._samples, self._waiting = list(reply.nodes), list(reply.waiting)
        except Fault:
            pass
        finally:
            self._sampled_at = asyncio.get_running_loop().time()
            self._sampling = None
