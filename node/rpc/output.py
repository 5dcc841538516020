"""Output: a task's streams by offset, from the files of the machine that ran it, through any daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from cortex.v1 import cluster_pb2 as pb
from cortex.v1.types_pb2 import StreamSummary, Task
from node.core.faults import Code, Fault
from node.core.model import ENDED, RUNNING
from node.link import Caller, LinkClosed
from node.replica import Replica
from node.rpc.kept import Files, away
from node.rpc.lookup import Lookup
from node.worker.output import STDERR, STDOUT
from node.worker.output_watch import CHUNK_BYTES

_KINDS = {STDOUT: pb.STREAM_KIND_STDOUT, STDERR: pb.STREAM_KIND_STDERR}


@dataclass(slots=True)
class _Reader:
    """Where one reader stands in the streams that it asked for."""

    offsets: dict[str, int]
    fence: int

    @staticmethod
    def of(request: pb.OutputRequest, fence: int) -> _Reader:
        offsets = {}
        if request.stream != pb.STREAM_KIND_STDERR:
            offsets[STDOUT] = request.offset
        if request.stream != pb.STREAM_KIND_STDOUT:
            both = request.stream == pb.STREAM_KIND_UNSPECIFIED
            offsets[STDERR] = request.stderr_offset if both else request.offset
        return _Reader(offsets, fence)

    def take(self, stream: str, data: bytes) -> pb.OutputReply:
        offset = self.offsets[stream]
        self.offsets[stream] = offset + len(data)
        return pb.OutputReply(stream=_KINDS[stream], offset=offset, data=data, fence=self.fence)

    def request(self, task_id: str, request: pb.OutputRequest) -> pb.OutputRequest:
        """What to ask the machine that has the files."""
        return pb.OutputRequest(
            id=task_id,
            stream=request.stream,
            offset=request.offset,
            stderr_offset=request.stderr_offset,
            follow=request.follow,
            local=True,
            fence=self.fence,
        )


class OutputRelay:
    """Serves Output on any daemon."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def stream(self, request: pb.OutputRequest, caller: Caller) -> AsyncIterator[pb.OutputReply]:
        """Raises Fault. Ends with a message that says `ended` when the attempt has ended and all was sent."""
        if request.offset < 0 or request.stderr_offset < 0:
            raise Fault(Code.INVALID, "An offset is negative.", "Begin at 0.")
        replica = self._files.replica()
        if request.local or replica is None:
            async for reply in self._local(request.id, _Reader.of(request, request.fence), request.follow):
                yield reply
            return
        task = Lookup(replica).task(request.id)
        if request.follow and request.fence in (0, task.fence):
            task = await self._begun(task, replica)
        reader = _Reader.of(request, request.fence or task.fence)
        if not reader.fence:
            yield pb.OutputReply(ended=task.state in ENDED)
            return
        node = request.node or task.node
        if node == self._files.node_id:
            async for reply in self._local(task.id, reader, request.follow):
                yield reply
            return
        async for reply in self._remote(node, task, reader, request, caller):
            yield reply

    async def _begun(self, task: Task, replica: Replica) -> Task:
        """The task once its attempt has begun, for the worker knows nothing of one before, or has ended."""
        while task.state != RUNNING and task.state not in ENDED:
            await replica.feed.wait()
            task = replica.task(task.id) or task
        return task

    async def _local(self, task_id: str, reader: _Reader, follow: bool) -> AsyncIterator[pb.OutputReply]:
        while True:
            ended = self._files.store.ended(task_id, reader.fence)
            progressed = False
            for stream in reader.offsets:
                while data := self._read(task_id, reader, stream, follow):
                    progressed = True
                    yield reader.take(stream, data)
            if ended or not follow:
                yield pb.OutputReply(ended=ended, fence=reader.fence)
                return
            if not progressed:
                await self._files.store.wait(task_id, reader.fence, reader.offsets)
            else:
                await asyncio.sleep(0)

    def _read(self, task_id: str, reader: _Reader, stream: str, follow: bool) -> bytes:
        offset = reader.offsets[stream]
        if follow:
            return self._files.store.chunk(task_id, reader.fence, stream, offset)
        return self._files.store.read(task_id, reader.fence, stream, offset, CHUNK_BYTES)

    async def _remote(
        self, node: str, task: Task, reader: _Reader, request: pb.OutputRequest, caller: Caller
    ) -> AsyncIterator[pb.OutputReply]:
        address = self._files.address_of(node)
        begun = False
        try:
            if address is None:
                raise LinkClosed(node)
            local = reader.request(task.id, request)
            async for reply in self._files.link.stream(address, "Output", local, caller.forwarded()):
                if isinstance(reply, pb.OutputReply):
                    begun = True
                    yield reply
        except LinkClosed:
            # The log has of the last attempt alone how its output began and ended.
            if begun or task.state not in ENDED or reader.fence != task.fence:
                raise away(node) from None
            for reply in logged(task, reader):
                yield reply


def logged(task: Task, reader: _Reader) -> list[pb.OutputReply]:
    """What the log has of an ended attempt's output: head and tail of each stream."""
    replies: list[pb.OutputReply] = []
    summaries: dict[str, StreamSummary] = {STDOUT: task.result.stdout, STDERR: task.result.stderr}
    for stream, offset in reader.offsets.items():
        summary = summaries[stream]
        kept = summary.total_bytes - summary.dropped_bytes
        for start, data in ((0, summary.head), (kept - len(summary.tail), summary.tail)):
            skip = max(0, offset - start)
            if data[skip:]:
                replies.append(
                    pb.OutputReply(stream=_KINDS[stream], offset=start + skip, data=data[skip:], fence=reader.fence)
                )
    replies.append(pb.OutputReply(ended=True, fence=reader.fence))
    return replies
