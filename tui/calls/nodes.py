"""Calls about nodes and the cluster itself."""

from __future__ import annotations

from cortex.v1 import cluster_pb2, types_pb2
from tui.calls.base import Calls
from tui.errors import ClusterError

BENCH_TIMEOUT_S = 100.0
INSPECT_TIMEOUT_S = 4.0


class NodeCalls(Calls):
    """Nodes, leader, status."""

    async def cordon(self, node: str, message: str = "") -> cluster_pb2.MutationReply:
        request = cluster_pb2.CordonNodeRequest(mutation=self._mutation(), node=node, message=message)
        reply: cluster_pb2.MutationReply = await self._write("CordonNode", request)
        return reply

    async def uncordon(self, node: str, message: str = "") -> cluster_pb2.MutationReply:
        request = cluster_pb2.CordonNodeRequest(mutation=self._mutation(), node=node, message=message)
        reply: cluster_pb2.MutationReply = await self._write("UncordonNode", request)
        return reply

    async def list_nodes(self, *, at: cluster_pb2.Moment | None = None) -> cluster_pb2.ListNodesReply:
        """`at`: as they were then, without samples and scores."""
        request = cluster_pb2.ListNodesRequest(freshness=self._freshness(), at=at)
        reply: cluster_pb2.ListNodesReply = await self._call("ListNodes", request, self._patience_s(at))
        return reply

    async def inspect_node(
        self, node: str, *, span_us: int = 0, points: int = 0, timeout_s: float | None = None
    ) -> cluster_pb2.InspectNodeReply:
        """What only the node itself knows: what its tasks use, and its last `span_us` in `points` steps at most."""
        request = cluster_pb2.InspectNodeRequest(node=node, span_us=span_us, points=points)
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        reply: cluster_pb2.InspectNodeReply = await self._call("InspectNode", request, timeout_s)
        return reply

    async def use_of(self, task: types_pb2.Task) -> types_pb2.TaskUse | None:
        """What a running task uses now; None when it does not run, or its node does not tell in time."""
        if task.state != types_pb2.TASK_STATE_RUNNING or not task.node:
            return None
        try:
            reply = await self.inspect_node(task.node, timeout_s=INSPECT_TIMEOUT_S)
        except ClusterError:
            return None
        return next((use for use in reply.tasks if (use.task, use.fence) == (task.id, task.fence)), None)

    async def bench_node(self, node: str) -> cluster_pb2.BenchNodeReply:
        """Takes 5 to 25 s."""
        request = cluster_pb2.BenchNodeRequest(node=node)
        reply: cluster_pb2.BenchNodeReply = await self._call("BenchNode", request, BENCH_TIMEOUT_S)
        return reply

    async def status(self, *, timeout_s: float | None = None) -> cluster_pb2.StatusReply:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        reply: cluster_pb2.StatusReply = await self._call("Status", cluster_pb2.StatusRequest(), timeout_s)
        self.leader = reply.leader
        return reply

    async def list_voters(self) -> cluster_pb2.ListVotersReply:
        """Learners too, as the leader sees them."""
        request = cluster_pb2.ListVotersRequest(freshness=self._freshness())
        reply: cluster_pb2.ListVotersReply = await self._call("ListVoters", request, self._timeout_s)
        return reply

    async def add_voter(self, node: str, *, wait_s: float = 0.0) -> cluster_pb2.ChangeVoterReply:
        """Says in `voter` whether it votes after `wait_s`, 5 at most; else it does once it has caught up."""
        request = cluster_pb2.AddVoterRequest(mutation=self._mutation(), node=node, wait_ms=round(wait_s * 1000))
        reply: cluster_pb2.ChangeVoterReply = await self._write("AddVoter", request, self._timeout_s * 2)
        return reply

    async def remove_voter(self, node: str) -> cluster_pb2.ChangeVoterReply:
        """It goes on as a worker. One that leads hands leadership over, and the next leader removes it."""
        request = cluster_pb2.RemoveVoterRequest(mutation=self._mutation(), node=node)
        reply: cluster_pb2.ChangeVoterReply = await self._write("RemoveVoter", request, self._timeout_s * 2)
        return reply

    async def finalize(self) -> cluster_pb2.FinalizeReply:
        """Raise the feature level to what all voters know; says what it was and is."""
        request = cluster_pb2.FinalizeRequest(mutation=self._mutation())
        reply: cluster_pb2.FinalizeReply = await self._write("Finalize", request, self._timeout_s)
        return reply

    async def transfer_leader(self, node: str = "") -> cluster_pb2.TransferLeaderReply:
        """Returns the new leader; an empty `node` means the most up to date voter."""
        request = cluster_pb2.TransferLeaderRequest(node=node)
        # While leadership is handed over nothing is changed: in vain once is enough.
        reply: cluster_pb2.TransferLeaderReply = await self._call(
            "TransferLeader", request, self._timeout_s, final=("deadline", "outcome_unknown")
        )
        self.leader = reply.leader
        return reply
