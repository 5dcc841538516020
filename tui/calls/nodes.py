"""Calls about nodes and the cluster itself."""

from __future__ import annotations

from cortex.v1 import cluster_pb2
from tui.calls.base import Calls


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
        reply: cluster_pb2.TransferLeaderReply = await self._call("TransferLeader", request, self._timeout_s)
        self.leader = reply.leader
        return reply
