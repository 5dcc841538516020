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

    def _member_changed(self, mutation: pb.Mutation, node: str, *, voter: bool = False) -> pb.ChangeVoterReply:
        return pb.ChangeVoterReply(
            operation_id=mutation.request_id, index=self._cluster.index, ids=[node], voter=voter
        )
