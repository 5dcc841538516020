"""Calls that take a machine out of the cluster: rehearse a drain, drain, remove."""

from __future__ import annotations

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import log_pb2
from cortex.v1.types_pb2 import DrainPlan, NodeState, Operation, OperationKind
from node.core import drain_plan, validate
from node.core.drain_plan import DEADLINE_MS, Options
from node.core.faults import Code, Fault
from node.core.transitions.drains import DEADLINE_LIMIT_MS, MAX_PARALLEL_LIMIT
from node.link import Caller
from node.rpc.calls import Calls, Handlers, accepted

_WINDOW_MS = 10_000
_WINDOW_LIMIT_MS = 3_600_000
_DEADLINE_LEAST_MS = 1_000
_DRAINABLE = frozenset({NodeState.NODE_STATE_ACTIVE, NodeState.NODE_STATE_CORDONED})


class DrainCalls(Calls):
    """Every method raises Fault."""

    def handlers(self) -> Handlers:
        return {
            "RehearseDrain": self.rehearse_drain,
            "DrainNode": self.drain_node,
            "RemoveNode": self.remove_node,
        }

    async def rehearse_drain(self, request: pb.DrainRequest, caller: Caller) -> pb.RehearseDrainReply:
        """Changes nothing; the leader keeps the plan for an hour."""
        options = _options(request)
        if not self._replica.serving:
            return await self._ask_leader("RehearseDrain", request, pb.RehearseDrainReply, caller)
        plan = self._parts.leadership.rehearsals.rehearse(self._drainable(request.node), options)
        return pb.RehearseDrainReply(plan=plan, index=plan.index)

    async def drain_node(self, request: pb.DrainRequest, caller: Caller) -> pb.DrainNodeReply:
        """Carry out a plan, or rehearse one and carry that out. The request id becomes the operation's id."""
        options = _options(request)
        window_ms = _window_ms(request)
        if not request.mutation.request_id:
            request.mutation.request_id = self._parts.env.new_id()
        if not self._replica.serving:
            return await self._ask_leader("DrainNode", request, pb.DrainNodeReply, caller)
        known = self._replica.operation(request.mutation.request_id)
        if known is not None and known.kind == OperationKind.OPERATION_KIND_DRAIN and known.actor == caller.actor:
            return pb.DrainNodeReply(operation_id=known.id, index=known.created_index, plan=known.drain)
        node_id = self._drainable(request.node)
        plan = self._plan(request.plan_id, node_id, options)
        if window_ms is None:
            window_ms = min(_WINDOW_MS, plan.deadline_ms // 4) if plan.deadline_ms else _WINDOW_MS
        operation = Operation(
            id=request.mutation.request_id,
            kind=OperationKind.OPERATION_KIND_DRAIN,
            node=node_id,
            reason=plan.message,
            drain=plan,
        )
        start = log_pb2.OperationStart(operation=operation, undo_window_us=window_ms * 1000)
        command = log_pb2.Command(operation_start=start)
        accepted(reply := await self._execute([command], request.mutation, caller), [command])
        return pb.DrainNodeReply(operation_id=operation.id, index=reply.index, plan=plan)

    async def remove_node(self, request: pb.CordonNodeRequest, caller: Caller) -> pb.MutationReply:
        """Without ids when the node was removed already."""
        node_id = self._lookup.node_id(request.node)
        reason = validate.reason(request.message)
        if node_id in {peer.id for peer in self._replica.peers}:
            message = f"Node {node_id} keeps the log, and is not removed like a worker."
            raise Fault(Code.WRONG_STATE, message, f"First `cortex voters remove {node_id}`: then it is one.")
        gone = self._state.nodes[node_id].state == NodeState.NODE_STATE_REMOVED
        leave = log_pb2.NodeLeave(id=node_id, removed=True, reason=reason)
        reply = await self._mutate([log_pb2.Command(node_leave=leave)], request.mutation, caller)
        if gone:
            reply.ClearField("ids")
        return reply

    def _plan(self, plan_id: str, node_id: str, options: Options) -> DrainPlan:
        """The plan that is to be carried out, judged now."""
        rehearsals = self._parts.leadership.rehearsals
        plan = rehearsals.plan(plan_id) if plan_id else rehearsals.rehearse(node_id, options)
        if plan.node != node_id:
            message = f"Plan {plan_id[:64]} is for node {plan.node}, not for {node_id}."
            raise Fault(Code.INVALID, message, f"Rehearse {node_id} with `cortex drain {node_id} --dry-run`.")
        why = rehearsals.broken(plan) if plan_id else None
        if why is not None:
            remedy = f"Rehearse again with `cortex drain {node_id} --dry-run`."
            raise Fault(Code.WRONG_STATE, f"The plan does not hold any more. {why}", remedy)
        if not plan.quorum.ok and not plan.force:
            remedy = "Bring another voter up first, or rehearse and drain with --force."
            raise Fault(Code.WRONG_STATE, drain_plan.no_quorum(plan.quorum), remedy)
        return plan

    def _drainable(self, text: str) -> str:
        """The id of a node that may be drained."""
        node_id = self._lookup.node_id(text)
        node = self._state.nodes[node_id]
        if node.operation:
            message = f"Node {node_id} is being drained already, by operation {node.operation}."
            remedy = f"Follow it with `cortex operations`, or end it with `cortex uncordon {node_id}`."
            raise Fault(Code.WRONG_STATE, message, remedy)
        if node.state not in _DRAINABLE:
            state = NodeState.Name(node.state).removeprefix("NODE_STATE_").lower()
            if node.state == NodeState.NODE_STATE_DRAINED:
                state = "drained already"
            leaving = node.state in (NodeState.NODE_STATE_DRAINING, NodeState.NODE_STATE_DRAINED)
            remedy = f"`cortex uncordon {node_id}` lets it work again." if leaving else "See `cortex nodes`."
            raise Fault(Code.WRONG_STATE, f"Node {node_id} is {state}.", remedy)
        return node_id


def _options(request: pb.DrainRequest) -> Options:
    if request.no_deadline and request.HasField("deadline_ms"):
        raise Fault(Code.INVALID, "Both a deadline and no deadline are asked for.", "Choose one of them.")
    deadline_ms = request.deadline_ms if request.HasField("deadline_ms") else DEADLINE_MS
    if not _DEADLINE_LEAST_MS <= deadline_ms <= DEADLINE_LIMIT_MS:
        raise Fault(
            Code.INVALID, f"deadline_ms is {deadline_ms}.", "It goes from 1 s to 365 days; or choose no deadline."
        )
    if request.max_parallel > MAX_PARALLEL_LIMIT:
        message = f"max_parallel is {request.max_parallel}."
        raise Fault(Code.INVALID, message, f"It goes from 1 to {MAX_PARALLEL_LIMIT}; 0 means all at once.")
    return Options(
        deadline_ms=0 if request.no_deadline else deadline_ms,
        force=request.force,
        keep_cordoned=request.keep_cordoned,
        max_parallel=request.max_parallel,
        message=validate.reason(request.message),
        hold=request.hold,
    )


def _window_ms(request: pb.DrainRequest) -> int | None:
    """The undo window that was asked for; None when it follows from the deadline."""
    if not request.HasField("undo_window_ms"):
        return None
    if not 0 <= request.undo_window_ms <= _WINDOW_LIMIT_MS:
        message = f"undo_window_ms is {request.undo_window_ms}."
        raise Fault(Code.INVALID, message, f"It goes from 0 to {_WINDOW_LIMIT_MS}.")
    return request.undo_window_ms
