"""Random histories of drains: real rehearsals, right and wrong steps, operators and faults in between."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import (
    Command,
    Entry,
    NodeCordon,
    NodeJoin,
    NodeLeave,
    OperationAdvance,
    OperationStart,
    OperationStop,
    TaskMigrate,
)
from cortex.v1.types_pb2 import Cause, EventType, Node, NodeState, Operation, OperationState, RetryPolicy, Task
from node.core import drain
from node.core.drain import Scene, Times
from node.core.drain_plan import Options
from node.core.model import ASSIGNED, DEAD_LETTER, LIVE_OPERATION, QUEUED, RUNNING, recount
from node.core.scheduler import Limits, Queue
from tests.core.cluster import Machine, assign, cancel, complete, fenced, retry

NODES = ("n1", "n2", "n3")
STATE_OF = {
    OperationState.OPERATION_STATE_SCHEDULED: NodeState.NODE_STATE_CORDONED,
    OperationState.OPERATION_STATE_RUNNING: NodeState.NODE_STATE_DRAINING,
}
STEPS = {
    "submit": 5,
    "assign": 6,
    "start_task": 6,
    "end_task": 4,
    "lose": 1,
    "stopped": 5,
    "operator": 1,
    "cordon": 1,
    "come_and_go": 1,
    "drain": 2,
    "begin": 4,
    "move": 8,
    "done": 3,
    "stop": 0.5,
}


class Walk:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.machine = Machine(spill=seed % 2 == 0)
        self.reached: Counter[str] = Counter()
        self.drains = 0
        for node_id in NODES:
            self.machine.join(node_id, slots=3)

    def step(self) -> None:
        (name,) = self.random.choices(list(STEPS), list(STEPS.values()))
        command = getattr(self, name)()
        if command is None:
            return
        before = {one.id: one for one in self.machine.state.tasks.values()}
        reply = self.machine.one(command, after_us=self.random.choice((1000, 400_000)))
        self.reached[f"{name} {'accepted' if reply.accepted else 'refused'}"] += 1
        self.check(before)

    def check(self, before: dict[str, Task]) -> None:
        state = self.machine.state
        live = {one.id: one for one in state.operations.values() if one.state in LIVE_OPERATION}
        under = {one.operation: one for one in state.nodes.values() if one.operation}
        assert set(live) == set(under)
        for operation_id, operation in live.items():
            assert under[operation_id].id == operation.node
            assert under[operation_id].state == STATE_OF[operation.state]
        for event in self.machine.last_events():
            if event.type == EventType.EVENT_TYPE_NODE_DRAINED:
                assert not state.by_node.get(event.node)
            if event.type == EventType.EVENT_TYPE_ASSIGNED:
                assert state.nodes[event.node].state == NodeState.NODE_STATE_ACTIVE
        for task_id, old in before.items():
            new = self.machine.task(task_id)
            if new.state == QUEUED and old.migrate_requested and old.state != QUEUED and new.run == old.run:
                assert new.attempt == old.attempt
            if old.state != DEAD_LETTER and new.state == DEAD_LETTER and new.cause == Cause.CAUSE_DRAINED:
                assert not drain.may_migrate(old)
                assert not new.drain_ends
            assert new.drain_ends <= new.migrate_requested

    # Tasks

    def submit(self) -> Command:
        spec: dict[str, object] = {}
        if self.random.random() < 0.2:
            spec["retry"] = RetryPolicy(retryable=False)
        if self.random.random() < 0.3:
            spec["on_lost"] = types_pb2.ON_LOST_HOLD
        if self.random.random() < 0.2:
            spec["constraints"] = types_pb2.Constraints(target_node=self.random.choice(NODES))
        return Command(task_submit=self.machine.submission(**spec))  # type: ignore[arg-type]

    def _pick(self, *states: int) -> Task | None:
        found = [one for _, one in sorted(self.machine.state.tasks.items()) if one.state in states]
        return self.random.choice(found) if found else None

    def assign(self) -> Command | None:
        task = self._pick(QUEUED)
        return assign(task.id, self.random.choice(NODES)) if task is not None else None

    def start_task(self) -> Command | None:
        task = self._pick(ASSIGNED)
        kind = self.random.choice(("task_started", "task_started", "task_recalled"))
        return fenced(kind, task.id, task.fence) if task is not None else None

    def end_task(self) -> Command | None:
        task = self._pick(RUNNING)
        return complete(task.id, task.fence) if task is not None else None

    def lose(self) -> Command | None:
        task = self._pick(RUNNING, ASSIGNED)
        return fenced("task_lost", task.id, task.fence) if task is not None else None

    def stopped(self) -> Command | None:
        asked = [one for _, one in sorted(self.machine.state.tasks.items()) if one.migrate_requested]
        if not asked:
            return None
        task = self.random.choice(asked)
        cause = self.random.choice((Cause.CAUSE_MIGRATE, Cause.CAUSE_MIGRATE, Cause.CAUSE_LEASE))
        return fenced("task_stopped", task.id, task.fence, cause=cause)

    def operator(self) -> Command | None:
        task = self._pick(RUNNING, ASSIGNED, QUEUED)
        if task is None:
            return None
        return cancel(task.id) if self.random.random() < 0.5 else retry(task.id)

    # Nodes

    def cordon(self) -> Command:
        cordoned = self.random.random() < 0.4
        return Command(node_cordon=NodeCordon(id=self.random.choice(NODES), cordoned=cordoned))

    def come_and_go(self) -> Command:
        node_id = self.random.choice(NODES)
        if self.random.random() < 0.5:
            return Command(node_leave=NodeLeave(id=node_id, removed=self.random.random() < 0.2))
        node = Node()
        node.CopyFrom(self.machine.node(node_id))
        if self.random.random() < 0.3:
            node.incarnation = f"i{self.machine.state.index}"
        return Command(node_join=NodeJoin(node=node))

    # Drains

    def drain(self) -> Command | None:
        """The plan of a real rehearsal, now and then of one that is out of date."""
        node_id = self.random.choice(NODES)
        options = Options(
            deadline_ms=self.random.choice((0, 60_000)),
            keep_cordoned=self.random.random() < 0.3,
            hold=self.random.random() < 0.2,
        )
        queue = Queue()
        queue.load(self.machine.state)
        now_us = self.machine.now_us
        scene = Scene(queue, self.machine.state, {}, Limits(), {"n1": True}, now_us, Times())
        plan = drain.rehearse(scene, node_id, options, f"p{self.drains}")
        if self.random.random() < 0.2:
            del plan.stuck[:]
        self.drains += 1
        kind = types_pb2.OPERATION_KIND_DRAIN
        operation = Operation(id=f"op{self.drains}", kind=kind, node=node_id, drain=plan)
        window_us = self.random.choice((0, 1000, 500_000))
        return Command(operation_start=OperationStart(operation=operation, undo_window_us=window_us))

    def _live(self, *states: int) -> Operation | None:
        found = [one for _, one in sorted(self.machine.state.operations.items()) if one.state in states]
        return self.random.choice(found) if found else None

    def begin(self) -> Command | None:
        operation = self._live(OperationState.OPERATION_STATE_SCHEDULED)
        if operation is None:
            return None
        refused = self.random.random() < 0.1
        return Command(operation_advance=OperationAdvance(id=operation.id, begin=True, refused=refused))

    def move(self) -> Command | None:
        operation = self._live(*LIVE_OPERATION)
        if operation is None:
            return None
        there = sorted(self.machine.state.by_node.get(operation.node, ()))
        if not there:
            return None
        task = self.machine.state.tasks[self.random.choice(there)]
        dead = not drain.may_migrate(task) if self.random.random() < 0.9 else self.random.random() < 0.5
        return Command(task_migrate=TaskMigrate(id=task.id, operation=operation.id, dead_letter=dead))

    def done(self) -> Command | None:
        operation = self._live(OperationState.OPERATION_STATE_RUNNING)
        if operation is None:
            return None
        return Command(operation_advance=OperationAdvance(id=operation.id, done=True))

    def stop(self) -> Command | None:
        operation = self._live(*LIVE_OPERATION)
        undo = self.random.random() < 0.5
        return Command(operation_stop=OperationStop(id=operation.id, undo=undo)) if operation is not None else None


@pytest.mark.parametrize("seed", range(25))
def test_nodes_and_drains_agree_whatever_happens(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(250):
        walk.step()
    machine = walk.machine
    assert recount(machine.rows.values()) == machine.state.digest
    again = Machine(spill=seed % 2 != 0)
    for data in machine.log:
        again.apply_entry(Entry.FromString(data))
    assert again.rows == machine.rows


def test_the_histories_reach_what_they_are_for() -> None:
    reached: Counter[str] = Counter()
    drained = dead = 0
    for seed in range(25):
        walk = Walk(seed)
        for _ in range(250):
            walk.step()
        reached += walk.reached
        drained += sum(event.type == EventType.EVENT_TYPE_NODE_DRAINED for event in walk.machine.events)
        rows = [row for row in walk.machine.rows.values() if isinstance(row, Task)]
        dead += sum(row.cause == Cause.CAUSE_DRAINED for row in rows)
    for name in ("drain", "begin", "move", "done", "stop"):
        assert reached[f"{name} accepted"], name
        assert reached[f"{name} refused"], name
    assert drained
    assert dead
