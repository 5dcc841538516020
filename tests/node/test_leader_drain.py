"""A drain carried on by the leader, on virtual time: begun after the window, empty at the deadline, resumed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Cause, NodeState
from node.core.model import ASSIGNED, COMPLETED, DEAD_LETTER, QUEUED, RUNNING
from tests.node.drain_kit import DONE, Stage, once
from tests.node.leader_kit import ended, machine_node, recalled, shell, virtual


def test_after_the_undo_window_what_runs_moves_with_nothing_counted_and_the_node_is_drained() -> None:
    async def main() -> None:
        stage = await Stage().open(shell("a"), shell("b"))
        begun_s = stage.now_s()
        plan = await stage.drain()
        assert {move.task: move.to for move in plan.moves} == {"a": "n2", "b": "n2"}
        assert stage.node.state == NodeState.NODE_STATE_CORDONED
        stops = await stage.stopped()
        assert set(stops) == {"a", "b"}
        assert stops["a"] - begun_s == pytest.approx(10, abs=0.1)
        assert stage.node.state == NodeState.NODE_STATE_DRAINING
        await stage.end("a", "b")
        assert set(await stage.take(stage.n2, 2)) == {"a", "b"}
        await stage.reach(DONE)
        assert [(one.attempt, one.losses, one.run) for one in map(stage.task, "ab")] == [(0, 0, 1)] * 2
        assert stage.node.state == NodeState.NODE_STATE_DRAINED
        assert (stage.node.operation, stage.operation.actor) == ("", "ann")
        assert {move.task: move.actual for move in stage.operation.drain.moves} == {"a": "n2", "b": "n2"}
        assert stage.operation.outcome == "2 of 2 tasks landed where they were forecast"
        assert stage.operation.drain.took_ms < 1000
        await stage.stop()

    virtual(main)


@pytest.mark.parametrize("keep", [False, True])
def test_an_undone_drain_has_moved_nothing_and_restores_the_node(keep: bool) -> None:
    async def main() -> None:
        stage = await Stage().open(shell("a"))
        await stage.drain(keep_cordoned=keep)
        await asyncio.sleep(9)
        await stage.undo()
        expected = NodeState.NODE_STATE_CORDONED if keep else NodeState.NODE_STATE_ACTIVE
        assert (stage.node.state, stage.node.operation) == (expected, "")
        assert await stage.n1.quiet(20, "reports_ack", "renewal_ack") == []
        assert (stage.task("a").state, stage.task("a").migrate_requested) == (RUNNING, False)
        await stage.stop()

    virtual(main)


def test_what_has_not_started_is_asked_back_when_it_begins_not_before() -> None:
    async def main() -> None:
        stage = Stage()
        stage.n1 = await stage.connect(machine_node("n1", slots=1))
        await stage.cluster.submit(shell("a"))
        await stage.take(stage.n1, 1)
        assert stage.task("a").state == ASSIGNED
        begun_s = stage.now_s()
        await stage.drain()
        message = await stage.n1.next("recall")
        assert list(message.recall.tasks) == ["a"]
        assert stage.now_s() - begun_s == pytest.approx(10, abs=0.1)
        await stage.report(stage.n1, recalled(stage.given["a"]))
        await stage.reach(DONE)
        assert (stage.task("a").state, stage.task("a").attempt) == (QUEUED, 0)
        await stage.stop()

    virtual(main)


def test_at_most_max_parallel_leave_at_once() -> None:
    async def main() -> None:
        names = ["a", "b", "c", "d", "e"]
        stage = await Stage().open(*map(shell, names), slots=5, other=5)
        await stage.drain(window_s=0, max_parallel=2)
        gone: list[str] = []
        while len(gone) < 5:
            asked: list[str] = []
            while len(asked) < min(2, 5 - len(gone)):
                asked += await stage.stopped()
            assert len(asked) <= 2
            assert sum(stage.task(one).migrate_requested for one in names) <= 2
            assert await stage.n1.quiet(3, "reports_ack", "renewal_ack") == []
            await stage.end(*asked)
            gone += asked
            await stage.cluster.until(lambda: not any(stage.task(one).state == RUNNING for one in asked))  # noqa: B023
        await stage.reach(DONE)
        await stage.stop()

    virtual(main)


def test_the_machine_is_empty_at_the_deadline() -> None:
    """What may not move runs on, and is told to end one kill timeout before; then it is a dead letter."""

    async def main() -> None:
        stage = await Stage().open(once("slow", kill_timeout_ms=3000), once("quick"), shell("moves"))
        begun_s = stage.now_s()
        plan = await stage.drain(deadline_ms=60_000)
        assert {item.task: item.dead_letter for item in plan.stuck} == {"slow": True, "quick": True}
        assert set(await stage.stopped()) == {"moves"}
        await stage.end("moves")
        await stage.report(stage.n1, ended(stage.given["quick"]))
        await stage.cluster.until(lambda: stage.task("quick").state == COMPLETED)
        stops = await stage.stopped()
        assert set(stops) == {"slow"}
        assert stops["slow"] - begun_s == pytest.approx(57, abs=0.1)
        await asyncio.sleep(2.9)
        await stage.end("slow")
        await stage.reach(DONE)
        assert stage.now_s() - begun_s <= 60
        task = stage.task("slow")
        assert (task.state, task.cause, task.attempt) == (DEAD_LETTER, Cause.CAUSE_DRAINED, 0)
        assert task.failures[-1].cause == Cause.CAUSE_DRAINED
        assert stage.task("quick").state == COMPLETED
        await stage.stop()

    virtual(main)


def test_the_deadline_overrides_max_parallel() -> None:
    async def main() -> None:
        stage = await Stage().open(shell("a"), shell("b"), shell("c"))
        begun_s = stage.now_s()
        await stage.drain(window_s=0, max_parallel=1, deadline_ms=20_000)
        assert len(await stage.stopped()) == 1
        stops: dict[str, float] = {}
        while len(stops) < 2:
            stops |= await stage.stopped()
        assert {round(at_s - begun_s) for at_s in stops.values()} == {15}
        await stage.stop()

    virtual(main)


@pytest.mark.parametrize("options", [{"hold": True, "deadline_ms": 20_000}, {"deadline_ms": 0}])
def test_what_is_held_or_has_no_deadline_runs_on_until_it_ends(options: dict[str, Any]) -> None:
    async def main() -> None:
        stage = await Stage().open(once("a"))
        await stage.drain(window_s=0, **options)
        assert await stage.n1.quiet(100, "reports_ack", "renewal_ack") == []
        assert stage.node.state == NodeState.NODE_STATE_DRAINING
        await stage.report(stage.n1, ended(stage.given["a"]))
        await stage.reach(DONE)
        assert stage.task("a").state == COMPLETED
        await stage.stop()

    virtual(main)


def test_a_lost_task_is_a_dead_letter_at_the_deadline() -> None:
    async def main() -> None:
        stage = await Stage().open(shell("a", on_lost=types_pb2.ON_LOST_HOLD))
        await stage.lose(stage.n1, "n1")
        await stage.cluster.until(lambda: bool(stage.task("a").lost_at_us))
        plan = await stage.drain(deadline_ms=60_000)
        assert [(item.task, item.dead_letter) for item in plan.stuck] == [("a", True)]
        begun_s = stage.now_s()
        await stage.reach(DONE)
        assert stage.now_s() - begun_s == pytest.approx(60, abs=0.1)
        assert (stage.task("a").state, stage.task("a").cause) == (DEAD_LETTER, Cause.CAUSE_DRAINED)
        await stage.stop()

    virtual(main)
