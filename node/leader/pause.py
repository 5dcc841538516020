"""What duties have in common: how they wait, and how long an operation may still be undone."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from cortex.v1.types_pb2 import Operation
from node.env import Clock
from node.leader.port import Replica


async def pause(event: asyncio.Event, limit_us: float | None) -> None:
    """Return when the event is set, or that many microseconds from now; with None only when it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None if limit_us is None else limit_us / 1e6):
            await event.wait()


class UndoWindow:
    """Under a new leader an operation may be undone for one full window from when that one began."""

    def __init__(self, clock: Clock, replica: Replica) -> None:
        self._clock = clock
        self._replica = replica
        self._begun_us = clock.boot_us()

    def left_us(self, operation: Operation) -> int:
        """How long it may still be undone; 0 or less when it is to begin."""
        window_us = operation.not_before_us - operation.created_at_us
        own_us = self._begun_us + window_us - self._clock.boot_us() if window_us else 0
        return max(operation.not_before_us - self._replica.now_us(), own_us)
