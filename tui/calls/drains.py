"""Calls that take a machine out of the cluster."""

from __future__ import annotations

from cortex.v1 import cluster_pb2
from tui.calls.base import Calls


class DrainCalls(Calls):
    """Rehearse a drain, drain, remove."""

    async def rehearse_drain(self, request: cluster_pb2.DrainRequest) -> cluster_pb2.RehearseDrainReply:
        reply: cluster_pb2.RehearseDrainReply = await self._call("RehearseDrain", request, self._timeout_s)
        return reply

    async def drain_node(self, request: cluster_pb2.DrainRequest) -> cluster_pb2.DrainNodeReply:
        """`request.mutation` is filled in."""
        request.mutation.CopyFrom(self._mutation())
        reply: cluster_pb2.DrainNodeReply = await self._write("DrainNode", request)
        return reply

    async def remove_node(self, node: str, message: str = "") -> cluster_pb2.MutationReply:
        request = cluster_pb2.CordonNodeRequest(mutation=self._mutation(), node=node, message=message)
        reply: cluster_pb2.MutationReply = await self._write("RemoveNode", request)
        return reply
