"""Drains of the made-up cluster: rehearsed, refused when the plan broke, and done after their undo window."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.demo.cluster import DemoCluster
from tui.demo.operations import Push, Requeue
from tui.source import SourceError

MAX_PLANS = 100
_HELD = frozenset({types_pb2.TASK_STATE_ASSIGNED, types_pb2.TASK_STATE_RUNNING})


class DemoDrains:
    """Plans by id, the last hundred."""

    def __init__(self, cluster: DemoCluster, push: Push) -> None:
        self._cluster, self._push = cluster, push
        self._plans: dict[str, types_pb2.DrainPlan] = {}
        self._rehearsed = 0

    def rehearse(self, request: cluster_pb2.DrainRequest) -> types_pb2.DrainPlan:
        row = self._cluster.nodes.get(request.node)
        if row is None:
            raise SourceError(f"There is no node {request.node}.", "", "not_found")
        if row.state == types_pb2.NODE_STATE_DRAINED:
            raise SourceError(f"Node {row.id} is drained already.", "`cortex uncordon` lets it work again.")
        others = [one.id for one in self._cluster.nodes.values() if one.id != row.id and _open(one)]
        voters = [one for one in self._cluster.nodes.values() if one.role == types_pb2.NODE_ROLE_VOTER]
        up, needed = sum(one.online for one in voters), len(voters) // 2 + 1
        without = up - (row.role == types_pb2.NODE_ROLE_VOTER and row.online)
        self._rehearsed += 1
        plan = types_pb2.DrainPlan(
            id=f"demo-plan-{self._rehearsed}", node=row.id, index=self._cluster.index, eta_ms=5000,
            deadline_ms=0 if request.no_deadline else request.deadline_ms, force=request.force, hold=request.hold,
            keep_cordoned=request.keep_cordoned, max_parallel=request.max_parallel, message=request.message,
            former_state=row.state, former_message=row.message,
            quorum=types_pb2.QuorumEffect(
                voters=len(voters), up=up, needed=needed, up_without=without, ok=without >= needed
            ),
        )  # fmt: skip
        for number, task_id in enumerate(self._held(row.id)):
            to = others[number % len(others)] if others else ""
            reason = "It takes its turn there." if to else "It waits in the queue until a node has room for it."
            plan.moves.add(task=task_id, to=to, reason=reason)
        while len(self._plans) >= MAX_PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[plan.id] = plan
        return plan

    def commit(self, plan_id: str) -> types_pb2.DrainPlan:
        """The plan, if it holds still; its node is cordoned. Raises SourceError."""
        plan = self._plans.get(plan_id)
        if plan is None:
            raise SourceError(f"There is no plan {plan_id}.", "Rehearse again.", "not_found")
        if self._cluster.nodes[plan.node].state != plan.former_state or not (plan.quorum.ok or plan.force):
            raise SourceError("The plan does not hold any more.", "Rehearse again.", "wrong_state")
        self._put(plan.node, types_pb2.NODE_STATE_CORDONED, types_pb2.EVENT_TYPE_NODE_CORDONED, plan.message)
        return plan

    def carry_out(self, plan: types_pb2.DrainPlan, requeue: Requeue) -> None:
        """What is there by now runs elsewhere, and the node is empty."""
        requeue(self._held(plan.node))
        self._put(plan.node, types_pb2.NODE_STATE_DRAINED, types_pb2.EVENT_TYPE_NODE_DRAINED, plan.message)

    def restore(self, plan: types_pb2.DrainPlan) -> None:
        state = types_pb2.NODE_STATE_CORDONED if plan.keep_cordoned else plan.former_state
        self._put(plan.node, state, types_pb2.EVENT_TYPE_NODE_UNCORDONED, plan.former_message)

    def _held(self, node: str) -> Sequence[str]:
        return [row.id for row in self._cluster.queue() if row.node == node and row.state in _HELD]

    def _put(
        self, node: str, state: types_pb2.NodeState.ValueType, kind: types_pb2.EventType.ValueType, message: str
    ) -> None:
        row = types_pb2.Node()
        row.CopyFrom(self._cluster.nodes[node])
        row.state, row.message = state, message
        self._push(self._cluster.put_node(row, kind))


def _open(node: types_pb2.Node) -> bool:
    return node.online and node.state == types_pb2.NODE_STATE_ACTIVE
