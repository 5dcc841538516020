"""Drains of the fake cluster: a plan that a test lays down, carried out when a test says how it ended."""

from __future__ import annotations

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as types
from tests.tui.fake_cluster import FakeCluster, Refusal


def plan_of(node: str = "n1", **fields: object) -> types.DrainPlan:
    """A plan with one task that moves, one that waits, one that is stuck and one that would be a dead letter."""
    return types.DrainPlan(
        id="plan1",
        node=node,
        deadline_ms=3_600_000,
        moves=[
            types.DrainMove(task="t1", to="n2", reason="Best score with a free slot: 80.0 points."),
            types.DrainMove(task="t2", reason="It waits in the queue until a node has room for it."),
        ],
        stuck=[
            types.DrainStuck(task="t3", reason="No other node takes it: label gpu missing (2 nodes)."),
            types.DrainStuck(task="t4", reason="It is not retryable: it runs on.", dead_letter=True),
        ],
        quorum=types.QuorumEffect(voters=3, up=3, needed=2, up_without=2, ok=True),
        eta_ms=12_500,
        index=100,
        former_state=types.NODE_STATE_ACTIVE,
        **fields,  # type: ignore[arg-type]
    )


def put_operation(cluster: FakeCluster, row: types.Operation) -> None:
    cluster.operations[row.id] = row
    cluster.publish(types.Change(operation=row))


def end_drain(
    cluster: FakeCluster, state: types.OperationState.ValueType = types.OPERATION_STATE_DONE, outcome: str = ""
) -> None:
    """End the one drain; what it meant to move went where it was forecast."""
    (known,) = cluster.operations.values()
    row = types.Operation()
    row.CopyFrom(known)
    row.state, row.outcome, row.drain.took_ms = state, outcome, 4_200
    for move in row.drain.moves:
        move.actual = move.to
    put_operation(cluster, row)


class DrainServicer:
    """The calls of one daemon; FakeServicer admits, deduplicates and refuses."""

    _cluster: FakeCluster

    def _RehearseDrain(self, request: pb.DrainRequest) -> pb.RehearseDrainReply:
        return pb.RehearseDrainReply(plan=self._planned(request), index=self._cluster.index)

    def _DrainNode(self, request: pb.DrainRequest) -> pb.DrainNodeReply:
        cluster = self._cluster
        plan = self._planned(request)
        if request.plan_id not in ("", plan.id):
            remedy = "Rehearse again with `cortex drain NODE --dry-run`."
            raise Refusal("not_found", f"Plan {request.plan_id!r} is not known.", remedy)
        row = types.Operation(
            id=request.mutation.request_id,
            kind=types.OPERATION_KIND_DRAIN,
            state=types.OPERATION_STATE_SCHEDULED,
            node=plan.node,
            drain=plan,
        )
        put_operation(cluster, row)
        return pb.DrainNodeReply(operation_id=row.id, index=cluster.index, plan=plan)

    def _RemoveNode(self, request: pb.CordonNodeRequest) -> pb.MutationReply:
        cluster = self._cluster
        if request.node not in cluster.nodes:
            raise Refusal("not_found", f"There is no node {request.node!r}.", "List them with `cortex nodes`.")
        cluster.index += 1
        operation_id = request.mutation.request_id
        node = cluster.nodes[request.node].node
        ids = [] if node.state == types.NODE_STATE_REMOVED else [request.node]
        node.state = types.NODE_STATE_REMOVED
        return pb.MutationReply(operation_id=operation_id, index=cluster.index, ids=ids)

    def _planned(self, request: pb.DrainRequest) -> types.DrainPlan:
        if request.node not in self._cluster.nodes:
            raise Refusal("not_found", f"There is no node {request.node!r}.", "List them with `cortex nodes`.")
        plan = plan_of(request.node)
        if request.HasField("deadline_ms") or request.no_deadline:
            plan.deadline_ms = request.deadline_ms
        return plan
