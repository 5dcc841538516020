"""Questions to etcd that many callers ask at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Rounds(Generic[T]):
    """Callers that come while a round is under way share the one that follows it: it begins after their call."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._current: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Raises what the question raises."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._run(self._current))
            self._next.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._next)

    def close(self) -> None:
        for task in (self._current, self._next):
            if task is not None:
                task.cancel()

    async def _run(self, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait([before])
        self._current, self._next = self._next, None
        return await self._ask()
