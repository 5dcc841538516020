"""The end of an upgrade: the cluster's feature level rises to what all voters know."""

from __future__ import annotations

from cortex.v1 import cluster_pb2 as pb
from cortex.v1.log_pb2 import Command, LevelRaise
from cortex.v1.types_pb2 import NODE_ROLE_LEARNER, NODE_ROLE_VOTER
from node.link import Caller
from node.rpc.calls import Calls, Handlers


class LevelCalls(Calls):
    """Every method raises Fault."""

    def handlers(self) -> Handlers:
        return {"Finalize": self.finalize}

    async def finalize(self, request: pb.FinalizeRequest, caller: Caller) -> pb.FinalizeReply:
        """Changes nothing where a voter knows no more than the cluster has already."""
        if not self._replica.serving:
            return await self._ask_leader("Finalize", request, pb.FinalizeReply, caller)
        was = self._state.level
        keep_log = (NODE_ROLE_VOTER, NODE_ROLE_LEARNER)
        known = min((node.level for node in self._state.nodes.values() if node.role in keep_log), default=was)
        steps = [Command(level_raise=LevelRaise(level=level)) for level in range(was + 1, known + 1)]
        if not steps:
            return pb.FinalizeReply(index=self._state.index, level=was, was=was)
        done = await self._mutate(steps, request.mutation, caller)
        return pb.FinalizeReply(operation_id=done.operation_id, index=done.index, level=known, was=was)
