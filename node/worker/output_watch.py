"""What one live attempt has written, for all who follow it: looked at once for all of them, read once for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

FIRST_LOOK_S = 0.02
LONGEST_LOOK_S = 0.25
# What a follower costs at each growth; many of them are told of more at a time, and less often.
_PACE_S = 0.0005
CHUNK_BYTES = 64 * 1024

Sizes = Mapping[str, int]


class Watch:
    """`measure` gives the sizes of its streams, `read` bytes of one from an offset; neither waits."""

    def __init__(self, measure: Callable[[], Sizes], read: Callable[[str, int, int], bytes]) -> None:
        self._measure = measure
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._sizes: Sizes = {}
        self._measured = -1.0
        self._chunks: dict[str, tuple[int, bytes]] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._delay_s = FIRST_LOOK_S
        self._followers = 1
        self.ended = False

    @property
    def pace_s(self) -> float:
        """How long what was measured holds while there is always more."""
        return min(LONGEST_LOOK_S, max(FIRST_LOOK_S, _PACE_S * self._followers))

    def chunk(self, stream: str, offset: int) -> bytes:
        """What is known to be there from `offset` on, of bounded length; the same bytes for all who ask."""
        start, data = self._chunks.get(stream, (0, b""))
        if start <= offset < start + len(data):
            return data if offset == start else data[offset - start :]
        more = min(self._sizes.get(stream, 0) - offset, CHUNK_BYTES)
        if more <= 0:
            return b""
        data = self._read(stream, offset, more)
        self._chunks[stream] = (offset, data)
        return data

    async def beyond(self, offsets: Sizes) -> None:
        """Return once there is more than these, or the attempt has ended."""
        while not self.ended:
            if self._timer is None and self._loop.time() >= self._measured + self.pace_s:
                self._look()
            if any(self._sizes.get(stream, 0) > offset for stream, offset in offsets.items()):
                return
            await self._wait()

    def end(self) -> None:
        self.ended = True
        self._wake()

    async def _wait(self) -> None:
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        if self._timer is None:
            self._delay_s = self.pace_s
            self._timer = self._loop.call_later(self._delay_s, self._look_again)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if not self._waiters:
                self._stop()

    def _look(self) -> bool:
        """Measure; whether anything has grown."""
        before, self._sizes = self._sizes, self._measure()
        self._measured = self._loop.time()
        return self._sizes != before

    def _look_again(self) -> None:
        self._timer = None
        if self._look():
            self._wake()
            return
        self._delay_s = min(self._delay_s * 1.5, LONGEST_LOOK_S)
        self._timer = self._loop.call_later(self._delay_s, self._look_again)

    def _wake(self) -> None:
        self._stop()
        if self._waiters:
            self._followers = len(self._waiters)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
