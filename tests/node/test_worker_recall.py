"""What is given back, and what is stopped, in virtual time: the test plays leader and supervisor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.worker.port import Finished, Started, StopOrder
from tests.node.test_worker_session import play
from tests.node.worker_kit import (
    SUCCESS,
    Kit,
    assignment,
    key,
    verdict,
)

CANCEL = t.CAUSE_CANCEL


def test_recall_gives_back_what_has_not_started(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment("waits"), assignment("runs"), assignment("begins"))
        await kit.ordered(key("waits"), key("runs"), key("begins"))
        kit.supervisor.emit(Started(key("runs"), 7, 5))
        await side.reports(1)
        await side.send(recall=w.Recall(fences=[10]))
        await kit.until(lambda: set(kit.supervisor.recalled) == {key("waits"), key("begins")})
        kit.supervisor.returned(key("waits"))
        assert await side.reports(1) == [("recalled", key("waits"))]
        kit.supervisor.emit(Started(key("begins"), 8, 5))
        kit.supervisor.returned(key("begins"), never_started=False)
        assert await side.reports(1) == [("started", key("begins"))]

    play(tmp_path, scene)


def test_recall_in_the_middle_of_acceptance(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment())
        await side.send(recall=w.Recall(fences=[10], tasks=["t1"]))
        assert await side.reports(1) == [("recalled", key())]
        assert not kit.supervisor.orders

    play(tmp_path, scene)


def test_a_refused_return_runs_after_all(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment())
        await kit.ordered(key())
        await side.send(recall=w.Recall(fences=[10]))
        await kit.until(lambda: kit.supervisor.recalled)
        kit.supervisor.returned(key())
        batch = await side.next("reports")
        keep = verdict(w.VERDICT_KIND_KEEP)
        await side.send(reports_ack=w.ReportsAck(number=batch.number, verdicts=[keep]))
        await kit.ordered(key())
        kit.supervisor.start_and_finish(key())
        assert await side.reports(2) == [("started", key()), ("ended", key())]

    play(tmp_path, scene)


def test_keep_in_a_welcome_does_not_run_what_was_given_back(tmp_path: Path) -> None:
    """Its return is sent again, and would be committed beside the run."""

    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment())
        await kit.ordered(key())
        await side.send(recall=w.Recall(fences=[10]))
        await kit.until(lambda: kit.supervisor.recalled)
        kit.supervisor.returned(key())
        await side.next("reports")
        await side.stream.close()
        side = await kit.link.accept()
        assert side.hello.inventory[0].state == w.ATTEMPT_STATE_ACCEPTED
        await side.welcome([verdict(w.VERDICT_KIND_KEEP)])
        assert await side.reports(1) == [("recalled", key())]
        assert not kit.supervisor.orders

    play(tmp_path, scene)


def test_cancel_of_what_runs_and_of_what_waits(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment("runs"), assignment("waits"), assignment("moves"))
        await kit.ordered(key("runs"), key("waits"), key("moves"))
        kit.supervisor.emit(Started(key("runs"), 7, 5))
        await side.reports(1)
        items = [
            w.StopItem(task="runs", fence=10, cause=CANCEL, kill_timeout_ms=700),
            w.StopItem(task="waits", fence=10, cause=CANCEL),
            w.StopItem(task="moves", fence=10, cause=t.CAUSE_MIGRATE),
            w.StopItem(task="unknown", fence=10, cause=CANCEL),
        ]
        await side.send(stop=w.Stop(items=items))
        await kit.until(lambda: len(kit.supervisor.stops) == 3)
        assert kit.supervisor.stops[0] == StopOrder(key("runs"), CANCEL, 700_000)
        kit.supervisor.returned(key("waits"))
        kit.supervisor.returned(key("moves"))
        kit.supervisor.emit(Finished(key("runs"), replace(SUCCESS, cause=CANCEL, exit_code=-1, signal=15)))
        reports = []
        while len(reports) < 3:
            reports += (await side.next("reports")).reports
        by_task = {(getattr(r, r.WhichOneof("kind"))).task: r for r in reports}
        assert by_task["waits"].ended.cause == CANCEL
        assert by_task["waits"].ended.error == "The task was cancelled before it started."
        assert by_task["moves"].HasField("recalled")
        assert by_task["runs"].ended.cause == CANCEL
        assert by_task["runs"].ended.result.signal == 15
        assert "signal 15 (SIGTERM)" in by_task["runs"].ended.error

    play(tmp_path, scene)
