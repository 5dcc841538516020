"""Assignments from acceptance to the last verdict, in virtual time: the test plays leader and supervisor."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from cortex.v1 import types_pb2 as t
from cortex.v1 import worker_pb2 as w
from node.worker.executors.port import CannotPrepare
from node.worker.executors.shell import ShellExecutor
from node.worker.port import Finished, Started
from tests.node.test_worker_session import now_s, play
from tests.node.worker_kit import (
    SUCCESS,
    Kit,
    assignment,
    key,
    kinds,
    verdict,
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


def test_what_can_run_here_later_is_put_off_without_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = CannotPrepare("Come back later.", t.CAUSE_RATE_LIMITED, 5_000)
    monkeypatch.setattr(ShellExecutor, "prepare", Mock(side_effect=later))

    async def scene(kit: Kit) -> None:
        side = await kit.session()
        await side.assign(assignment())
        (report,) = (await side.next("reports")).reports
        ended = report.ended
        assert (ended.cause, ended.error, ended.retry_after_ms) == (t.CAUSE_RATE_LIMITED, str(later), 5_000)
        assert not ended.result.started_at_us
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
        assert took_s / 0.040 * 0.8 <= batches <= took_s / 0.040 + 3
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
        (replace(SUCCESS, cause=t.CAUSE_OUT_OF_MEMORY, exit_code=-1, signal=9), "since memory ran out"),
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
