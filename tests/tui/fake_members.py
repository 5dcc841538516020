"""The fake cluster's voters: every node votes, and whoever is added catches up when a test says so."""

from __future__ import annotations

from cortex.v1 import cluster_pb2 as pb
from tests.tui.fake_cluster import FakeCluster, Refusal


class MemberServicer:
    """`cluster.learners` says of each learner whether it has caught up."""

    _cluster: FakeCluster

    def _ListVoters(self, request: pb.ListVotersRequest) -> pb.ListVotersReply:
        cluster = self._cluster
        for node, ready in list(cluster.learners.items()):
            if ready:
                del cluster.learners[node]
                cluster.voters.add(node)
        views = [
            pb.VoterView(
                id=node,
                address=cluster.nodes[node].node.address,
                voter=node in cluster.voters,
                leader=node == cluster.leader,
                up=True,
                match_index=cluster.index - 2 * (node in cluster.learners),
                lag=2 * (node in cluster.learners),
                catching_up=node in cluster.learners,
            )
            for node in sorted(cluster.voters | cluster.learners.keys())
        ]
        return pb.ListVotersReply(voters=views, index=cluster.index, term=1, known=bool(cluster.leader))

    def _AddVoter(self, request: pb.AddVoterRequest) -> pb.ChangeVoterReply:
        cluster = self._cluster
        if request.node not in cluster.nodes:
            raise Refusal("not_found", f"There is no node {request.node!r}.", "List the nodes with `cortex nodes`.")
        cluster.voters.discard(request.node)
        voter = cluster.learners.setdefault(request.node, False)
        return self._member_changed(request.mutation, request.node, voter=voter)

    def _RemoveVoter(self, request: pb.RemoveVoterRequest) -> pb.ChangeVoterReply:
        cluster = self._cluster
        if len(cluster.voters) == 1:
            raise Refusal("wrong_state", f"{request.node} is the last voter.", "Add another one first.")
        cluster.voters.discard(request.node)
        cluster.learners.pop(request.node, None)
        return self._member_changed(request.mutation, request.node)

    def _InspectNode(self, request: pb.InspectNodeRequest) -> pb.InspectNodeReply:
        """`cluster.inspected` by node; nothing runs on any other."""
        reply = pb.InspectNodeReply(node=request.node)
        known = self._cluster.inspected.get(request.node)
        if known is not None:
            reply.CopyFrom(known)
        if not request.span_us:
            del reply.history[:]
        return reply

    def _BenchNode(self, request: pb.BenchNodeRequest) -> pb.BenchNodeReply:
        """`cluster.benchmarks` by node; one that is not there cannot be measured."""
        measured = self._cluster.benchmarks.get(request.node)
        if measured is None:
            message = f"The node {request.node} does not answer, and only it knows that."
            raise Refusal("wrong_state", message, "Try again when it is back; see `cortex nodes`.")
        self._cluster.nodes[request.node].resources.benchmark.CopyFrom(measured)
        return pb.BenchNodeReply(node=request.node, benchmark=measured)

    def _member_changed(self, mutation: pb.Mutation, node: str, *, voter: bool = False) -> pb.ChangeVoterReply:
        return pb.ChangeVoterReply(
            operation_id=mutation.request_id, index=self._cluster.index, ids=[node], voter=voter
        )
