"""Who waits for a quorum's answer to a round of heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node.consensus.port import NotLeader


class Rounds:
    """A caller is answered by a round that begins after its call; those that come meanwhile share the next one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, begin: Callable[[], None]) -> None:
        self._loop, self._begin = loop, begin
        self.confirmed = 0
        """The last round that a quorum answered."""
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._asked = False
        self._over = False

    def wait(self, current: int) -> asyncio.Future[None]:
        """Done once a quorum answered a round after `current`."""
        future: asyncio.Future[None] = self._loop.create_future()
        idle = self.confirmed == current
        self._waiting.append((current + 1, future))
        if idle and not self._asked:
            self._ask()
        return future

    def begun(self) -> None:
        self._asked = False

    def reach(self, confirmed: int) -> bool:
        """A quorum answered this round. Whether it is the newest that was."""
        if confirmed <= self.confirmed:
            return False
        self.confirmed = confirmed
        waiting, self._waiting = self._waiting, []
        for needed, future in waiting:
            if needed > confirmed:
                self._waiting.append((needed, future))
            elif not future.done():
                future.set_result(None)
        if self._waiting and not self._asked:
            self._ask()
        return True

    def _ask(self) -> None:
        self._asked = True
        self._loop.call_soon(self._start)

    def _start(self) -> None:
        if self._asked and not self._over:
            self._begin()

    def stop(self) -> None:
        """Everybody still waiting ends as NotLeader."""
        self._over = True
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(NotLeader("leadership was lost"))
