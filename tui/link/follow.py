"""Waits until tasks have ended and hands their output over while it is written, across lost links and retries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import TypeAlias

from cortex.v1 import cluster_pb2, types_pb2
from tui.link.client import ClusterClient, ClusterError

ENDED = frozenset(
    {
        types_pb2.TASK_STATE_COMPLETED,
        types_pb2.TASK_STATE_FAILED,
        types_pb2.TASK_STATE_CANCELLED,
        types_pb2.TASK_STATE_SKIPPED,
        types_pb2.TASK_STATE_DEAD_LETTER,
    }
)
PATIENCE_S = 60.0
LAST_BYTES_S = 10.0
GIVE_UP_S = 2.0
CORTEX_FAILED = 125

Kind: TypeAlias = "cluster_pb2.StreamKind.ValueType"
Sink = Callable[[Kind, int, bytes], None]
"""Gets the stream, the offset within the attempt's stream, and bytes."""


def exit_status(task: types_pb2.Task) -> int:
    """What a shell would say of an ended task: exit code, 128 + signal, 125 when no command is to blame."""
    result = task.result
    if task.HasField("result") and result.signal:
        return 128 + result.signal
    completed = task.state == types_pb2.TASK_STATE_COMPLETED
    if task.HasField("result") and result.HasField("exit_code") and (completed or result.exit_code):
        return result.exit_code
    return 0 if completed else CORTEX_FAILED


class Follower:
    """Follows some tasks to their ends.

    `sink` gets the output (None = it is not wanted) of both streams or of `only` one; `told` gets sentences about
    output that is missing; `progress` how far the tasks are, as they tell it.
    """

    def __init__(
        self,
        client: ClusterClient,
        *,
        sink: Sink | None,
        told: Callable[[str], None],
        only: Kind = cluster_pb2.STREAM_KIND_UNSPECIFIED,
        progress: Callable[[types_pb2.TaskProgress], None] | None = None,
    ) -> None:
        self._client = client
        self._progress = progress
        self._new_output = partial(_Output, client, sink=sink, told=told, only=only, broke=self._break)
        self._broken = asyncio.Event()
        self._cause: BaseException | None = None
        self._outputs: dict[str, _Output] = {}
        self._ended: dict[str, types_pb2.Task] = {}
        self._seen: dict[str, int] = {}  # by task, the index of its newest row
        self._epoch = 0
        self.known: list[str] = []
        """Ids of what is followed, once the cluster has said that it is there."""

    async def follow(self, ids: Sequence[str], after_index: int = 0) -> list[types_pb2.Task]:
        """Returns the ended tasks in the order of `ids`. Raises ClusterError.

        `ids` are ids or unique prefixes; or ids of tasks that were accepted at log index `after_index` and had not
        begun then, which spares asking for each. What `sink` raises ends it too.
        """
        wanted = list(ids)
        if not after_index:
            replies = [await self._client.get_task(task_id) for task_id in ids]
            wanted = [reply.task.id for reply in replies]
            after_index = min(reply.index for reply in replies)
            for reply in replies:
                self._see(reply.task)
        self.known = wanted
        try:
            if not self._ended.keys() >= set(wanted):
                await self._unless_broken(self._watch(after_index, set(wanted)))
            for task_id in dict.fromkeys(wanted):
                await self._outputs[task_id].finish(self._ended[task_id])
                if self._cause is not None:
                    raise self._cause
        finally:
            for output in self._outputs.values():
                await output.close()
        return [self._ended[task_id] for task_id in wanted]

    def _break(self, cause: BaseException) -> None:
        self._cause = cause
        self._broken.set()

    async def _unless_broken(self, work: Coroutine[None, None, None]) -> None:
        """Awaits `work`, but no longer than somebody takes the output: a command that never ends is no reason."""
        working = asyncio.create_task(work)
        breaking = asyncio.create_task(self._broken.wait())
        try:
            await asyncio.wait({working, breaking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            breaking.cancel()
            if not working.done():
                working.cancel()
                with suppress(asyncio.CancelledError):
                    await working
        if self._cause is not None:
            raise self._cause
        working.result()

    async def _watch(self, index: int, wanted: set[str]) -> None:
        samples = self._progress is not None
        async with aclosing(self._client.watch(index, samples=samples, patience_s=PATIENCE_S)) as replies:
            async for reply in replies:
                if reply.recovery_epoch > self._epoch:
                    self._seen.clear()
                    self._epoch = reply.recovery_epoch
                for item in reply.progress:
                    if self._progress is not None and item.task in wanted:
                        self._progress(item)
                for change in reply.changes:
                    if change.task.id in wanted:
                        self._see(change.task)
                if reply.snapshot_end:
                    # A snapshot has only what lives; what ended meanwhile must be asked for.
                    for task_id in wanted - self._ended.keys():
                        self._see((await self._client.get_task(task_id)).task)
                if self._ended.keys() >= wanted:
                    self._client.saw(reply.index)
                    return

    def _see(self, task: types_pb2.Task) -> None:
        # A daemon that was away tells of the past: an attempt of then is not written again.
        if task.modified_index < self._seen.get(task.id, 0):
            return
        self._seen[task.id] = task.modified_index
        output = self._outputs.setdefault(task.id, self._new_output(task.id))
        if task.state in ENDED:
            self._ended[task.id] = task
        else:
            self._ended.pop(task.id, None)
            if task.state == types_pb2.TASK_STATE_RUNNING:
                output.attempt(task.fence)


class _Output:
    """The output of one task, attempt after attempt."""

    def __init__(
        self,
        client: ClusterClient,
        task_id: str,
        *,
        sink: Sink | None,
        told: Callable[[str], None],
        only: Kind,
        broke: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._task_id = task_id
        self._sink = sink
        self._told = told
        self._only = only
        self._broke = broke
        self._fence = 0
        self._offsets: dict[Kind, int] = {}
        self._pump: asyncio.Task[None] | None = None

    def attempt(self, fence: int) -> None:
        """An attempt runs: its output follows what is still to come of the one before."""
        if self._sink is None or fence == self._fence:
            return
        self._fence = fence
        self._pump = asyncio.create_task(self._stream(fence, self._pump))

    async def finish(self, task: types_pb2.Task) -> None:
        """Hands over all that is left of the last attempt."""
        if self._pump is not None:
            await _settle(self._pump)
        if self._sink is None or not task.HasField("result"):
            return
        if task.fence != self._fence:
            self._offsets = {}
        for kind, summary in (
            (cluster_pb2.STREAM_KIND_STDOUT, task.result.stdout),
            (cluster_pb2.STREAM_KIND_STDERR, task.result.stderr),
        ):
            if self._only in (kind, cluster_pb2.STREAM_KIND_UNSPECIFIED):
                await self._complete(kind, summary, task)

    async def close(self) -> None:
        if self._pump is not None and not self._pump.done():
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    async def _stream(self, fence: int, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await _settle(before)
        self._offsets = {}
        try:
            await self._fetch(self._only, fence, follow=True)
        except OSError as error:
            self._broke(error)

    async def _fetch(self, kind: Kind, fence: int, *, follow: bool) -> None:
        """Hands over what the attempt's machine has; stops quietly when it cannot be reached."""
        replies = self._client.output(
            self._task_id,
            kind,
            offset=self._offsets.get(kind or cluster_pb2.STREAM_KIND_STDOUT, 0),
            stderr_offset=0 if kind else self._offsets.get(cluster_pb2.STREAM_KIND_STDERR, 0),
            follow=follow,
            fence=fence,
            patience_s=PATIENCE_S if follow else GIVE_UP_S,
        )
        try:
            async with aclosing(replies):
                async for reply in replies:
                    if reply.data:
                        self._hand(reply.stream, reply.offset, reply.data)
        except ClusterError:
            # The result's head and tail, or the sentence about what is missing, take over.
            return

    def _hand(self, kind: Kind, offset: int, data: bytes) -> None:
        fresh = data[max(0, self._offsets.get(kind, 0) - offset) :]
        if fresh and self._sink is not None:
            begin = offset + len(data) - len(fresh)
            self._offsets[kind] = begin + len(fresh)
            self._sink(kind, begin, fresh)

    async def _complete(self, kind: Kind, summary: types_pb2.StreamSummary, task: types_pb2.Task) -> None:
        kept = summary.total_bytes - summary.dropped_bytes
        self._hand(kind, 0, summary.head)
        tail_begin = kept - len(summary.tail)
        if self._offsets.get(kind, 0) < tail_begin:
            await self._fetch(kind, task.fence, follow=False)
        missing = tail_begin - self._offsets.get(kind, 0)
        name = "stderr" if kind == cluster_pb2.STREAM_KIND_STDERR else "stdout"
        if missing > 0:
            self._told(f"{missing} bytes of {name} are on {task.node}, which does not answer.")
        self._hand(kind, tail_begin, summary.tail)
        if summary.dropped_bytes:
            self._told(f"{summary.dropped_bytes} bytes of {name} beyond the limit were not kept.")


async def _settle(pump: asyncio.Task[None]) -> None:
    """Waits for a stream's last bytes, but not for ever."""
    try:
        async with asyncio.timeout(LAST_BYTES_S):
            await pump
    except TimeoutError:
        return
