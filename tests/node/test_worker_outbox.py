"""Reports on their way out: what is worth an fsync of the ledger, and what its acknowledgement makes needless."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cortex.v1 import worker_pb2 as w
from node.worker.ledger import Ledger
from node.worker.outbox import Outbox
from tests.node.leader_kit import virtual
from tests.node.worker_kit import assignment, key, make_env

ENDED = w.Report(ended=w.Ended(task="a", fence=10))
STARTED = w.Report(started=w.Started(task="a", fence=10))
RECALLED = w.Report(recalled=w.Recalled(task="a", fence=10))


class Scene:
    """An outbox over a ledger whose fsyncs are counted."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.sent: list[w.Reports] = []
        self.durable: list[w.Reports] = []
        self.syncs = 0
        self.outbox = Outbox(ledger, self.sent.append, self.durable.append, lambda: True, self._fail)
        self._sync = ledger.sync
        ledger.sync = self._counted  # type: ignore[method-assign]

    async def _counted(self) -> None:
        self.syncs += 1
        await self._sync()

    def _fail(self, error: BaseException) -> None:
        raise error

    async def report(self, *reports: w.Report) -> None:
        """Have these sent, or held, as one batch."""
        for report in reports:
            self.outbox.add(report)
        await asyncio.sleep(0.003)


def play(folder: Path, act: Callable[[Scene], object]) -> Scene:
    async def run() -> Scene:
        ledger = Ledger(make_env(folder))
        await ledger.open()
        ledger.accept(assignment("a", 10), "boot")
        await ledger.sync()
        scene = Scene(ledger)
        await act(scene)  # type: ignore[misc]
        await asyncio.sleep(1)
        await ledger.close()
        return scene

    return virtual(run)


def test_what_is_acknowledged_at_once_costs_no_fsync(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.report(STARTED, ENDED)
        scene.ledger.acknowledge(scene.sent[0].number)
        scene.ledger.forget([key("a", 10)])

    scene = play(tmp_path, act)
    assert len(scene.sent) == 1
    assert scene.syncs == 0
    assert scene.outbox.durable() == []


@pytest.mark.parametrize("reports", [(ENDED,), (STARTED,), (STARTED, ENDED)])
def test_what_nobody_acknowledges_is_made_durable(tmp_path: Path, reports: tuple[w.Report, ...]) -> None:
    async def act(scene: Scene) -> None:
        await scene.report(*reports)
        assert scene.outbox.durable() == []

    scene = play(tmp_path, act)
    assert scene.syncs == 1
    assert scene.durable == scene.sent == scene.outbox.durable()


def test_the_start_of_what_runs_on_is_made_durable_though_acknowledged(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        await scene.report(STARTED)
        scene.ledger.acknowledge(scene.sent[0].number)

    assert play(tmp_path, act).syncs == 1


def test_a_return_is_durable_before_it_is_sent(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        assert not scene.sent
        await scene.report(RECALLED)
        await asyncio.sleep(0)
        assert (scene.syncs, len(scene.sent)) == (1, 1)

    play(tmp_path, act)


def test_records_do_not_gather_without_end(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        big = w.Report(ended=w.Ended(task="direct", fence=11, error="x" * 300_000))
        for _ in range(8):
            await scene.report(big)
            scene.ledger.acknowledge(scene.sent[-1].number)
            await asyncio.sleep(0.1)
            assert not scene.ledger.is_behind

    assert play(tmp_path, act).syncs == 2


def test_a_number_is_not_given_again_however_few_writes_there_were(tmp_path: Path) -> None:
    numbers: list[int] = []

    async def act(scene: Scene) -> None:
        for _ in range(1_500):
            await scene.report(w.Report(ended=w.Ended(task="direct", fence=11)))
            scene.ledger.acknowledge(scene.sent[-1].number)
        numbers.append(scene.sent[-1].number)
        again = Ledger(make_env(tmp_path))
        await again.open()
        numbers.append(again.add_batch([ENDED]).number)
        await again.close()

    play(tmp_path, act)
    assert numbers[0] < numbers[1]
