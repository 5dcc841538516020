"""Drains and their plans, operators and leaders, on virtual time: what holds, what is refused, who goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, NodeCordon
from cortex.v1.types_pb2 import Cause, NodeState, OperationState
from node.core.drain_plan import Options
from node.core.faults import Code, Fault
from node.core.model import ASSIGNED, COMPLETED, RUNNING
from tests.node.drain_kit import DONE, MIGRATE, VOTERS, Stage, once, running
from tests.node.leader_kit import ended, machine_node, shell, started, virtual

# The plan


def test_harm_that_came_since_refuses_the_begin_and_restores_the_node() -> None:
    async def main() -> None:
        stage = await Stage().open(shell("a", constraints=types_pb2.Constraints(allowed_nodes=["n1", "n2"])))
        await stage.drain()
        cordon = Command(node_cordon=NodeCordon(id="n2", cordoned=True))
        await stage.cluster.replica.execute([cordon])
        await stage.reach(OperationState.OPERATION_STATE_REFUSED)
        assert stage.operation.outcome.startswith("Task a was not among those that have nowhere to go")
        assert (stage.node.state, stage.node.operation) == (NodeState.NODE_STATE_ACTIVE, "")
        assert stage.task("a").state == RUNNING
        await stage.stop()

    virtual(main)


def test_a_quorum_that_was_lost_since_refuses_the_begin_unless_forced() -> None:
    async def main(force: bool) -> None:
        stage = Stage()
        stage.cluster.replica.voters = {"leader": True, "n1": True, "v3": True}
        await stage.open(shell("a"))
        plan = await stage.drain(force=force)
        assert plan.quorum.ok
        stage.cluster.replica.voters["v3"] = False
        if not force:
            await stage.reach(OperationState.OPERATION_STATE_REFUSED)
            assert stage.operation.outcome == "Without it 1 of 3 voters would be up, and 2 are needed to go on."
        else:
            assert set(await stage.stopped()) == {"a"}
        await stage.stop()

    for force in (False, True):
        virtual(lambda force=force: main(force))  # type: ignore[misc]


def test_tasks_that_came_since_the_rehearsal_move_too() -> None:
    async def main() -> None:
        stage = await Stage().open(shell("a"), other=0)
        plan = stage.cluster.leadership.rehearsals.rehearse("n1", Options())
        await stage.cluster.submit(shell("b", constraints=types_pb2.Constraints(target_node="n1")))
        await stage.take(stage.n1, 1)
        await stage.report(stage.n1, started(stage.given["b"]))
        await stage.cluster.until(lambda: stage.task("b").state == RUNNING)
        assert stage.cluster.leadership.rehearsals.broken(plan) is not None
        await stage.cluster.submit(shell("c"))
        await stage.take(stage.n1, 1)
        stage.n2 = await stage.connect(machine_node("n2"))
        await stage.cluster.cancel("b")
        assert stage.cluster.leadership.rehearsals.broken(plan) is None
        await stage.stop()

    virtual(main)


def test_an_unknown_or_old_plan_says_rehearse_again() -> None:
    async def main() -> None:
        stage = await Stage().open()
        rehearsals = stage.cluster.leadership.rehearsals
        plan = rehearsals.rehearse("n1", Options())
        assert rehearsals.plan(plan.id) is plan
        await asyncio.sleep(3601)
        for plan_id in (plan.id, "other"):
            with pytest.raises(Fault) as refused:
                rehearsals.plan(plan_id)
            assert refused.value.code == Code.NOT_FOUND
            assert "Rehearse again" in refused.value.remedy
        plans = [rehearsals.rehearse("n1", Options()).id for _ in range(70)]
        known = [plan_id for plan_id in plans if _knows(rehearsals, plan_id)]
        assert known == plans[-64:]
        await stage.stop()

    virtual(main)


def _knows(rehearsals: Any, plan_id: str) -> bool:
    try:
        rehearsals.plan(plan_id)
    except Fault:
        return False
    return True


# Operators and leaders


def test_uncordon_ends_a_drain_where_it_stands() -> None:
    async def main() -> None:
        stage = await Stage().open(shell("a"), shell("b"))
        await stage.drain(window_s=0, max_parallel=1)
        (first,) = await stage.stopped()
        await stage.cluster.replica.execute([Command(node_cordon=NodeCordon(id="n1", cordoned=False))])
        assert stage.operation.state == OperationState.OPERATION_STATE_STOPPED
        assert stage.node.state == NodeState.NODE_STATE_ACTIVE
        await stage.end(first)
        assert await stage.n1.quiet(5, "reports_ack", "renewal_ack", "assignments") == []
        await stage.stop()

    virtual(main)


def test_a_leader_hands_over_before_it_drains_itself() -> None:
    async def main() -> None:
        stage = Stage()
        stage.cluster.replica.voters = {"leader": True, "v2": False, "v3": True}
        leader = await stage.connect(machine_node("leader"))
        plan = stage.cluster.leadership.rehearsals.rehearse("leader", Options(force=True))
        await stage.commit(plan)
        await stage.cluster.replica.transferred.wait()
        assert stage.cluster.replica.transfers == ["v3"]
        assert stage.operation.state == OperationState.OPERATION_STATE_SCHEDULED
        await stage.lose(leader, "leader")
        after = stage.cluster = stage.cluster.successor()
        await after.until(lambda: after.replica.state.operations["op1"].state == DONE)
        await stage.stop()

    virtual(main)


def test_the_only_voter_drains_itself_when_forced() -> None:
    async def main() -> None:
        stage = Stage()
        stage.cluster.replica.voters = {"leader": True}
        await stage.connect(machine_node("leader"))
        plan = stage.cluster.leadership.rehearsals.rehearse("leader", Options(force=True))
        assert not plan.quorum.ok
        await stage.commit(plan)
        await stage.reach(DONE)
        assert not stage.cluster.replica.transfers
        await stage.stop()

    virtual(main)


@pytest.mark.parametrize("step", ["scheduled", "begun", "asked", "left", "late"])
def test_the_next_leader_goes_on_at_every_step(step: str) -> None:
    async def main() -> None:
        stage = await Stage().open(shell("a"), shell("b"), once("c", kill_timeout_ms=3000))
        await stage.drain(deadline_ms=80_000, max_parallel=1)
        first = ""
        if step != "scheduled":
            (first,) = await stage.stopped()
        if step == "left":
            await stage.end(first)
            await stage.cluster.until(lambda: stage.task(first).state != RUNNING)
        if step == "late":
            await asyncio.sleep(60)
        before = stage.cluster.replica
        after = stage.cluster.successor()
        after.replica._rows.update(before._rows)
        after.replica.voters = dict(VOTERS)
        await stage.stop()
        stage.cluster = after
        there = after.replica.state.by_node["n1"]
        still = [stage.given[name] for name in sorted(there)]
        holding = [running(assignment) for assignment in still]
        stage.n1 = await stage.connect(machine_node("n1", slots=4), holding)
        stage.n2 = await stage.connect(machine_node("n2", slots=4))
        gone: set[str] = set()
        while stage.operation.state != DONE:
            message = await stage.n1.next("stop")
            asked = {item.task for item in message.stop.items if item.cause == MIGRATE} - gone
            gone |= asked
            await stage.end(*sorted(asked))
            if "c" in asked:
                await stage.reach(DONE)
        assert stage.task("c").cause == Cause.CAUSE_DRAINED
        assert [stage.task(name).attempt for name in "ab"] == [0, 0]
        assert stage.node.state == NodeState.NODE_STATE_DRAINED
        await stage.stop()

    virtual(main)


def test_the_next_rehearsal_knows_how_long_stops_and_runs_took() -> None:
    async def main() -> None:
        stage = await Stage().open(shell("a"), shell("b"), once("c"))
        await asyncio.sleep(20)
        await stage.report(stage.n1, ended(stage.given["b"]))
        await stage.cluster.until(lambda: stage.task("b").state == COMPLETED)
        rehearsals = stage.cluster.leadership.rehearsals
        assert rehearsals.rehearse("n1", Options()).eta_ms == pytest.approx(20_000, abs=500)
        await stage.cluster.cancel("c")
        await stage.n1.next("stop")
        assert rehearsals.rehearse("n1", Options()).eta_ms == 5000
        await asyncio.sleep(2)
        await stage.end("c", cause=Cause.CAUSE_CANCEL)
        await stage.cluster.until(lambda: stage.task("c").state not in (RUNNING, ASSIGNED))
        assert rehearsals.rehearse("n1", Options()).eta_ms == pytest.approx(2000, abs=100)
        await stage.stop()

    virtual(main)
