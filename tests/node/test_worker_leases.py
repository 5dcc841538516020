"""Leases, notices and recovery epochs as a worker keeps them, in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.worker.port import Lease, Quiet, Started, Unkillable
from tests.node.leader_kit import virtual
from tests.node.test_worker_session import now_s, play
from tests.node.worker_kit import Kit, assignment, key, verdict, working


def hold() -> w.Assignment:
    made = assignment(lease_ms=0, on_lost=t.ON_LOST_HOLD)
    made.start_before_ms = 30_000
    return made


def test_hold_does_not_start_long_after_the_cluster_was_last_heard_of(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        hello_us = side.hello.boot_us
        await asyncio.sleep(7)
        await side.assign(hold())
        order = await kit.ordered(key())
        assert (order.lease_end_us, order.start_before_us) == (-1, hello_us + 30_000_000)
        renewal = await side.next("renewal")
        await side.ack(renewal.number)
        later = Lease(-1, renewal.sent_boot_us + 30_000_000)
        await kit.until(lambda: kit.supervisor.leases.get(key()) == later)
        kit.supervisor.emit(Started(key(), 7, 5))
        renewal = await side.next("renewal")
        await side.ack(renewal.number)
        await asyncio.sleep(1)
        assert kit.supervisor.leases[key()] == later, "what runs needs no further leave"

    play(tmp_path, scene)


def test_hold_before_any_acknowledgement_waits_for_one(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session(acknowledged=False)
        await side.assign(hold())
        order = await kit.ordered(key())
        assert order.lease_end_us == 0, "not yet, whatever its slots"
        renewal = await side.next("renewal")
        await side.ack(renewal.number)
        await kit.until(lambda: kit.supervisor.leases.get(key()) == Lease(-1, renewal.sent_boot_us + 30_000_000))

    play(tmp_path, scene)


def test_a_lowered_lease_ends_none_that_was_given(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment(kill_timeout_ms=5_000))
        given_us = (await kit.ordered(key())).lease_end_us
        renewal = await side.next("renewal")
        await side.ack(renewal.number, lease_ms=6_000)
        await asyncio.sleep(1)
        assert kit.supervisor.ends[key()] == given_us, "an end never comes nearer"
        await asyncio.sleep(9)
        renewal = await side.next("renewal")
        await side.ack(renewal.number, lease_ms=6_000)
        end_us = renewal.sent_boot_us + 15_000_000
        await kit.until(lambda: kit.supervisor.ends[key()] == max(end_us, given_us))
        for _ in range(3):
            renewal = await side.next("renewal")
            await side.ack(renewal.number, lease_ms=6_000)
        end_us = renewal.sent_boot_us + 15_000_000
        await kit.until(lambda: kit.supervisor.ends[key()] == end_us)

    play(tmp_path, scene)


def test_the_pace_of_renewals_follows_the_cluster(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        renewal = await side.next("renewal")
        await side.send(renewal_ack=w.RenewalAck(number=renewal.number, lease_ms=6_000, renew_ms=2_000))
        before_s = now_s()
        renewal = await side.next("renewal")
        assert now_s() - before_s < 2.1

    play(tmp_path, scene)


def test_notices_are_reported_and_end_nothing(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment(stall_after_ms=60_000, idle_timeout_ms=30_000))
        order = await kit.ordered(key())
        assert (order.stall_us, order.idle_us) == (60_000_000, 30_000_000)
        kit.supervisor.emit(Started(key(), 7, 5))
        assert await side.reports() == [("started", key())]
        kit.supervisor.emit(Quiet(key(), 30_000_001, idle=True))
        batch = await side.next("reports")
        (report,) = batch.reports
        assert (report.stalled.quiet_us, report.stalled.idle) == (30_000_001, True)
        await side.send(reports_ack=w.ReportsAck(number=batch.number))
        kit.supervisor.emit(Unkillable(key(), "Process group 7 outlived KILL by 60 s."))
        assert await side.reports() == [("unkillable", key())]
        assert kit.worker.runner.attempts.running == 1
        assert key() not in kit.supervisor.forgotten
        kit.supervisor.start_and_finish(key())
        assert await side.reports() == [("ended", key())]

    play(tmp_path, scene)


def test_a_notice_about_what_stands_no_more_ends_it(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment())
        await kit.ordered(key())
        kit.supervisor.emit(Started(key(), 7, 5), Quiet(key(), 1, idle=False))
        batch = await side.next("reports")
        await side.send(reports_ack=w.ReportsAck(number=batch.number, verdicts=[verdict(w.VERDICT_KIND_KILL)]))
        await kit.until(lambda: key() in kit.supervisor.forgotten)

    play(tmp_path, scene)


def test_a_recovery_of_the_cluster_is_remembered(tmp_path: Path) -> None:
    async def first() -> None:
        async with working(tmp_path) as kit:
            side = await kit.session(recovery_epoch=2)
            assert side.hello.recovery_epoch == 0
            await side.assign(assignment())
            await kit.ordered(key())
            await kit.worker.runner.ledger.sync()

    async def second() -> None:
        async with working(tmp_path) as kit:
            side = await kit.session(recovery_epoch=1)
            assert side.hello.recovery_epoch == 2
            side = await kit.session(recovery_epoch=2)
            await side.assign(assignment("t2"))
            await kit.ordered(key("t2"))
            assert len(kit.link.tries) >= 2, "a cluster from before the recovery was left"

    virtual(first)
    virtual(second)
