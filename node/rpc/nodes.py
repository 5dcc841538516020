"""Calls about the machines and the cluster as a whole."""

from __future__ import annotations

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import log_pb2, types_pb2
from node import __version__
from node.consensus.port import Peer
from node.core import validate
from node.core.faults import Code, Fault
from node.core.model import LIVE
from node.core.state import ClusterState
from node.link import Caller
from node.rpc.calls import Calls, Handlers
from node.store.asof import Moment

_QUIET_LIMIT_MS = 60_000


class NodeCalls(Calls):
    """Every method raises Fault."""

    def handlers(self) -> Handlers:
        return {
            "ListNodes": self.list_nodes,
            "CordonNode": self.cordon_node,
            "UncordonNode": self.uncordon_node,
            "Status": self.status,
            "Quiesce": self.quiesce,
        }

    async def cordon_node(self, request: pb.CordonNodeRequest, caller: Caller) -> pb.MutationReply:
        return await self._cordon(request, caller, cordoned=True)

    async def uncordon_node(self, request: pb.CordonNodeRequest, caller: Caller) -> pb.MutationReply:
        return await self._cordon(request, caller, cordoned=False)

    async def quiesce(self, request: pb.QuiesceRequest, caller: Caller) -> pb.QuiesceReply:
        """Concerns this daemon alone: it is about to stop."""
        if not 1 <= request.hold_ms <= _QUIET_LIMIT_MS or not 0 <= request.wait_ms <= request.hold_ms:
            message = f"hold_ms is {request.hold_ms} and wait_ms {request.wait_ms}."
            remedy = f"hold_ms goes from 1 to {_QUIET_LIMIT_MS}, wait_ms from 0 to hold_ms."
            raise Fault(Code.INVALID, message, remedy)
        counts = await self._parts.leadership.quiesce(request.hold_ms * 1000, request.wait_ms * 1000)
        return pb.QuiesceReply(led=True, migrated=counts[0], left=counts[1]) if counts else pb.QuiesceReply()

    async def list_nodes(self, request: pb.ListNodesRequest, caller: Caller) -> pb.ListNodesReply:
        """Samples are only on the leader; without one the rows are shown alone, as they are of a past moment."""
        await self._fresh(request.freshness)
        moment = await self._moment(request.at)
        if moment is not None:
            return await self._nodes_at(moment)
        if not self._replica.serving:
            try:
                return await self._ask_leader("ListNodes", request, pb.ListNodesReply, caller)
            except Fault as fault:
                if fault.code != Code.NO_LEADER:
                    raise
        return self.known_now(waiting=request.waiting)

    def known_now(self, *, waiting: bool = True) -> pb.ListNodesReply:
        """What this daemon knows; samples, reasons and progress only where it leads."""
        leads = waiting and self._replica.serving
        return pb.ListNodesReply(
            nodes=self.node_views(),
            index=self._state.index,
            age_us=self._age_us(),
            waiting=self._parts.leadership.waiting() if leads else (),
            progress=self._parts.leadership.progress() if leads else (),
        )

    async def _nodes_at(self, moment: Moment) -> pb.ListNodesReply:
        nodes, held, at = await self._replica.read(lambda reads: reads.nodes_at(moment))
        views = [
            pb.NodeView(node=node, age_us=-1, assigned=held[node.id].assigned, running=held[node.id].running)
            for node in nodes
        ]
        shown = pb.Moment(index=at.index, at_us=at.at_us)
        return pb.ListNodesReply(nodes=views, index=at.index, age_us=self._past_age_us(at), at=shown)

    def node_views(self) -> list[pb.NodeView]:
        """By id. Tasks are counted by whichever daemon; samples and scores come from the one that leads."""
        if self._replica.serving:
            return self._parts.leadership.node_views()
        views = []
        for node_id, node in sorted(self._state.nodes.items()):
            running, assigned = self._state.held(node_id)
            leads = node_id == self._replica.leader
            views.append(pb.NodeView(node=node, age_us=-1, leader=leads, running=running, assigned=assigned))
        return views

    async def status(self, request: pb.StatusRequest, caller: Caller) -> pb.StatusReply:
        consensus = self._replica.consensus
        if not self._replica.serving and self._replica.leader and caller.hops == 0:
            try:
                reply = await self._ask_leader("Status", request, pb.StatusReply, caller)
            except Fault:
                pass
            else:
                # Who is up only the leader knows; what is applied here only this daemon does.
                reply.node, reply.applied = self._parts.node_id, self._state.index
                reply.digest = self._state.digest_bytes().hex()
                reply.notice = consensus.notice
                reply.age_us = self._age_us()
                return reply
        voters = [_status(peer) for peer in consensus.peers if peer.voter]
        healthy = self._replica.serving and sum(voter.up for voter in voters) * 2 > len(voters)
        return pb.StatusReply(
            leader=self._replica.leader or "",
            term=self._replica.term,
            index=consensus.commit_index,
            applied=self._state.index,
            voters=voters,
            learners=[_status(peer) for peer in consensus.peers if not peer.voter],
            workers=sum(node.online for node in self._state.nodes.values()),
            healthy=healthy,
            level=self._state.level,
            version=__version__,
            node=self._parts.node_id,
            digest=self._state.digest_bytes().hex(),
            cluster_id=self._parts.cluster_id,
            tasks=_live_counts(self._state),
            age_us=self._age_us(),
            notice=consensus.notice,
            alarms=[
                pb.NodeTrouble(node=node.id, alarm=node.alarm)
                for _, node in sorted(self._state.nodes.items())
                if node.alarm
            ],
        )

    async def _cordon(self, request: pb.CordonNodeRequest, caller: Caller, *, cordoned: bool) -> pb.MutationReply:
        node_id = self._lookup.node_id(request.node)
        cordon = log_pb2.NodeCordon(id=node_id, cordoned=cordoned, message=validate.reason(request.message))
        return await self._mutate([log_pb2.Command(node_cordon=cordon)], request.mutation, caller)


def _status(peer: Peer) -> pb.VoterStatus:
    return pb.VoterStatus(id=peer.id, address=peer.address, up=peer.up, match_index=peer.match_index)


def _live_counts(state: ClusterState) -> dict[str, int]:
    names = types_pb2.TaskState.Name
    return {
        names(types_pb2.TaskState.ValueType(number)).removeprefix("TASK_STATE_").lower(): count
        for number, count in sorted(state.counts.items())
        if number in LIVE
    }
