"""Operations of the made-up cluster: they wait for their undo window, and can be taken back in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.demo.cluster import DemoCluster
from tui.source import SourceError

WINDOW_MS = 10_000
MAX_KNOWN = 1000
Operation = types_pb2.Operation
Push = Callable[[Iterable[types_pb2.Change]], None]
Requeue = Callable[[Sequence[str]], object]


class DemoOperations:
    """All that were asked for, by id. What they do is done when nobody took it back."""

    def __init__(
        self,
        cluster: DemoCluster,
        push: Push,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._cluster, self._push, self._sleep = cluster, push, sleep
        self.rows: dict[str, Operation] = {}
        self._restore: dict[str, Callable[[], None]] = {}
        self._waiting: set[asyncio.Task[None]] = set()

    def begin_later(
        self,
        row: Operation,
        ids: Sequence[str],
        do: Requeue,
        window_ms: int | None = None,
        restore: Callable[[], None] = lambda: None,
    ) -> cluster_pb2.MutationReply:
        """Tells of the operation, and does it after its window; `restore` is what an undo does."""
        if len(self.rows) >= MAX_KNOWN:
            raise SourceError(f"The demo keeps {MAX_KNOWN} operations.", "Open it anew.")
        window = WINDOW_MS if window_ms is None else window_ms
        row.id = f"demo-{len(self.rows) + 1}"
        row.actor, row.created_at_us = "uid:1000", self._cluster.now_us
        row.not_before_us = row.created_at_us + window * 1000
        row.counts.total = len(ids)
        self._restore[row.id] = restore
        self._tell(row, types_pb2.OPERATION_STATE_SCHEDULED)

        async def wait() -> None:
            await self._sleep(window / 1000)
            if self.rows[row.id].state == types_pb2.OPERATION_STATE_SCHEDULED:
                do(ids)
                done = self._copy(row.id)
                done.begun_at_us = done.ended_at_us = self._cluster.now_us
                done.counts.issued = len(ids)
                self._tell(done, types_pb2.OPERATION_STATE_DONE)

        waiting = asyncio.create_task(wait())
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        return cluster_pb2.MutationReply(operation_id=row.id, index=self._cluster.index, ids=ids)

    def undo(self, operation_id: str, reason: str) -> cluster_pb2.MutationReply:
        row = self._copy(operation_id)
        if row.state != types_pb2.OPERATION_STATE_SCHEDULED:
            raise SourceError(f"Operation {operation_id} has begun.", "What it did stays.", "wrong_state")
        row.ended_at_us, row.outcome = self._cluster.now_us, reason
        self._restore[operation_id]()
        self._tell(row, types_pb2.OPERATION_STATE_UNDONE)
        return cluster_pb2.MutationReply(operation_id=operation_id, index=self._cluster.index)

    def _copy(self, operation_id: str) -> Operation:
        if operation_id not in self.rows:
            raise SourceError(f"There is no operation {operation_id}.", "", "not_found")
        row = Operation()
        row.CopyFrom(self.rows[operation_id])
        return row

    def _tell(self, row: Operation, state: types_pb2.OperationState.ValueType) -> None:
        self._cluster.index += 1
        row.state, row.modified_index = state, self._cluster.index
        row.created_index = row.created_index or row.modified_index
        self.rows[row.id] = row
        self._push([types_pb2.Change(operation=row)])
