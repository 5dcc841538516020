"""Assignments on their way into the ledger: they start once durable, those that wait together by one fsync."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from node.worker.attempts import Attempt
from node.worker.ledger import Ledger


class Acceptances:
    """Calls `admit` with attempts whose acceptance is on the disk, in the order of take()."""

    def __init__(
        self,
        ledger: Ledger,
        admit: Callable[[Sequence[Attempt]], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._ledger = ledger
        self._admit = admit
        self._on_failure = on_failure
        self._waiting: list[Attempt] = []
        self._task: asyncio.Task[None] | None = None

    def take(self, attempts: Sequence[Attempt]) -> None:
        """Make these durable: the write begins now, or shares the one after that which is under way."""
        for attempt in attempts:
            self._ledger.accept(attempt.assignment, attempt.boot_id)
        self._waiting += attempts
        if self._waiting and (self._task is None or self._task.done()):
            try:
                batch, written = self._begin()
            except OSError as error:
                self._on_failure(error)
                return
            self._task = asyncio.create_task(self._run(batch, written))

    async def ended(self) -> None:
        """Return once nothing waits."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self) -> tuple[list[Attempt], asyncio.Future[None]]:
        """What waits, and when it is durable. Raises OSError."""
        batch, self._waiting = self._waiting, []
        return batch, self._ledger.begin_sync()

    async def _run(self, batch: list[Attempt], written: asyncio.Future[None]) -> None:
        try:
            while True:
                await asyncio.shield(written)
                self._admit(batch)
                if not self._waiting:
                    return
                batch, written = self._begin()
        except OSError as error:
            self._on_failure(error)
