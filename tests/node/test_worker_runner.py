"""Assignments from acceptance to the last verdict, in virtual time: the test plays leader and supervisor."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from pathlib import Path

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.env import RealFile
from node.worker.port import Finished, HeldState, Started, StopOrder
from tests.node.leader_kit import virtual
from tests.node.test_worker_session import now_s, play
from tests.node.worker_kit import (
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


def test_order_carries_the_spec(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        spec = assignment(
            "T/1",
            12,
            argv=[b"a", b"\xff"],
            cwd="/tmp",
            env=[t.EnvVar(name="A", value=b"\xfe"), t.EnvVar(name="CORTEX_TASK", value=b"forged")],
            timeout_ms=1500,
            kill_timeout_ms=2500,
            success_codes=[3],
        )
        spec.attempt, spec.run, spec.priority = 2, 4, 9
        await side.assign(spec)
        order = await kit.ordered(key("T/1", 12))
        assert order.argv == [b"a", b"\xff"]
        assert order.env[b"A"] == b"\xfe"
        names = ("CORTEX_TASK", "CORTEX_FENCE", "CORTEX_ATTEMPT", "CORTEX_RUN")
        assert [order.env[name.encode()] for name in names] == [b"T/1", b"12", b"2", b"4"]
        assert (order.cwd, order.priority, order.created_us) == ("/tmp", 9, 1)
        assert (order.timeout_us, order.kill_timeout_us, order.success_codes) == (1_500_000, 2_500_000, (3,))
        assert order.kind == t.TASK_TYPE_SHELL
        assert "/T/" not in order.output
        assert kit.supervisor.slots == {t.TASK_TYPE_SHELL: 2}

    play(tmp_path, scene)


def test_shell_string_goes_to_sh(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment(argv=[], shell_command=b"echo $A"))
        assert (await kit.ordered(key())).argv == [b"/bin/sh", b"-c", b"echo $A"]

    play(tmp_path, scene)


def test_what_no_executor_takes_cannot_start(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment("none", argv=[]), assignment("box", type=t.TASK_TYPE_CONTAINER))
        for _ in range(2):
            batch = await side.next("reports")
            for report in batch.reports:
                assert report.ended.cause == t.CAUSE_CANNOT_START
                assert report.ended.error.endswith((".", "one."))
                assert not report.ended.result.HasField("exit_code")
            if len(batch.reports) == 2:
                break
        assert not kit.supervisor.orders

    play(tmp_path, scene)


def test_started_travels_with_an_end_that_follows_at_once(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment())
        await kit.ordered(key())
        at_s = now_s()
        kit.supervisor.emit(Started(key(), 7, 5))
        await asyncio.sleep(0.001)
        kit.supervisor.emit(Finished(key(), SUCCESS))
        batch = await side.next("reports")
        assert now_s() - at_s < 0.003
        assert kinds(batch) == [("started", key()), ("ended", key())]
        ended = batch.reports[1].ended
        assert (ended.cause, ended.error, ended.result.exit_code) == (0, "", 0)

    play(tmp_path, scene)


def test_a_start_is_told_soon(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment())
        await kit.ordered(key())
        at_s = now_s()
        kit.supervisor.emit(Started(key(), 7, 5))
        assert kinds(await side.next("reports")) == [("started", key())]
        assert 0.002 <= now_s() - at_s < 0.004
        at_s = now_s()
        kit.supervisor.emit(Finished(key(), SUCCESS))
        await side.next("reports")
        assert now_s() - at_s < 0.002

    play(tmp_path, scene)


def test_reports_gather_while_busy(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        keys = [key(f"t{number}", 3) for number in range(200)]
        await side.assign(*(assignment(each.task, 3) for each in keys))
        await kit.ordered(*keys)
        begun_s = now_s()
        for each in keys:
            kit.supervisor.start_and_finish(each)
            await asyncio.sleep(0.001)
        took_s = now_s() - begun_s
        found: list[object] = []
        batches = 0
        while len(found) < 400:
            found += kinds(await side.next("reports"))
            batches += 1
        assert took_s / 0.020 * 0.8 <= batches <= took_s / 0.020 + 3
        assert sorted(found) == sorted((kind, each) for each in keys for kind in ("started", "ended"))  # type: ignore[type-var]

    play(tmp_path, scene)


def test_large_reports_travel_in_bounded_batches(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        keys = [key(f"t{number}", 3) for number in range(200)]
        await side.assign(*(assignment(each.task, 3) for each in keys))
        await kit.ordered(*keys)
        big = replace(SUCCESS, stdout=SUCCESS.stdout._replace(head=b"x" * 16_000))
        kit.supervisor.emit(*(Finished(each, big) for each in keys))
        found = 0
        while found < 200:
            batch = await side.next("reports")
            assert batch.ByteSize() < 1_200_000
            found += len(batch.reports)

    play(tmp_path, scene)


def test_same_fence_names_two_attempts(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment("a", 5), assignment("b", 5))
        await kit.ordered(key("a", 5), key("b", 5))
        kit.supervisor.emit(Finished(key("a", 5), SUCCESS))
        assert await side.reports(1) == [("ended", key("a", 5))]
        await side.send(recall=w.Recall(fences=[5], tasks=["b"]))
        await kit.until(lambda: kit.supervisor.recalled == [key("b", 5)])

    play(tmp_path, scene)


def test_repeated_assignment_runs_once(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        for _ in range(3):
            await side.assign(assignment(), assignment())
        await kit.ordered(key())  # the fake refuses a second order
        kit.supervisor.start_and_finish(key())
        await side.assign(assignment())
        assert await side.reports(2) == [("started", key()), ("ended", key())]

    play(tmp_path, scene)


def test_results_are_kept_until_they_are_durable_here(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment())
        await kit.ordered(key())
        kit.supervisor.emit(Finished(key(), SUCCESS))
        await asyncio.sleep(0)
        assert kit.supervisor.forgotten == []
        batch = await side.next("reports")
        await kit.until(lambda: kit.supervisor.forgotten == [key()])
        await side.send(reports_ack=w.ReportsAck(number=batch.number))
        await kit.until(lambda: key() not in kit.worker.runner.attempts)

    play(tmp_path, scene)


def test_unacknowledged_reports_are_sent_again_in_order(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment("a"), assignment("b"), assignment("c"))
        await kit.ordered(key("a"), key("b"), key("c"))
        numbers = []
        for name in ("a", "b"):
            kit.supervisor.emit(Finished(key(name), SUCCESS))
            numbers.append((await side.next("reports")).number)
        await side.send(reports_ack=w.ReportsAck(number=numbers[0]))
        await kit.until(lambda: key("a") not in kit.worker.runner.attempts)
        await side.stream.close()
        kit.supervisor.emit(Finished(key("c"), SUCCESS))
        side = await kit.session()
        states = {item.task: item.state for item in side.hello.inventory}
        assert states == {"b": w.ATTEMPT_STATE_ENDED, "c": w.ATTEMPT_STATE_ENDED}
        again = [await side.next("reports"), await side.next("reports")]
        assert [batch.number for batch in again] == [numbers[1], numbers[1] + 1]
        assert [kinds(batch) for batch in again] == [[("ended", key("b"))], [("ended", key("c"))]]

    play(tmp_path, scene)


def test_inventory_lists_states_and_verdicts_are_obeyed(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        names = ("kept", "killed", "waits", "ended", "dead")
        await side.assign(*(assignment(name) for name in names))
        await kit.ordered(*(key(name) for name in names))
        kit.supervisor.emit(Started(key("kept"), 7, 5), Started(key("killed"), 8, 5))
        kit.supervisor.emit(Finished(key("ended"), SUCCESS), Finished(key("dead"), SUCCESS))
        await side.next("reports")
        await kit.until(lambda: len(kit.supervisor.forgotten) == 2)
        await side.stream.close()
        side = await kit.link.accept()
        assert {item.task: item.state for item in side.hello.inventory} == {
            "kept": w.ATTEMPT_STATE_RUNNING,
            "killed": w.ATTEMPT_STATE_RUNNING,
            "waits": w.ATTEMPT_STATE_ACCEPTED,
            "ended": w.ATTEMPT_STATE_ENDED,
            "dead": w.ATTEMPT_STATE_ENDED,
        }
        kit.supervisor.forgotten.clear()
        await side.welcome(
            [
                verdict(w.VERDICT_KIND_KEEP, "kept"),
                verdict(w.VERDICT_KIND_KILL, "killed"),
                verdict(w.VERDICT_KIND_KILL, "waits"),
                verdict(w.VERDICT_KIND_KEEP, "ended"),
                verdict(w.VERDICT_KIND_RECORDED, "dead"),
                verdict(w.VERDICT_KIND_KILL, "unknown"),
            ]
        )
        await kit.until(lambda: kit.supervisor.forgotten)
        assert set(kit.supervisor.forgotten) == {key("killed"), key("waits")}
        left = {attempt.key.task for attempt in kit.worker.runner.attempts}
        assert left == {"kept", "ended"}

    play(tmp_path, scene)


def test_verdicts_on_reports(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment("a"), assignment("b"))
        await kit.ordered(key("a"), key("b"))
        kit.supervisor.emit(Started(key("a"), 7, 5))
        batch = await side.next("reports")
        kill = verdict(w.VERDICT_KIND_KILL, "a")
        await side.send(reports_ack=w.ReportsAck(number=batch.number, verdicts=[kill]))
        await kit.until(lambda: key("a") in kit.supervisor.forgotten)
        kit.supervisor.emit(Finished(key("b"), SUCCESS))
        batch = await side.next("reports")
        recorded = verdict(w.VERDICT_KIND_RECORDED, "b")
        await side.send(reports_ack=w.ReportsAck(number=batch.number, verdicts=[recorded]))
        await kit.until(lambda: not list(kit.worker.runner.attempts))

    play(tmp_path, scene)


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


def test_noop_ends_at_once_without_a_supervisor(tmp_path: Path) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(*(assignment(f"n{n}", 3, type=t.TASK_TYPE_NOOP, argv=[]) for n in range(5000)))
        found = await side.reports(5000)
        assert {kind for kind, _ in found} == {"ended"}
        assert len(set(found)) == 5000
        assert not kit.supervisor.orders
        await kit.until(lambda: not list(kit.worker.runner.attempts))

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (replace(SUCCESS, cause=t.CAUSE_EXIT, exit_code=7), "The command ended with exit code 7."),
        (replace(SUCCESS, cause=t.CAUSE_SIGNAL, exit_code=-1, signal=9), "by signal 9 (SIGKILL), which Cortex did"),
        (replace(SUCCESS, cause=t.CAUSE_TIMEOUT, exit_code=-1, signal=15), "longer than its timeout of 1.5 s"),
        (replace(SUCCESS, cause=t.CAUSE_LEASE, exit_code=-1, signal=15), "lost touch with the cluster"),
        (replace(SUCCESS, cause=t.CAUSE_CANNOT_START, error="No. Do.", exit_code=-1), "No. Do."),
    ],
)
def test_an_end_says_what_happened(tmp_path: Path, result: Finished, sentence: str) -> None:
    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment(timeout_ms=1500))
        await kit.ordered(key())
        kit.supervisor.emit(Finished(key(), result))  # type: ignore[arg-type]
        ended = (await side.next("reports")).reports[0].ended
        assert sentence in ended.error
        assert ended.result.HasField("exit_code") == (ended.result.signal == 0 and ended.cause == t.CAUSE_EXIT)

    play(tmp_path, scene)


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
