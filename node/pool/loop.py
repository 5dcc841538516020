"""The loop of the pool's host: descriptors and timers. asyncio would be half of its memory."""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable
from contextlib import suppress


class Timer:
    """One call at a time to come. cancel() may come at any moment, also after it."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def read(self, fd: int, call: Callable[[], None]) -> None:
        """Call it whenever `fd` can be read."""
        self._selector.register(fd, selectors.EVENT_READ, call)

    def forget(self, fd: int) -> None:
        """Before it is closed; also one that is not read now."""
        with suppress(KeyError):
            self._selector.unregister(fd)

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), timer))
        return timer

    def run(self) -> None:
        """Until stop()."""
        while not self._stopped:
            # What was said comes before what is late: a host that was frozen hears its workers first.
            for key, _ in self._selector.select(self._until_due_s()):
                if key.fd in self._selector.get_map():
                    key.data()
            while self._timers and self._timers[0][0] <= time.monotonic():
                _, _, timer = heapq.heappop(self._timers)
                if timer.call is not None:
                    timer.call()

    def _until_due_s(self) -> float | None:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
