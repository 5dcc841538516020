"""Membership as one daemon sees it: in force from the append, taken back with it; who votes, and for whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from node.consensus.membership import Change, ChangeKind, Member, Membership
from node.consensus.port import ChangeInProgress, Committed, Role, Superseded
from node.consensus.raftos import engine as engine_module
from node.consensus.raftos.engine import RaftosEngine
from node.consensus.raftos.memberships import Memberships
from node.consensus.raftos.wire import Data
from tests.consensus.proposal_kit import Cluster, S, cluster_test, engine_of, propose, start
from tests.consensus.rigs import ALL, CLUSTER, ME, B, C, D, E, Ours
from tests.sim.loop import run

ADD, REMOVE = ChangeKind.ADD_LEARNER, ChangeKind.REMOVE


def of(*voters: str, learners: tuple[str, ...] = ()) -> Membership:
    return Membership.of(
        [*(Member(voter, voter) for voter in voters), *(Member(learner, learner, False) for learner in learners)]
    )


def rig_test(check: Callable[[Ours], Awaitable[None]], voters: int = 3, *, standby: bool = False) -> None:
    async def main() -> None:
        voter = Ours(voters=voters, standby=standby)
        await voter.start()
        await check(voter)

    run(main)


def ask(voter: Ours, kind: ChangeKind, peer: str) -> asyncio.Future[int]:
    return asyncio.ensure_future(voter.life.spawn(voter.engine.change_membership(Change(kind, peer, peer), b"x")))


def append(voter: Ours, leader: str, term: int, prev: tuple[int, int], entries: list[tuple[object, ...]]) -> None:
    """As Rig.append, with entries that may carry a membership behind term and text."""
    head: Data = {"type": "append_entries", "sender": leader, "leader_id": leader, "term": term, "wall_us": 0}
    place = {"prev_log_index": prev[0], "prev_log_term": prev[1], "commit_index": 0, "request_id": 1}
    voter.give({**head, **place, "entries": entries})


class TestHistory:
    def test_each_index_has_the_one_that_was_in_force(self) -> None:
        known = Memberships(of("a"))
        assert (known.current, known.index, known.former) == (of("a"), 0, of("a"))
        entries = [Committed(1, 1, b""), Committed(2, 1, b"", of("a", "b").encode()), Committed(3, 1, b"")]
        assert known.append(entries)
        assert not known.append([Committed(4, 1, b"")])
        known.append([Committed(5, 2, b"", of("b").encode())])
        assert (known.current, known.index, known.former) == (of("b"), 5, of("a", "b"))
        assert [known.at(index) for index in (0, 1, 2, 4, 5, 9)] == [
            *[of("a")] * 2,
            *[of("a", "b")] * 2,
            *[of("b")] * 2,
        ]

    def test_a_cut_takes_back_what_the_entries_brought(self) -> None:
        known = Memberships(of("a"))
        known.append([Committed(2, 1, b"", of("a", "b").encode()), Committed(5, 2, b"", of("b").encode())])
        assert not known.cut(6)
        assert known.cut(5)
        assert (known.current, known.index) == (of("a", "b"), 2)
        assert known.cut(1)
        assert (known.current, known.index) == (of("a"), 0)

    def test_what_is_in_force_where_the_log_begins_stays_known(self) -> None:
        known = Memberships(of("a"))
        known.append([Committed(2, 1, b"", of("a", "b").encode()), Committed(5, 2, b"", of("b").encode())])
        known.forget_before(4)
        assert known.at(4) == of("a", "b")
        known.forget_before(5)
        assert known.at(5) == known.current == of("b")


class TestInForce:
    def test_from_the_append_and_not_when_it_is_cut(self) -> None:
        """Raft paper 6 and dissertation 4.1: the last one in the log, committed or not."""

        async def check(voter: Ours) -> None:
            append(voter, B, 1, (0, 0), [(1, "a"), (1, "change", of(ME, B, C, D).encode())])
            assert voter.engine.membership == of(ME, B, C, D)
            assert [peer.id for peer in voter.engine.peers] == [ME, B, C, D]
            append(voter, C, 2, (1, 1), [(2, "other")])
            assert voter.engine.membership == of(ME, B, C)

        rig_test(check)

    def test_after_a_restart_and_not_what_the_configuration_says(self) -> None:
        async def check(voter: Ours) -> None:
            append(voter, B, 1, (0, 0), [(1, "change", of(ME, B, C, D, E).encode()), (1, "a")])
            await voter.settle()
            await voter.lose_power()
            assert voter.engine.membership == of(ME, B, C, D, E)

        rig_test(check)

    def test_bytes_that_are_no_membership_are_dropped(self) -> None:
        async def check(voter: Ours) -> None:
            for broken in (b"\xff\xff", of().encode(), of(learners=(B,)).encode()):
                append(voter, B, 1, (0, 0), [(1, "change", broken)])
            assert voter.log == []

        rig_test(check)

    def test_the_first_entry_says_who_bootstrapped_the_log(self) -> None:
        async def check(voter: Ours) -> None:
            await voter.lead()
            (first,) = voter.engine._log.entries
            assert Membership.decode(first.membership) == of(ME, B, C)

        rig_test(check)

    def test_needs_voters_or_an_address(self) -> None:
        async def main() -> None:
            voter = Ours()
            env = voter.machine.boot()[1]
            for voters, address in (({B: B}, ME), ({}, "")):
                with pytest.raises(ValueError, match="cluster id"):
                    RaftosEngine(env, voter.host, ME, voters, CLUSTER, lambda *_: None, address=address)

        run(main)


class TestStandby:
    def test_it_waits_for_ever(self) -> None:
        async def check(voter: Ours) -> None:
            await asyncio.sleep(60)
            assert (voter.role, voter.term, voter.sent) == ("follower", 0, [])
            assert voter.engine.membership == Membership()

        rig_test(check, standby=True)

    def test_it_takes_the_log_of_whoever_leads_and_does_not_stand_while_it_learns(self) -> None:
        """etcd raft TestLearnerElectionTimeout, TestNonPromotableVoterWithCheckQuorum."""

        async def check(voter: Ours) -> None:
            append(voter, B, 4, (0, 0), [(4, "", of(B).encode()), (4, "", of(B, learners=(ME,)).encode())])
            await voter.settle()
            (answer,) = voter.taken("append_entries_response")
            assert (answer["to"], answer["success"], answer["last_log_index"]) == (B, True, 2)
            await asyncio.sleep(10 * S.election_max_s)
            assert (voter.role, voter.engine.leader) == ("follower", None)
            assert voter.taken("request_vote") == []

        rig_test(check, standby=True)

    def test_it_stands_once_it_is_a_voter(self) -> None:
        """etcd raft TestLearnerPromotion."""

        async def check(voter: Ours) -> None:
            append(voter, B, 4, (0, 0), [(4, "", of(B, learners=(ME,)).encode()), (4, "", of(B, ME).encode())])
            await voter.settle()
            voter.sent.clear()
            assert await voter.stand() == 5

        rig_test(check, standby=True)

    @pytest.mark.parametrize("pre_vote", [False, True])
    def test_it_votes_when_asked(self, pre_vote: bool) -> None:
        """etcd raft TestLearnerCanVote: whoever asks may know of a promotion that has not arrived here."""

        async def check(voter: Ours) -> None:
            append(voter, B, 4, (0, 0), [(4, "", of(B, C, learners=(ME,)).encode())])
            await asyncio.sleep(2 * S.election_max_s)
            voter.sent.clear()
            voter.ask_vote(C, 5, last_index=1, last_term=4, pre_vote=pre_vote)
            await voter.settle()
            (answer,) = voter.taken("request_vote_response")
            assert (answer["to"], answer["vote_granted"]) == (C, True)

        rig_test(check, standby=True)


class TestVotes:
    def test_a_candidate_that_this_log_does_not_know_is_answered(self) -> None:
        """Dissertation 4.1: servers process requests of those who are not in their own configuration."""

        async def check(voter: Ours) -> None:
            voter.ask_vote(ALL[6], 3)
            await voter.settle()
            (answer,) = voter.taken("request_vote_response")
            assert (answer["to"], answer["vote_granted"]) == (ALL[6], True)

        rig_test(check)

    def test_not_while_a_leader_is_heard(self) -> None:
        """Dissertation 4.2.3: a removed server that knows nothing of it keeps asking."""

        async def check(voter: Ours) -> None:
            voter.append(B, 3)
            await voter.settle()
            voter.sent.clear()
            voter.ask_vote(ALL[6], 9)
            voter.ask_vote(ALL[6], 9, pre_vote=True)
            await voter.settle()
            (answer,) = voter.taken("request_vote_response")
            assert (answer["vote_granted"], answer["pre_vote"], voter.term) == (False, True, 3)

        rig_test(check)

    def test_of_learners_and_strangers_do_not_count(self) -> None:
        """etcd raft TestLearnerPromotion, TestLearnerLogReplication: a learner is no part of a majority."""

        async def check(voter: Ours) -> None:
            append(voter, B, 1, (0, 0), [(1, "", of(ME, B, C, learners=(D,)).encode())])
            await voter.settle()
            term = await voter.stand()
            for stranger in (D, E, ALL[6]):
                voter.vote(stranger, term)
            await voter.settle()
            assert voter.role == "candidate"
            voter.vote(C, term)
            await voter.settle()
            assert voter.role == "leader"

        rig_test(check)


class TestLeader:
    def test_it_changes_nothing_before_it_committed_an_entry_of_its_own(self) -> None:
        """The bug in single-server changes that D. Ongaro announced on raft-dev on 10 July 2015."""

        async def check(voter: Ours) -> None:
            term = await voter.lead()
            with pytest.raises(ChangeInProgress):
                await ask(voter, ADD, D)
            voter.appended(B, term, last_index=1)
            await voter.settle()
            change = asyncio.ensure_future(
                voter.life.spawn(voter.engine.change_membership(Change(ADD, D, D), b"x"))
            )
            await voter.settle()
            voter.appended(B, term, last_index=2)
            assert await change == 2
            assert voter.engine.membership.learners == (D,)

        rig_test(check)

    def test_what_only_a_learner_has_is_not_committed(self) -> None:
        """etcd raft TestLearnerLogReplication."""

        async def check(voter: Ours) -> None:
            term = await voter.lead()
            voter.appended(B, term, last_index=1)
            await voter.settle()
            change = asyncio.ensure_future(
                voter.life.spawn(voter.engine.change_membership(Change(ADD, D, D), b"x"))
            )
            await voter.settle()
            voter.appended(D, term, last_index=2)
            await voter.settle()
            assert voter.commit == 1
            voter.appended(C, term, last_index=2)
            assert await change == 2

        rig_test(check)

    def test_the_removed_is_sent_its_removal_only_when_that_is_committed(self) -> None:
        """Its vote may be needed until then: a leader that dies in between leaves two equal logs."""

        async def check(voter: Ours) -> None:
            term = await voter.lead()
            for peer in (B, C):
                voter.appended(peer, term, last_index=1)
            await voter.settle()
            voter.sent.clear()
            change = asyncio.ensure_future(
                voter.life.spawn(voter.engine.change_membership(Change(REMOVE, C), b"x"))
            )
            await asyncio.sleep(S.heartbeat_s * 1.5)
            to_removed = [data for data in voter.taken("append_entries") if data["to"] == C]
            assert to_removed
            assert all(not data["entries"] for data in to_removed)
            voter.appended(B, term, last_index=2, request=2)
            assert await change == 2
            await asyncio.sleep(S.heartbeat_s * 1.5)
            sent = [
                entry.index
                for data in voter.taken("append_entries")
                if data["to"] == C
                for entry in data["entries"]
            ]
            assert set(sent) == {2}

        rig_test(check)

    def test_one_without_a_vote_steps_down_when_that_is_committed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Removed leader: dissertation 4.2.2. Here it is refused before it gets that far."""

        async def check(cluster: Cluster) -> None:
            old = cluster.head
            monkeypatch.setattr(
                engine_module, "planned", lambda leader, change: leader.state.memberships.current.after(change)
            )
            await cluster.change(REMOVE, old.id)
            await asyncio.sleep(0.1)
            assert engine_of(old).role is Role.FOLLOWER
            await asyncio.sleep(3 * S.election_max_s)
            assert cluster.head is not old
            assert await propose(cluster.head, "x") > 0

        cluster_test(check)

    def test_what_waits_is_committed_by_fewer_once_one_is_gone(self) -> None:
        """etcd raft TestCommitAfterRemoveNode."""

        async def check(cluster: Cluster) -> None:
            other = cluster.others[0]
            other.go_down(power_loss=False)
            call = propose(cluster.head, "waits")
            await asyncio.sleep(0.2)
            assert not call.done()
            await cluster.change(REMOVE, other.id)
            assert await call > 0

        cluster_test(check, size=2)

    def test_a_second_leader_does_not_inherit_a_lost_change(self) -> None:
        async def check(cluster: Cluster) -> None:
            old, before = cluster.head, engine_of(cluster.head).membership
            cluster.isolate(old)
            change = Change(ADD, "n4", cluster.addresses["n4"])
            call = start(old, engine_of(old).change_membership(change, b""))
            await asyncio.sleep(3 * S.election_max_s)
            assert engine_of(old).membership.learners == ("n4",)
            cluster.network.heal()
            await cluster.settled()
            with pytest.raises(Superseded):
                await call
            assert {engine_of(voter).membership for voter in cluster.up if voter.id != "n4"} == {before}

        cluster_test(check, spares=1)
