"""Rehearsals of drains, and the plans that they leave: kept by the leader alone, for an hour."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from cortex.v1.types_pb2 import DrainPlan, Task
from node.core import drain, drain_plan
from node.core.drain import Times
from node.core.drain_plan import Options
from node.core.faults import Code, Fault
from node.core.model import COMPLETED, ON_NODE, RUNNING, Change, Table
from node.env import Clock
from node.leader.planner import Planner
from node.leader.port import Replica
from node.leader.session import Attempt

_PLANS_LIMIT: Final = 64
_PLAN_KEPT_US: Final = 3600 * 1_000_000
_SAMPLES: Final = 200
_STOPS_LIMIT: Final = 10_000


class Rehearsals:
    """Every method raises Fault."""

    def __init__(self, clock: Clock, replica: Replica, planner: Planner, new_id: Callable[[], str]) -> None:
        self._clock = clock
        self._replica = replica
        self._planner = planner
        self._new_id = new_id
        self._plans: OrderedDict[str, tuple[int, DrainPlan]] = OrderedDict()
        self._runs_ms: deque[int] = deque(maxlen=_SAMPLES)
        self._stops_ms: deque[int] = deque(maxlen=_SAMPLES)
        self._stopping: dict[Attempt, int] = {}

    def observe(self, changes: Sequence[Change]) -> None:
        """Learn how long commands run, and how long it takes to stop one."""
        for change in changes:
            if change.table is not Table.TASKS:
                continue
            old, new = change.old, change.new
            if not isinstance(old, Task) or old.state != RUNNING or not isinstance(new, Task):
                continue
            if new.state == COMPLETED:
                self._runs_ms.append(max(0, new.completed_at_us - new.started_at_us) // 1000)
            if old.migrate_requested or old.cancel_requested:
                asked_us = self._stopping.pop((old.id, old.fence), None) if new.state not in ON_NODE else None
                if asked_us is not None:
                    self._stops_ms.append((self._clock.boot_us() - asked_us) // 1000)
            elif (new.migrate_requested or new.cancel_requested) and len(self._stopping) < _STOPS_LIMIT:
                self._stopping[new.id, new.fence] = self._clock.boot_us()

    def rehearse(self, node_id: str, options: Options) -> DrainPlan:
        """What a drain of the node would do if it began now; kept under its id."""
        plan = self._rehearsed(node_id, options, self._new_id())
        now_us = self._clock.boot_us()
        self._plans[plan.id] = (now_us, plan)
        while len(self._plans) > _PLANS_LIMIT or next(iter(self._plans.values()))[0] < now_us - _PLAN_KEPT_US:
            self._plans.popitem(last=False)
        return plan

    def plan(self, plan_id: str) -> DrainPlan:
        """A plan that was rehearsed here."""
        known = self._plans.get(plan_id)
        if known is None or known[0] < self._clock.boot_us() - _PLAN_KEPT_US:
            message = (
                f"Plan {plan_id[:64]!r} is not known: plans are kept for an hour, by the leader that made them."
            )
            raise Fault(Code.NOT_FOUND, message, "Rehearse again with `cortex drain NODE --dry-run`.")
        return known[1]

    def broken(self, plan: DrainPlan) -> str | None:
        """Why the plan does not hold now, in one sentence; None when it holds."""
        return drain_plan.broken(plan, self._rehearsed(plan.node, drain_plan.options_of(plan), plan.id))

    def _rehearsed(self, node_id: str, options: Options, plan_id: str) -> DrainPlan:
        state = self._replica.state
        if node_id not in state.nodes:
            message = f"There is no node {node_id[:64]!r}."
            raise Fault(Code.NOT_FOUND, message, "List the nodes with `cortex nodes`.")
        count = len(state.by_node.get(node_id, ()))
        if count > drain_plan.TASKS_LIMIT:
            message = f"Node {node_id} holds {count} tasks; a drain plans at most {drain_plan.TASKS_LIMIT}."
            raise Fault(Code.WRONG_STATE, message, f"Cordon {node_id}, and drain it when fewer are left.")
        voters = {peer.id: peer.up for peer in self._replica.peers if peer.voter}
        times = Times(_median(self._stops_ms), _median(self._runs_ms))
        scene = self._planner.scene(state, self._replica.now_us(), voters, times)
        return drain.rehearse(scene, node_id, options, plan_id)


def _median(samples: deque[int]) -> int | None:
    return round(median(samples)) if samples else None
