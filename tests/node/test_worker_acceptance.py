"""Assignments become durable before they start: those that wait together by one write, begun when they come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from node.worker.acceptance import Acceptances
from node.worker.attempts import Attempt, State
from node.worker.ledger import Ledger
from tests.node.leader_kit import virtual
from tests.node.worker_kit import assignment, key, make_env


class Watched:
    """A ledger whose writes are counted, each as what was durable by its end, and what was admitted."""

    def __init__(self, folder: Path, error: OSError | None = None) -> None:
        self.ledger = Ledger(make_env(folder))
        self.acceptances = Acceptances(self.ledger, self._admit, self._fail)
        self.writes: list[int] = []
        self.admitted: list[tuple[int, list[str]]] = []
        self.failures: list[BaseException] = []
        self._error = error

    async def open(self) -> None:
        await self.ledger.open()
        inner = self.ledger._write

        def write(records: bytes) -> None:
            if self._error is not None:
                raise self._error
            inner(records)
            self.writes.append(len(records))

        self.ledger._write = write  # type: ignore[method-assign]

    def take(self, *names: str) -> None:
        self.acceptances.take([Attempt(assignment(name), key(name), "boot", State.ACCEPTING) for name in names])

    def _admit(self, attempts: Sequence[Attempt]) -> None:
        self.admitted.append((len(self.writes), [attempt.key.task for attempt in attempts]))

    def _fail(self, error: BaseException) -> None:
        self.failures.append(error)


def test_what_comes_together_starts_after_one_write_and_what_comes_meanwhile_after_the_next(tmp_path: Path) -> None:
    async def main() -> None:
        kit = Watched(tmp_path)
        await kit.open()
        kit.take("a", "b")
        await asyncio.sleep(0)  # the first write is under way
        kit.take("c")
        kit.take("d")
        await kit.acceptances.ended()
        assert kit.admitted == [(1, ["a", "b"]), (2, ["c", "d"])]
        kit.take()
        await kit.acceptances.ended()
        assert len(kit.writes) == 2
        await kit.ledger.close()

    virtual(main)


def test_a_disk_that_fails_starts_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        error = OSError(5, "no")
        kit = Watched(tmp_path, error)
        await kit.open()
        kit.take("a")
        await kit.acceptances.ended()
        kit.take("b")
        await kit.acceptances.ended()
        assert kit.failures == [error, error]
        assert kit.admitted == []
        await kit.ledger.close()

    virtual(main)
