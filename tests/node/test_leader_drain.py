"""A drain carried on by the leader, on virtual time: begun after the window, empty at the deadline, resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, NodeCordon, OperationStart, OperationStop
from cortex.v1.types_pb2 import Cause, DrainPlan, Node, NodeState, Operation, OperationKind, OperationState
from cortex.v1.worker_pb2 import Assignment, AttemptState, InventoryItem
from node.core.drain import Options
from node.core.faults import Code, Fault
from node.core.model import ASSIGNED, COMPLETED, DEAD_LETTER, QUEUED, RUNNING
from tests.node.leader_kit import Cluster, WorkerEnd, ended, held, machine_node, recalled, shell, started, virtual

SECOND_US = 1_000_000
MIGRATE = Cause.CAUSE_MIGRATE
DONE = OperationState.OPERATION_STATE_DONE
VOTERS = {"leader": True, "v2": True, "v3": True}


class Stage:
    """A leader, the node to be drained, and another one that opens when the first is full."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.cluster.replica.voters = dict(VOTERS)
        self.cluster.begin()
        self.given: dict[str, Assignment] = {}
        self.numbers = 0
        self.keepers: dict[str, asyncio.Task[None]] = {}

    async def connect(self, node: Node, inventory: Sequence[InventoryItem] = ()) -> WorkerEnd:
        """A worker that is heard of and renews what it holds."""
        worker = await self.cluster.connect(node, inventory)
        self.keepers[node.id] = asyncio.ensure_future(self._keep(worker, node.id))
        return worker

    async def _keep(self, worker: WorkerEnd, node_id: str) -> None:
        number = 0
        while True:
            number += 1
            state = self.cluster.replica.state
            fences = {state.tasks[task_id].fence for task_id in state.by_node.get(node_id, ())}
            await worker.renew(number, sorted(fences), version=number)
            await asyncio.sleep(4)

    async def lose(self, worker: WorkerEnd, node_id: str) -> None:
        self.keepers.pop(node_id).cancel()
        await worker.break_off()

    async def stop(self) -> None:
        for keeper in self.keepers.values():
            keeper.cancel()
        await self.cluster.stop()

    async def open(self, *tasks: Any, slots: int = 4, other: int = 4) -> Stage:
        """Let `tasks` run on n1, then connect n2."""
        self.n1 = await self.connect(machine_node("n1", slots=slots))
        await self.cluster.submit(*tasks)
        await self.take(self.n1, len(tasks))
        await self.report(self.n1, *(started(self.given[task.id]) for task in tasks))
        await self.cluster.until(lambda: all(self.task(task.id).state == RUNNING for task in tasks))
        if other:
            self.n2 = await self.connect(machine_node("n2", slots=other))
        return self

    async def take(self, worker: WorkerEnd, count: int) -> list[str]:
        taken: list[str] = []
        while len(taken) < count:
            message = await worker.next("assignments")
            for item in message.assignments.assignments:
                self.given[item.task] = item
                taken.append(item.task)
        return taken

    async def report(self, worker: WorkerEnd, *reports: Any) -> None:
        self.numbers += 1
        await worker.report(self.numbers, *reports)

    async def drain(self, window_s: float = 10, operation_id: str = "op1", **options: Any) -> DrainPlan:
        """Rehearse and commit."""
        plan = self.cluster.leadership.rehearsals.rehearse("n1", Options(**options))
        await self.commit(plan, window_s, operation_id)
        return plan

    async def commit(self, plan: DrainPlan, window_s: float = 10, operation_id: str = "op1") -> None:
        operation = Operation(id=operation_id, kind=OperationKind.OPERATION_KIND_DRAIN, node=plan.node, drain=plan)
        start = OperationStart(operation=operation, undo_window_us=round(window_s * SECOND_US))
        reply = await self.cluster.replica.execute([Command(operation_start=start)], actor="ann")
        assert reply.commands[0].accepted, reply

    async def undo(self) -> None:
        stop = OperationStop(id="op1", undo=True)
        reply = await self.cluster.replica.execute([Command(operation_stop=stop)])
        assert reply.commands[0].accepted, reply

    async def stopped(self) -> dict[str, float]:
        """Tasks that the next message to n1 tells to end, and when."""
        message = await self.n1.next("stop")
        assert all(item.cause == MIGRATE for item in message.stop.items)
        return dict.fromkeys((item.task for item in message.stop.items), self.now_s())

    async def end(self, *task_ids: str, cause: Any = MIGRATE) -> None:
        """n1 says that they ended so."""
        await self.report(self.n1, *(ended(self.given[one], exit_code=None, cause=cause) for one in task_ids))

    @staticmethod
    def now_s() -> float:
        return asyncio.get_running_loop().time()

    def task(self, task_id: str) -> types_pb2.Task:
        row = self.cluster.replica.task(task_id)
        assert row is not None
        return row

    @property
    def node(self) -> Node:
        return self.cluster.replica.state.nodes["n1"]

    @property
    def operation(self) -> Operation:
        return self.cluster.replica.state.operations["op1"]

    async def reach(self, state: int) -> None:
        await self.cluster.until(lambda: self.operation.state == state)


def running(assignment: Assignment) -> InventoryItem:
    return held(assignment, AttemptState.ATTEMPT_STATE_RUNNING)


def once(task_id: str, **fields: Any) -> Any:
    return shell(task_id, retry=types_pb2.RetryPolicy(retryable=False), **fields)


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
