"""The pre-vote and check-quorum family of etcd's raft, split votes, and who may disturb whom, on whole clusters."""

from __future__ import annotations

import asyncio

import pytest

from node.consensus.port import NotLeader, Role
from tests.consensus.proposal_kit import Cluster, S, cluster_test, engine_of, propose, start
from tests.sim.engine_world import Voter


def stand(voter: Voter, *, transfer: bool = False) -> None:
    """Its election timer fires now."""
    assert voter.machine.life is not None
    state = engine_of(voter)._state
    state.set_leader(None)
    state.leader_heard_at = float("-inf")
    voter.machine.life.call(state.campaign, transfer)


def leaders(cluster: Cluster) -> list[Voter]:
    return [voter for voter in cluster.up if engine_of(voter).role is Role.LEADER]


class TestCheckQuorum:
    def test_a_leader_cut_off_stops_within_one_election_timeout(self) -> None:
        """etcd raft TestLeaderStepdownWhenQuorumLost; dissertation 6.2."""

        async def check(cluster: Cluster) -> None:
            old = cluster.head
            cluster.isolate(old)
            await asyncio.sleep(S.step_down_s + S.heartbeat_s)
            assert engine_of(old).role is not Role.LEADER
            with pytest.raises(NotLeader):
                await propose(old, "lost")
            with pytest.raises(NotLeader):
                await start(old, engine_of(old).read_index())

        cluster_test(check)

    def test_a_leader_with_its_quorum_stays(self) -> None:
        """etcd raft TestLeaderStepdownWhenQuorumActive."""

        async def check(cluster: Cluster) -> None:
            old, term = cluster.head, engine_of(cluster.head).term
            cluster.isolate(cluster.others[0])
            await asyncio.sleep(10 * S.step_down_s)
            assert (cluster.head, engine_of(old).term) == (old, term)

        cluster_test(check)

    def test_a_new_leader_is_followed_by_the_deposed(self) -> None:
        """etcd raft TestLeaderSupersedingWithCheckQuorum, TestLeaderElectionWithCheckQuorum."""

        async def check(cluster: Cluster) -> None:
            old = cluster.head
            cluster.isolate(old)
            await asyncio.sleep(3 * S.election_max_s)
            new = cluster.head
            assert new is not old
            await propose(new, "newer")
            cluster.network.heal()
            await cluster.settled()
            assert cluster.head is new
            assert old.log.entries == new.log.entries

        cluster_test(check)

    def test_one_whose_term_is_ahead_is_freed(self) -> None:
        """etcd raft TestFreeStuckCandidateWithCheckQuorum: the leader takes over its term and is elected again."""

        async def check(cluster: Cluster) -> None:
            stuck = cluster.others[0]
            cluster.isolate(stuck)
            for _ in range(5):
                stand(stuck, transfer=True)
                await asyncio.sleep(S.election_max_s)
            ahead = engine_of(stuck).term
            assert ahead > engine_of(cluster.head).term
            cluster.network.heal()
            await asyncio.sleep(3 * S.election_max_s)
            await cluster.settled()
            assert engine_of(cluster.head).term > ahead
            assert len(leaders(cluster)) == 1
            assert await propose(stuck, "a") > 0

        cluster_test(check)


class TestPreVote:
    def test_one_that_was_away_does_not_depose_the_leader(self) -> None:
        """etcd raft TestDisruptiveFollowerPreVote; dissertation 9.6."""

        async def check(cluster: Cluster) -> None:
            old, term, away = cluster.head, engine_of(cluster.head).term, cluster.others[0]
            cluster.isolate(away)
            await asyncio.sleep(20 * S.election_max_s)
            assert engine_of(away).term == term
            cluster.network.heal()
            await cluster.settled()
            assert (cluster.head, engine_of(old).term) == (old, term)

        cluster_test(check)

    def test_one_that_only_hears_nothing_disturbs_nobody(self) -> None:
        """Disruptive follower behind a one-way link: dissertation 4.2.3 and 9.6."""

        async def check(cluster: Cluster) -> None:
            old, term, deaf = cluster.head, engine_of(cluster.head).term, cluster.others[0]
            for voter in cluster.up:
                if voter is not deaf:
                    cluster.network.cut(voter.address, deaf.address)
            await asyncio.sleep(20 * S.election_max_s)
            assert (cluster.head, engine_of(old).term) == (old, term)

        cluster_test(check)

    def test_two_that_stand_at_once(self) -> None:
        """etcd raft TestPreVoteWithSplitVote: nobody wins, and one does soon after."""

        async def check(cluster: Cluster) -> None:
            old, others = cluster.head, cluster.others
            old.go_down(power_loss=False)
            for voter in others:
                stand(voter)
            await cluster.settled()
            assert len(leaders(cluster)) == 1

        for seed in range(5):
            cluster_test(check, seed=seed)

    def test_one_of_an_older_term_completes_an_election(self) -> None:
        """etcd raft TestNodeWithSmallerTermCanCompleteElection."""

        async def check(cluster: Cluster) -> None:
            behind = cluster.others[0]
            cluster.isolate(behind)
            for _ in range(3):
                await start(cluster.head, engine_of(cluster.head).transfer())
                await asyncio.sleep(0.5)
            assert engine_of(behind).term < engine_of(cluster.head).term
            cluster.network.heal()
            cluster.head.go_down(power_loss=False)
            await cluster.settled()
            assert await propose(behind, "a") > 0

        cluster_test(check)

    def test_pre_votes_of_all_bring_no_storm(self) -> None:
        """etcd raft TestPreVoteMigrationWithFreeStuckPreCandidate, the cluster's side: one term, one leader."""

        async def check(cluster: Cluster) -> None:
            old, term = cluster.head, engine_of(cluster.head).term
            old.go_down(power_loss=False)
            await cluster.settled()
            assert engine_of(cluster.head).term <= term + 3

        cluster_test(check, size=5)


class TestSplitVotes:
    def test_with_an_even_number_of_voters_one_wins_in_the_end(self) -> None:
        """Raft paper 5.2, split votes: randomised timeouts settle them."""

        async def check(cluster: Cluster) -> None:
            for _ in range(3):
                old = cluster.head
                for voter in cluster.others:
                    stand(voter, transfer=True)
                await asyncio.sleep(S.election_max_s)
                await cluster.settled()
                assert len(leaders(cluster)) == 1
                assert await propose(old, "a") > 0

        cluster_test(check, size=4)

    def test_two_candidates_of_one_term(self) -> None:
        """etcd raft TestDuelingCandidates: the one with the shorter log loses, and follows."""

        async def check(cluster: Cluster) -> None:
            short, long = cluster.others
            cluster.isolate(short)
            await propose(cluster.head, "only on two")
            cluster.head.go_down(power_loss=False)
            cluster.network.heal()
            stand(short, transfer=True)
            stand(long, transfer=True)
            await cluster.settled()
            assert cluster.head is long
            assert short.log.entries == long.log.entries

        cluster_test(check)
