"""One attempt's output on its way into a buffer: resumes by offset, falls back to what the result kept."""

from __future__ import annotations

import asyncio

from cortex.v1 import cluster_pb2, types_pb2
from tui.drawing.draw import Cell, count_of
from tui.drawing.text import clean
from tui.source import Source, SourceError
from tui.store.outbuf import STDERR, STDOUT, OutputBuffer
from tui.store.view import ENDED

RETRY_S = 1.0
UNSTARTED = frozenset({types_pb2.TASK_STATE_PENDING, types_pb2.TASK_STATE_QUEUED})


class OutputFeed:
    """Reads the output of a task's present attempt until that has ended and all was sent."""

    def __init__(self, task: types_pb2.Task, buffer: OutputBuffer) -> None:
        self.task = task
        self._buffer = buffer
        self._fence = task.fence
        self._run = task.run
        self._offsets = {STDOUT: 0, STDERR: 0}
        self._dropped = 0
        self._problem = ""
        self._ended = False
        self._from_result = False
        self._buffer.clear()

    @property
    def worth_asking(self) -> bool:
        """Whether the attempt can have written anything."""
        return self.task.state not in UNSTARTED and bool(self.task.started_at_us or self._fence)

    def outdated_by(self, task: types_pb2.Task) -> bool:
        """Whether the task has gone on to another attempt, so that this output is an old one's."""
        if task.state in UNSTARTED:
            return False
        return (task.fence, task.run) != (self._fence, self._run) and bool(task.fence)

    def status(self) -> Cell:
        if not self.worth_asking:
            ended = self.task.state in ENDED
            return (("never started" if ended else "not started yet", "dim"),)
        spans: list[tuple[str, str]] = []
        if self._from_result:
            spans.append(("head and tail kept in the result", "warn"))
        elif self._ended:
            spans.append(("complete", "dim"))
        if self._dropped:
            spans.append((f" {count_of(self._dropped)} bytes dropped beyond the cap", "warn"))
        if self._problem and not self._from_result:
            spans.append((clean(self._problem, ascii_only=self._buffer.ascii_only), "warn"))
        return tuple(spans)

    async def run(self, source: Source) -> None:
        """Until the end; a failure is tried again while the task lives."""
        while not self._ended:
            try:
                await self._read(source)
            except SourceError as error:
                self._problem = error.message
            else:
                self._problem = ""
            if self._ended:
                return
            if self.task.state in ENDED:
                self._fall_back()
                return
            await asyncio.sleep(RETRY_S)

    async def _read(self, source: Source) -> None:
        request = cluster_pb2.OutputRequest(
            id=self.task.id,
            offset=self._offsets[STDOUT],
            stderr_offset=self._offsets[STDERR],
            follow=True,
            fence=self._fence,
        )
        async for reply in source.output(request):
            self._problem = ""
            stream = STDERR if reply.stream == cluster_pb2.STREAM_KIND_STDERR else STDOUT
            if reply.data:
                self._take(stream, reply)
            self._dropped = max(self._dropped, reply.dropped_bytes)
            if reply.ended:
                self._ended = True
                return

    def _take(self, stream: int, reply: cluster_pb2.OutputReply) -> None:
        """Bytes that were seen before a reconnect are not shown twice."""
        seen = self._offsets[stream]
        data = reply.data[max(0, seen - reply.offset) :] if reply.offset < seen else reply.data
        if data:
            self._buffer.append(stream, data)
            self._offsets[stream] = max(seen, reply.offset + len(reply.data))

    def _fall_back(self) -> None:
        """The worker's file cannot be read: show what the log kept."""
        if not self.task.HasField("result"):
            return
        self._from_result = True
        self._buffer.clear()
        for stream, summary in ((STDOUT, self.task.result.stdout), (STDERR, self.task.result.stderr)):
            self._buffer.append(stream, summary.head)
            left_out = summary.total_bytes - len(summary.head) - len(summary.tail)
            if left_out > 0:
                self._buffer.note(f"({count_of(left_out)} bytes are not kept in the result)")
            if summary.tail:
                self._buffer.append(stream, summary.tail)
