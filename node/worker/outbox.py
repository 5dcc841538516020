"""Reports on their way to the leader: collected for a moment, made durable, sent until they are acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cortex.v1.worker_pb2 import Report, Reports
from node.worker.ledger import Ledger, is_final, key_of

# While busy, commit cycles cost more than waiting; a start travels with an end that follows at once.
_FLUSH_S = 0.040
_START_HOLD_S = 0.002
_BATCH_REPORTS = 2_000
_BATCH_BYTES = 1024 * 1024
# The leader's acknowledgement most often comes sooner, though reports of others share its entry: no fsync then.
_DURABLE_S = 0.15


class Outbox:
    """Calls `send` once per batch and `on_durable` after its fsync. `is_idle`: nothing runs or waits here.

    What has ended is sent at once, and made durable when it is not acknowledged soon: until then its supervisor
    keeps the result. A return is sent only after it is durable, or a crash would leave an assignment that was given
    back and runs.
    """

    def __init__(
        self,
        ledger: Ledger,
        send: Callable[[Reports], None],
        on_durable: Callable[[Reports], None],
        is_idle: Callable[[], bool],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._ledger = ledger
        self._send = send
        self._on_durable = on_durable
        self._is_idle = is_idle
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._reports: list[Report] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._flushed_s = -_FLUSH_S
        self._syncing: set[int] = set()
        self._held: set[int] = set()
        self._flushes: set[asyncio.Task[None]] = set()

    def add(self, report: Report) -> None:
        now_s = self._loop.time()
        self._reports.append(report)
        self._bytes += report.ByteSize()
        busy_s = self._flushed_s + _FLUSH_S
        if not is_final(report):
            self._flush_at(max(now_s + _START_HOLD_S, busy_s))
        elif len(self._reports) >= _BATCH_REPORTS or self._bytes >= _BATCH_BYTES or self._is_idle():
            # At the end of this turn of the loop, so that all that is known by then goes together.
            self._flush_at(now_s)
        else:
            self._flush_at(max(now_s, busy_s))

    def sendable(self) -> list[Reports]:
        """Batches that wait for their acknowledgement, oldest first."""
        batches = self._ledger.contents.batches
        return [batches[number] for number in sorted(batches) if number not in self._held]

    def durable(self) -> list[Reports]:
        """Batches that wait for their acknowledgement and would outlive this process."""
        return [batch for number, batch in self._ledger.contents.batches.items() if number not in self._syncing]

    async def close(self) -> None:
        """Make durable what was collected."""
        self._flush()
        await asyncio.gather(*self._flushes, return_exceptions=True)

    def _flush_at(self, due_s: float) -> None:
        if self._timer is not None:
            if self._due_s <= due_s:
                return
            self._timer.cancel()
        self._due_s = due_s
        self._timer = self._loop.call_at(due_s, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._reports:
            return
        if any(is_final(report) for report in self._reports):
            self._flushed_s = self._loop.time()
        batches = [self._ledger.add_batch(part) for part in _split(self._reports)]
        self._reports = []
        self._bytes = 0
        numbers = {batch.number for batch in batches}
        self._syncing |= numbers
        held = any(report.HasField("recalled") for batch in batches for report in batch.reports)
        if held:
            self._held |= numbers
        else:
            for batch in batches:
                self._send(batch)
        task = asyncio.create_task(self._make_durable(batches, at_once=held))
        self._flushes.add(task)
        task.add_done_callback(self._flushes.discard)

    async def _make_durable(self, batches: list[Reports], *, at_once: bool) -> None:
        if not at_once:
            await asyncio.sleep(_DURABLE_S)
        if at_once or self._ledger.is_behind or not all(map(self._is_settled, batches)):
            try:
                await self._ledger.sync()
            except OSError as error:
                self._on_failure(error)
                return
        for batch in batches:
            self._syncing.discard(batch.number)
            if batch.number in self._held:
                self._held.discard(batch.number)
                self._send(batch)
            self._on_durable(batch)

    def _is_settled(self, batch: Reports) -> bool:
        """Whether nothing of it is missed after a crash: it is acknowledged, and what it says to run has ended."""
        contents = self._ledger.contents
        return batch.number not in contents.batches and not any(
            key_of(report) in contents.accepted for report in batch.reports if not is_final(report)
        )


def _split(reports: list[Report]) -> list[list[Report]]:
    parts: list[list[Report]] = []
    size = 0
    for report in reports:
        size += report.ByteSize()
        if not parts or size > _BATCH_BYTES or len(parts[-1]) >= _BATCH_REPORTS:
            parts.append([])
            size = report.ByteSize()
        parts[-1].append(report)
    return parts
