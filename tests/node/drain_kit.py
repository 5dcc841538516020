"""A drain on virtual time: a leader, the node to be drained, and another one that opens when the first is full."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, OperationStart, OperationStop
from cortex.v1.types_pb2 import Cause, DrainPlan, Node, Operation, OperationKind, OperationState
from cortex.v1.worker_pb2 import Assignment, AttemptState, InventoryItem
from node.core.drain_plan import Options
from node.core.model import RUNNING
from tests.node.leader_kit import Cluster, WorkerEnd, ended, held, machine_node, shell, started

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
