"""Clusters that grow and shrink, one member at a time, on virtual time."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from node.consensus.membership import MEMBERS_LIMIT, Change, ChangeKind, ChangeRefused
from node.consensus.port import ChangeInProgress, NotLeader, Role
from tests.consensus.proposal_kit import Cluster, S, cluster_test, engine_of, propose, start

ADD, PROMOTE, REMOVE = ChangeKind.ADD_LEARNER, ChangeKind.PROMOTE, ChangeKind.REMOVE


class TestGrowth:
    def test_one_voter_two_three(self) -> None:
        async def check(cluster: Cluster) -> None:
            before = await propose(cluster.head, "before")
            for count, name in enumerate(("n2", "n3"), 2):
                await cluster.change(ADD, name)
                assert engine_of(cluster.head).membership.learners == (name,)
                await cluster.change(PROMOTE, name)
                assert len(engine_of(cluster.head).membership.voters) == count
            after = await propose(cluster.head, "after")
            await cluster.settled()
            for voter in cluster.voters:
                assert engine_of(voter).membership.voters == ("n1", "n2", "n3")
                assert [voter.log.entries[index - 1].data for index in (before, after)] == [b"before", b"after"]

        cluster_test(check, size=1, spares=2)

    def test_the_grown_cluster_outlives_its_first_voter(self) -> None:
        async def check(cluster: Cluster) -> None:
            await cluster.add_voter("n2")
            await cluster.add_voter("n3")
            index = await propose(cluster.head, "kept")
            cluster.named("n1").go_down(power_loss=True)
            await cluster.settled()
            assert cluster.head.id in ("n2", "n3")
            assert cluster.head.log.entries[index - 1].data == b"kept"
            assert await propose(cluster.head, "more") > index

        cluster_test(check, size=1, spares=2)

    def test_what_a_restart_finds_in_the_journal_beats_the_configuration(self) -> None:
        async def check(cluster: Cluster) -> None:
            await cluster.add_voter("n4")
            await cluster.change(REMOVE, next(voter.id for voter in cluster.others if voter.id != "n4"))
            expected = engine_of(cluster.head).membership
            await cluster.settled()
            for voter in cluster.voters:
                voter.go_down(power_loss=True)
                await voter.boot()
            await cluster.settled()
            for member in expected.members:
                assert engine_of(cluster.named(member.id)).membership == expected

        cluster_test(check, spares=1)

    def test_a_learner_is_sent_everything_and_counts_nowhere(self) -> None:
        async def check(cluster: Cluster) -> None:
            await cluster.change(ADD, "n4")
            await propose(cluster.head, "a")
            await cluster.settled()
            learner = cluster.named("n4")
            assert learner.log.entries == cluster.head.log.entries
            # Two of three voters away: the learner makes no majority.
            for voter in cluster.others:
                if voter is not learner:
                    cluster.isolate(voter)
            call = propose(cluster.head, "b")
            await asyncio.sleep(3 * S.election_max_s)
            assert not call.done() or call.exception() is not None
            assert cluster.leader() is None
            assert engine_of(learner).role is Role.FOLLOWER

        cluster_test(check, spares=1)


class TestShrinking:
    def test_three_two_one(self) -> None:
        async def check(cluster: Cluster) -> None:
            index = await propose(cluster.head, "kept")
            while cluster.others:
                gone = cluster.others[0]
                await cluster.change(REMOVE, gone.id)
                await asyncio.sleep(1)
                assert engine_of(gone).membership.find(gone.id) is None
                gone.go_down(power_loss=True)
                await propose(cluster.head, "more")
            assert engine_of(cluster.head).membership.voters == (cluster.head.id,)
            assert cluster.head.log.entries[index - 1].data == b"kept"

        cluster_test(check)

    def test_a_removed_voter_is_told_and_stands_no_more(self) -> None:
        """Removed node keeps campaigning: dissertation 4.2.3; here it never begins."""

        async def check(cluster: Cluster) -> None:
            gone, term = cluster.others[0], engine_of(cluster.head).term
            await cluster.change(REMOVE, gone.id)
            await asyncio.sleep(10 * S.election_max_s)
            assert engine_of(gone).role is Role.FOLLOWER
            assert engine_of(gone).leader is None
            assert gone.log.entries == cluster.head.log.entries
            assert engine_of(cluster.head).term == term

        cluster_test(check)

    def test_a_removed_voter_that_never_heard_of_it_disturbs_nobody(self) -> None:
        """Disruptive server: dissertation 4.2.3, etcd raft TestDisruptiveFollower."""

        async def check(cluster: Cluster) -> None:
            gone, head = cluster.others[0], cluster.head
            cluster.isolate(gone)
            await cluster.change(REMOVE, gone.id)
            await asyncio.sleep(S.farewell_s + 2)
            term = engine_of(head).term
            cluster.network.heal()
            for _ in range(10):
                await propose(head, "x")
                await asyncio.sleep(S.election_max_s)
            assert engine_of(gone).role is Role.FOLLOWER, "it was told why nobody votes for it"
            assert (cluster.head, engine_of(head).term) == (head, term)
            gone.go_down(power_loss=True)
            await gone.boot()
            with structlog.testing.capture_logs() as logs:
                await asyncio.sleep(10 * S.election_max_s)
            assert [entry["remedy"] for entry in logs if "was removed" in entry["event"]] == [
                f"Leave it as a worker, or add it again with `cortex voters add {gone.id}`."
            ]
            await cluster.add_voter(gone.id)
            head.go_down(power_loss=True)
            await cluster.settled()

        cluster_test(check)

    def test_a_leader_that_dies_before_a_removal_is_committed_leaves_two_that_go_on(self) -> None:
        async def check(cluster: Cluster) -> None:
            old = cluster.head
            gone, other = cluster.others
            cluster.network.cut(old.address, other.address)
            change = start(old, engine_of(old).change_membership(Change(REMOVE, gone.id), b""))
            await asyncio.sleep(3 * S.heartbeat_s)
            assert not change.done()
            old.go_down(power_loss=False)
            cluster.network.heal()
            await cluster.settled()
            assert len(engine_of(cluster.head).membership.voters) == 3
            assert await propose(cluster.head, "x") > 0

        cluster_test(check)

    def test_it_can_be_added_again(self) -> None:
        async def check(cluster: Cluster) -> None:
            gone = cluster.others[0]
            await cluster.change(REMOVE, gone.id)
            await cluster.add_voter(gone.id)
            await cluster.settled()
            assert len(engine_of(gone).membership.voters) == 3
            assert gone.log.entries == cluster.head.log.entries

        cluster_test(check)

    def test_a_leader_goes_after_it_handed_over(self) -> None:
        async def check(cluster: Cluster) -> None:
            old = cluster.head
            await start(old, engine_of(old).transfer())
            await cluster.settled()
            await cluster.change(REMOVE, old.id)
            await asyncio.sleep(2 * S.election_max_s)
            assert engine_of(old).role is Role.FOLLOWER
            assert await propose(cluster.head, "x") > 0
            assert engine_of(cluster.head).membership.find(old.id) is None

        cluster_test(check)


class TestRefusals:
    def test_of_what_makes_no_sense(self) -> None:
        async def check(cluster: Cluster) -> None:
            head, other = cluster.head, cluster.others[0]
            for change, why in [
                (Change(ADD, other.id, "elsewhere:1"), f"{other.id} is a voter already."),
                (Change(ADD, "n9", other.address), f"Another member has the address {other.address}."),
                (Change(PROMOTE, "n9"), "n9 is not a member."),
                (Change(PROMOTE, other.id), f"{other.id} is a voter already."),
                (Change(REMOVE, "n9"), "n9 is not a member."),
                (Change(REMOVE, head.id), f"{head.id} leads: hand leadership over to another voter first."),
            ]:
                last = engine_of(head).last_index
                with pytest.raises(ChangeRefused) as refused:
                    await start(head, engine_of(head).change_membership(change, b""))
                assert str(refused.value) == why
                assert engine_of(head).last_index == last

        cluster_test(check)

    def test_of_more_than_the_limit(self) -> None:
        async def check(cluster: Cluster) -> None:
            head = engine_of(cluster.head)
            for number in range(2, MEMBERS_LIMIT + 1):
                await start(cluster.head, head.change_membership(Change(ADD, f"m{number}", f"m{number}:1"), b""))
            with pytest.raises(ChangeRefused, match="There are 16 members already"):
                await start(cluster.head, head.change_membership(Change(ADD, "more", "more:1"), b""))

        cluster_test(check, size=1)

    def test_of_the_last_voter(self) -> None:
        async def check(cluster: Cluster) -> None:
            with pytest.raises(ChangeRefused, match="last voter"):
                await cluster.change(REMOVE, "n1")

        cluster_test(check, size=1)

    def test_of_one_that_would_break_quorum(self) -> None:
        async def check(cluster: Cluster) -> None:
            down, alive = cluster.others
            down.go_down(power_loss=True)
            await asyncio.sleep(2 * S.election_max_s)
            with pytest.raises(ChangeRefused, match="break quorum: 1 of the 2 voters"):
                await cluster.change(REMOVE, alive.id)
            await cluster.change(REMOVE, down.id)
            assert len(engine_of(cluster.head).membership.voters) == 2

        cluster_test(check)

    def test_of_a_learner_that_is_away(self) -> None:
        async def check(cluster: Cluster) -> None:
            await cluster.change(ADD, "n4")
            cluster.named("n4").go_down(power_loss=True)
            await asyncio.sleep(2 * S.election_max_s)
            with pytest.raises(ChangeRefused, match="n4 has not caught up"):
                await start(cluster.head, engine_of(cluster.head).change_membership(Change(PROMOTE, "n4"), b""))
            await cluster.change(REMOVE, "n4")
            assert engine_of(cluster.head).membership.learners == ()

        cluster_test(check, spares=1)

    def test_anywhere_but_on_the_leader(self) -> None:
        async def check(cluster: Cluster) -> None:
            follower = engine_of(cluster.others[0])
            with pytest.raises(NotLeader):
                await start(cluster.others[0], follower.change_membership(Change(ADD, "n4", "n4:1"), b""))

        cluster_test(check)

    def test_while_another_is_not_committed(self) -> None:
        async def check(cluster: Cluster) -> None:
            head = engine_of(cluster.head)
            first = start(cluster.head, head.change_membership(Change(ADD, "n4", "n4:1"), b""))
            second = start(cluster.head, head.change_membership(Change(ADD, "n5", "n5:1"), b""))
            with pytest.raises(ChangeInProgress):
                await second
            assert await first == head.commit_index
            assert head.membership.learners == ("n4",)

        cluster_test(check, spares=2)
