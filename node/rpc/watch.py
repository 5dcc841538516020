"""Watch: rows as of one index, then what changed, in order and without a gap, for as long as the caller reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from cortex.v1 import cluster_pb2 as pb
from node.core import settings
from node.core.faults import Code, Fault
from node.feed import Gone
from node.link import Caller
from node.replica import Replica
from node.rpc.nodes import NodeCalls
from node.rpc.progress import ToldProgress
from node.rpc.snapshot import Snapshot
from node.rpc.views import are_small, frames, merge
from node.rpc.waiting import Told

BEAT_S = 1.0
# How long a daemon that lags behind waits for the position of a watcher that comes from another one.
CATCH_UP_S = 5.0
# Changes of one message of a snapshot: making it holds up the loop for some 2 ms.
_SNAPSHOT_CHANGES = 100


class Watcher:
    """Serves all watches of one daemon; node samples are fetched once a second for all of them."""

    def __init__(self, replica: Replica, nodes: NodeCalls) -> None:
        self._replica = replica
        self._nodes = nodes
        self._last = pb.ListNodesReply()
        self._sampled_at = -BEAT_S
        self._sampling: asyncio.Task[None] | None = None

    async def watch(self, request: pb.WatchRequest, caller: Caller) -> AsyncGenerator[pb.WatchReply, None]:
        """Raises Fault(GONE) when the feed no longer reaches back to the position, or it is of another epoch."""
        position = request.after_index
        if not request.snapshot and request.recovery_epoch != self._epoch:
            raise Fault(
                Code.GONE,
                f"Index {position} is of recovery {request.recovery_epoch} of the cluster, this is {self._epoch}.",
                "Ask for a snapshot and go on from there.",
            )
        told, told_progress = Told(), ToldProgress()
        if request.snapshot:
            snapshot = Snapshot(self._replica)
            position = snapshot.index
            async for reply in self._snapshot(request, snapshot):
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
                last: pb.WatchReply | None = None
                small = not request.events and are_small(batches)
                for part in frames(merge(batches, events=request.events), small=small):
                    if last is not None:
                        yield self._frame(position, batches[-1].at_us, last)
                        await asyncio.sleep(0)
                    last = part
                position = batches[-1].index
                yield self._frame(position, batches[-1].at_us, last)
            if loop.time() >= next_beat:
                next_beat = loop.time() + BEAT_S
                beat = pb.WatchReply(heartbeat=True)
                if request.samples:
                    known = self._sampled(caller)
                    beat.samples.extend(known.nodes)
                    beat.waiting.extend(told.news(known.waiting))
                    beat.progress.extend(told_progress.news(known.progress))
                now_us = self._replica.now_us()
                yield self._frame(position, now_us, beat)
            if not batches:
                await self._wait(position, next_beat - loop.time())

    def _frame(self, index: int, at_us: int, part: pb.WatchReply | None = None) -> pb.WatchReply:
        """`part`, or nothing but the position, as of `index`."""
        frame = part if part is not None else pb.WatchReply()
        frame.index = index
        frame.at_us = at_us
        frame.leader = self._replica.leader or ""
        frame.term = self._replica.term
        frame.recovery_epoch = self._epoch
        return frame

    async def _snapshot(self, request: pb.WatchRequest, snapshot: Snapshot) -> AsyncIterator[pb.WatchReply]:
        """Message by message, with other work of the loop in between."""
        index = snapshot.index
        frame = self._frame(index, self._replica.now_us())
        at_us = frame.at_us
        await snapshot.read(events=request.events)
        frame.snapshot_begin = True
        yield frame
        for part in frames(snapshot.rows(), _SNAPSHOT_CHANGES):
            yield self._frame(index, at_us, part)
            await asyncio.sleep(0)
        frame = self._frame(index, at_us)
        frame.snapshot_end = True
        yield frame

    @property
    def _epoch(self) -> int:
        return settings.recovery_epoch(self._replica.state.settings.get(settings.RECOVERY_EPOCH))

    async def _wait(self, position: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                while self._replica.feed.last_index <= position:
                    await self._replica.feed.wait()
        except TimeoutError:
            pass

    def _sampled(self, caller: Caller) -> pb.ListNodesReply:
        """Views at most a beat old; a slow leader delays nobody, its last answer is shown with its age."""
        loop = asyncio.get_running_loop()
        if self._replica.serving:
            return self._nodes.known_now()
        if self._sampling is None and loop.time() - self._sampled_at >= BEAT_S * 0.9:
            self._sampling = loop.create_task(self._fetch(caller))
        return self._last

    async def _fetch(self, caller: Caller) -> None:
        try:
            self._last = await self._nodes.list_nodes(pb.ListNodesRequest(waiting=True), caller)
        except Fault:
            pass
        finally:
            self._sampled_at = asyncio.get_running_loop().time()
            self._sampling = None
