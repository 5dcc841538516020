"""A daemon, a machine, a supervisor and a disk that fail, in virtual time: what is adopted, lost, kept or waits."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.env import RealFile
from node.worker.executors.service import ServiceExecutor
from node.worker.port import Finished, HeldState, Started, StopOrder
from tests.node.leader_kit import virtual
from tests.node.test_worker_session import now_s, play
from tests.node.worker_kit import (
    SETUP,
    SUCCESS,
    FakeSupervisor,
    Kit,
    assignment,
    held,
    key,
    kinds,
    verdict,
    working,
)

CANCEL = t.CAUSE_CANCEL


def restart(
    folder: Path, supervisor: FakeSupervisor, before: list[w.Assignment]
) -> tuple[FakeSupervisor, list[object]]:
    """Accept `before`, lose the daemon, start it again with `supervisor`: what it reports in its first second."""

    async def first() -> None:
        kit = Kit(folder)
        await kit.worker.start()
        side = await kit.session()
        await side.assign(*before)
        await kit.ordered(*(key(each.task, each.fence) for each in before))
        if any(each.name == "start known" for each in before):
            for each in before:
                kit.supervisor.emit(Started(key(each.task, each.fence), 7, 5))
            await side.reports(len(before))
            await asyncio.sleep(1)
        await kit.worker.runner.ledger.sync()
        # killed: nothing is stopped in order

    async def second() -> list[object]:
        async with working(folder, supervisor=supervisor) as kit:
            side = await kit.session()
            found: list[object] = []
            for message in await side.within(1.0):
                if message.HasField("reports"):
                    found += kinds(message.reports)
            return found

    virtual(first)
    return supervisor, virtual(second)


def test_restarted_daemon_adopts(tmp_path: Path) -> None:
    names = ("runs", "waits", "ended", "lost", "unknown")
    attempts = [
        held(HeldState.RUNNING, "runs"),
        held(HeldState.WAITING, "waits"),
        held(HeldState.ENDED, "ended"),
        held(HeldState.LOST, "lost"),
        held(HeldState.RUNNING, "foreign"),
    ]
    supervisor, found = restart(tmp_path, FakeSupervisor(attempts), [assignment(name) for name in names])
    assert sorted(found) == [("ended", key("ended")), ("lost", key("lost")), ("started", key("runs"))]  # type: ignore[type-var]
    # never started in this boot: it is ordered again
    assert set(supervisor.orders) == {key("unknown")}
    assert key("foreign") in supervisor.forgotten


def test_a_driver_that_ended_meanwhile_is_heard_and_leaves_nothing(tmp_path: Path) -> None:
    parts: dict[str, Any] = {"executors": [ServiceExecutor(SETUP)]}

    async def first() -> Path:
        kit = Kit(tmp_path, **parts)
        await kit.worker.start()
        side = await kit.session()
        await side.assign(assignment(type=t.TASK_TYPE_SERVICE))
        order = await kit.ordered(key())
        await kit.worker.runner.ledger.sync()
        return Path(os.fsdecode(order.env[b"CORTEX_VERDICT"]))

    async def second() -> w.Ended:
        supervisor = FakeSupervisor([held(HeldState.ENDED)])
        async with working(tmp_path, supervisor=supervisor, **parts) as kit:
            side = await kit.session()
            batch = await side.next("reports")
            await side.send(reports_ack=w.ReportsAck(number=batch.number))
            await kit.until(lambda: not list((tmp_path / "exchange").iterdir()))
            ended: w.Ended = batch.reports[0].ended
            return ended

    virtual(first).write_text('{"cause": "rate_limited", "error": "Later."}')
    ended = virtual(second)
    assert (ended.cause, ended.error) == (t.CAUSE_RATE_LIMITED, "Later.")


def test_after_a_reboot_everything_accepted_counts_as_started(tmp_path: Path) -> None:
    attempts = [held(HeldState.ENDED, "ended"), held(HeldState.LOST, "lost")]
    supervisor = FakeSupervisor(attempts, boot_id="boot-2")
    _, found = restart(tmp_path, supervisor, [assignment(name) for name in ("ended", "lost", "accepted")])
    assert sorted(found) == [("ended", key("ended")), ("lost", key("accepted")), ("lost", key("lost"))]  # type: ignore[type-var]
    assert not supervisor.orders


def test_what_the_leader_knows_as_started_is_never_started_again(tmp_path: Path) -> None:
    before = assignment()
    before.name = "start known"
    supervisor, found = restart(tmp_path, FakeSupervisor(), [before])
    assert found == [("lost", key())]
    assert not supervisor.orders


def test_after_a_restart_hold_waits_for_its_leader_as_well(tmp_path: Path) -> None:
    """Its fence may have been burnt meanwhile: a cancelled command must not start."""
    hold = assignment(lease_ms=0, on_lost=t.ON_LOST_HOLD)

    async def first() -> None:
        kit = Kit(tmp_path)
        await kit.worker.start()
        side = await kit.session()
        await side.assign(hold)
        await kit.ordered(key())
        await kit.worker.runner.ledger.sync()

    async def second() -> None:
        async with working(tmp_path) as kit:
            assert kit.supervisor.ends[key()] == 0
            await kit.session()
            await kit.until(lambda: kit.supervisor.ends[key()] == -1)

    async def third() -> None:
        async with working(tmp_path) as kit:
            await kit.session(verdicts=[verdict(w.VERDICT_KIND_KILL)])
            await kit.until(lambda: key() in kit.supervisor.forgotten)
            assert kit.supervisor.ends[key()] == 0

    virtual(first)
    virtual(second)
    virtual(third)


def test_numbers_of_reports_go_on_after_a_restart(tmp_path: Path) -> None:
    async def life(name: str, acknowledge: bool) -> list[int]:
        async with working(tmp_path) as kit:
            side = await kit.session()
            await side.assign(assignment(name))
            await kit.ordered(key(name))
            kit.supervisor.emit(Finished(key(name), SUCCESS))
            numbers = []
            while True:
                batch = await side.next("reports")
                numbers.append(batch.number)
                if acknowledge:
                    await side.send(reports_ack=w.ReportsAck(number=batch.number))
                if ("ended", key(name)) in kinds(batch):
                    await asyncio.sleep(0.1)
                    return numbers

    (first,) = virtual(lambda: life("a", True))
    (second,) = virtual(lambda: life("b", False))
    again, third = virtual(lambda: life("c", True))
    (fourth,) = virtual(lambda: life("d", True))
    assert first < second == again < third < fourth


def test_an_end_does_not_wait_for_the_disk_but_a_return_does(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment("ends"), assignment("returns"))
        await kit.ordered(key("ends"), key("returns"))
        kit.disk.stalled = True
        kit.supervisor.emit(Finished(key("ends"), SUCCESS))
        assert kinds(await side.next("reports")) == [("ended", key("ends"))]
        await side.send(recall=w.Recall(fences=[10], tasks=["returns"]))
        await kit.until(lambda: kit.supervisor.recalled)
        kit.supervisor.returned(key("returns"))
        assert not [message for message in await side.within(1) if message.HasField("reports")]
        assert kit.supervisor.forgotten == []
        kit.disk.stalled = False
        assert kinds(await side.next("reports")) == [("recalled", key("returns"))]
        await kit.until(lambda: key("ends") in kit.supervisor.forgotten)

    play(tmp_path, scene)


@pytest.mark.parametrize("lease_ms", [30_000, 0], ids=["leased", "held"])
def test_an_acknowledged_end_that_the_ledger_lost_begins_nothing_again(tmp_path: Path, lease_ms: int) -> None:
    """Killed before the fsync that it was spared, it knows only that it accepted; its supervisor knows nothing."""
    given = assignment("t1", 10, lease_ms, on_lost=t.ON_LOST_REQUEUE if lease_ms else t.ON_LOST_HOLD)

    async def first() -> None:
        kit = Kit(tmp_path)
        await kit.worker.start()
        side = await kit.session()
        await side.assign(given)
        await kit.ordered(key("t1", 10))
        kit.supervisor.start_and_finish(key("t1", 10))
        assert await side.reports(2) == [("started", key("t1", 10)), ("ended", key("t1", 10))]
        await kit.until(lambda: kit.supervisor.forgotten == [key("t1", 10)])

    async def second() -> None:
        async with working(tmp_path) as kit:
            side = await kit.link.accept()
            assert [item.state for item in side.hello.inventory] == [w.ATTEMPT_STATE_ACCEPTED]
            await asyncio.sleep(5)
            assert list(kit.supervisor.ends.values()) == [0], "it has no lease to start under"
            await side.welcome([verdict(w.VERDICT_KIND_KILL, "t1", 10)])
            await side.ack(0)
            await kit.until(lambda: kit.supervisor.forgotten == [key("t1", 10)])
            await asyncio.sleep(5)
            assert kit.supervisor.leases == {}

    virtual(first)
    virtual(second)


def test_reconnected_supervisor_is_told_again_what_it_may_have_missed(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment("runs"), assignment("waits"), assignment("missed"))
        await kit.ordered(key("runs"), key("waits"), key("missed"))
        kit.supervisor.emit(Started(key("runs"), 7, 5))
        stops = [w.StopItem(task="runs", fence=10, cause=CANCEL, kill_timeout_ms=9)]
        await side.send(
            recall=w.Recall(fences=[10], tasks=["waits"]),
        )
        await side.send(stop=w.Stop(items=stops))
        await kit.until(lambda: kit.supervisor.stops and kit.supervisor.recalled)
        kit.supervisor.stops.clear()
        kit.supervisor.recalled.clear()
        kit.supervisor.orders.clear()
        kit.supervisor.ends.clear()
        kit.supervisor.attempts = [held(HeldState.RUNNING, "runs"), held(HeldState.WAITING, "waits")]
        kit.supervisor.connect()
        assert kit.supervisor.stops == [StopOrder(key("runs"), CANCEL, 9_000)]
        assert kit.supervisor.recalled == [key("waits")]
        assert set(kit.supervisor.orders) == {key("missed")}
        assert set(kit.supervisor.ends) == {key("runs"), key("waits"), key("missed")}

    play(tmp_path, scene)


def test_supervisor_that_lost_what_ran(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment("a"), assignment("b"))
        await kit.ordered(key("a"), key("b"))
        kit.supervisor.emit(Started(key("a"), 7, 5), Started(key("b"), 7, 5))
        await side.reports(2)
        kit.supervisor.attempts = [held(HeldState.LOST, "a")]
        kit.supervisor.connect()
        batch = await side.next("reports")
        assert sorted(kinds(batch)) == [("lost", key("a")), ("lost", key("b"))]
        assert all(report.lost.reason for report in batch.reports)
        await kit.until(lambda: kit.supervisor.forgotten == [key("a")])

    play(tmp_path, scene)


def test_a_failed_fsync_ends_the_worker_and_starts_nothing(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment("fine"))
        await kit.ordered(key("fine"))
        kit.disk.broken = True
        await side.assign(assignment("bad"))
        await kit.until(lambda: kit.failures)
        assert "Input/output error" in str(kit.failures[0])
        kit.disk.broken = False  # what failed once is never trusted again
        kit.supervisor.emit(Finished(key("fine"), SUCCESS))
        await side.assign(assignment("later"))
        await asyncio.sleep(1)
        assert set(kit.supervisor.orders) == {key("fine")}
        assert kit.supervisor.forgotten == []

    play(tmp_path, scene)


def test_a_full_disk_makes_tasks_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = False
    preallocate = RealFile.preallocate

    def maybe(file: RealFile, size: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        preallocate(file, size)

    monkeypatch.setattr(RealFile, "preallocate", maybe)

    async def scene(kit: Kit) -> None:
        nonlocal full
        side = await kit.session()
        full = True
        await side.assign(assignment())
        await asyncio.sleep(30)
        assert not kit.supervisor.orders
        assert not kit.failures
        full = False
        await kit.ordered(key())
        kit.supervisor.start_and_finish(key())
        assert await side.reports(2) == [("started", key()), ("ended", key())]

    play(tmp_path, scene)


def test_a_full_disk_does_not_keep_it_from_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(file: RealFile, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def scene(kit: Kit) -> None:
        side = await kit.session()
        monkeypatch.setattr(RealFile, "preallocate", never)
        await side.assign(assignment())
        await asyncio.sleep(1)
        begun_s = now_s()
        await kit.worker.stop()
        assert now_s() - begun_s < 10
        assert not kit.failures

    play(tmp_path, scene)
