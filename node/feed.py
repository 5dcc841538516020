"""The feed: a bounded ring of applied batches that watchers read at their own pace.

A reader that falls behind the ring is told Gone and begins anew from a snapshot (Nomad's event broker does it so).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from node.core.faults import begins_anew
from node.core.model import Change, weigh


@dataclass(frozen=True, slots=True)
class Batch:
    """What one entry changed; an entry that changed nothing is a batch too, so that indexes have no gap."""

    index: int
    at_us: int
    changes: tuple[Change, ...]
    # What its rows but events take beyond a KiB each, together; None when nobody measured them.
    more_kib: int | None = None


_DROPPED = Batch(0, 0, ())


class Gone(Exception):
    """The position asked for is older than the feed, or of another epoch."""


class Feed:
    """Keeps the last changes whose weights sum to `capacity`, the last batch in any case. Single-threaded."""

    def __init__(self, after: int, capacity: int = 65_536) -> None:
        self._batches: list[Batch] = []
        self._weights: list[int] = []
        self._head = 0
        self._first = after + 1
        self._weight = 0
        self._capacity = capacity
        self._waiters: list[asyncio.Future[None]] = []
        self._closed = False

    @property
    def last_index(self) -> int:
        return self._first + len(self._batches) - self._head - 1

    def publish(self, batch: Batch, weight: int | None = None) -> None:
        """Append the batch of the next index and wake every reader; `weight` is that of its changes, if known."""
        if batch.index != self.last_index + 1:
            raise ValueError(f"batch {batch.index} after {self.last_index}")
        weight = 1 + (weigh(batch.changes) if weight is None else weight)
        self._batches.append(batch)
        self._weights.append(weight)
        self._weight += weight
        while self._weight > self._capacity and len(self._batches) - self._head > 1:
            self._weight -= self._weights[self._head]
            self._batches[self._head] = _DROPPED
            self._head += 1
            self._first += 1
        if self._head > 1024 and self._head * 2 > len(self._batches):
            del self._batches[: self._head], self._weights[: self._head]
            self._head = 0
        self._wake()

    def close(self) -> None:
        """Nothing is published any more: whoever waits, or is about to, is told so."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def after(self, index: int, limit: int = 1024) -> Sequence[Batch]:
        """Batches that follow `index`, at most `limit`; empty when there are none yet. Raises Gone."""
        if index + 1 < self._first or index > self.last_index:
            raise Gone
        start = self._head + index + 1 - self._first
        return self._batches[start : start + limit]

    async def wait(self) -> None:
        """Return when something was published after the call. Raises Fault once the feed is closed."""
        if not self._closed:
            await self._next()
        if self._closed:
            raise begins_anew()

    async def _next(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            raise
