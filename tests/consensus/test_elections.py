"""Who is elected, who is not, and who stays: votes, pre-votes and check-quorum. Each test: set up, act, check."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.wire import Data
from tests.consensus.rigs import B, C, D, Ours
from tests.sim.loop import run

S = RaftSettings()


def voter_test(check: Callable[[Ours], Awaitable[None]], voters: int = 3) -> None:
    """Run `check` on one started voter."""

    async def main() -> None:
        voter = Ours(voters=voters)
        await voter.start()
        await check(voter)

    run(main)


async def follow(voter: Ours, leader: str, term: int, for_s: float) -> None:
    """Heartbeats of `leader` for some time."""
    for request in range(int(for_s / S.heartbeat_s)):
        voter.append(leader, term, request=request + 1)
        await asyncio.sleep(S.heartbeat_s)


async def votes(voter: Ours) -> list[tuple[str, bool]]:
    await voter.settle()
    return [(data["to"], data["vote_granted"]) for data in voter.taken("request_vote_response")]


class TestVotes:
    @pytest.mark.parametrize(
        ("last_index", "last_term", "granted"),
        [(3, 2, True), (4, 2, True), (1, 3, True), (2, 2, False), (9, 1, False), (0, 0, False)],
    )
    def test_only_for_a_log_that_is_as_good(self, last_index: int, last_term: int, granted: bool) -> None:
        """Raft paper 5.4.1; etcd raft TestRecvMsgVote."""

        async def check(voter: Ours) -> None:
            voter.append(B, 2, entries=[(1, "a"), (1, "b"), (2, "c")])
            await asyncio.sleep(S.election_min_s)
            voter.sent.clear()
            voter.ask_vote(C, 5, last_index, last_term)
            assert await votes(voter) == [(C, granted)]

        voter_test(check)

    def test_the_same_candidate_is_told_again(self) -> None:
        async def check(voter: Ours) -> None:
            voter.ask_vote(B, 1)
            voter.ask_vote(B, 1)
            assert await votes(voter) == [(B, True), (B, True)]

        voter_test(check)

    def test_a_request_of_an_older_term_is_refused_with_the_newer(self) -> None:
        async def check(voter: Ours) -> None:
            voter.ask_vote(B, 7)
            await voter.settle()
            voter.sent.clear()
            voter.ask_vote(C, 6)
            await voter.settle()
            (answer,) = voter.taken("request_vote_response")
            assert (answer["vote_granted"], answer["term"]) == (False, 7)

        voter_test(check)

    def test_never_two_in_one_term_whatever_crashes(self) -> None:
        """Election safety, from one voter's side."""

        async def check(voter: Ours) -> None:
            rng = random.Random(4)
            given: dict[int, str] = {}
            for _ in range(400):
                candidate, term = rng.choice([B, C]), rng.randint(voter.term, voter.term + 1)
                voter.ask_vote(candidate, term)
                await asyncio.sleep(rng.choice([0, 0.0003, 0.01]))
                if rng.random() < 0.5:
                    await (voter.lose_power() if rng.random() < 0.5 else voter.restart())
                for answer in voter.taken("request_vote_response"):
                    if answer["vote_granted"]:
                        assert given.setdefault(answer["term"], answer["to"]) == answer["to"]
            assert len(given) > 50

        voter_test(check)

    def test_the_term_survives_a_power_loss(self) -> None:
        async def check(voter: Ours) -> None:
            voter.append(B, 12)
            await voter.settle()
            await voter.lose_power()
            assert voter.term == 12

        voter_test(check)

    def test_a_candidate_asks_again_whoever_has_not_answered(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.stand()
            voter.vote(B, term, granted=False)
            await asyncio.sleep(2.5 * S.heartbeat_s)
            assert [data["to"] for data in voter.taken("request_vote")] == [C, C]

        voter_test(check)

    def test_split_votes_are_followed_soon_by_another_election(self) -> None:
        """Raft paper 5.2 waits for a whole time-out; here who knows that it lost tries again before that."""

        async def check(voter: Ours) -> None:
            clock = asyncio.get_running_loop().time
            for _ in range(20):
                term = await voter.stand()
                begun = clock()
                for peer in (B, C):
                    voter.vote(peer, term, granted=False)
                assert await voter.stand() > term
                assert S.heartbeat_s <= clock() - begun <= S.election_min_s + 0.1

        voter_test(check)

    def test_who_may_still_win_waits(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.stand()
            begun = asyncio.get_running_loop().time()
            # B said that it would vote, and has not answered yet.
            voter.vote(C, term, granted=False)
            while await voter.stand() == term:
                pass
            assert asyncio.get_running_loop().time() - begun >= S.election_min_s - 0.1

        voter_test(check)

    def test_its_own_vote_counts_only_when_it_is_on_the_disk(self) -> None:
        async def check(voter: Ours) -> None:
            voter.machine.sync_s = (0.05, 0.05)
            asked_at: dict[str, float] = {}
            clock = asyncio.get_running_loop().time

            def note(data: Data) -> None:
                asked_at.setdefault(f"{data['type']} {data.get('pre_vote')}", clock())

            voter.on_sent = note
            await voter.stand()
            assert asked_at["request_vote False"] >= asked_at["request_vote True"] + 0.05

        voter_test(check)

    def test_a_leader_of_the_same_term_ends_a_candidacy(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.stand()
            voter.append(B, term)
            assert (voter.role, voter.engine.leader) == ("follower", B)

        voter_test(check)

    def test_a_leader_of_an_older_term_does_not(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.stand()
            voter.append(B, term - 1)
            await voter.settle()
            assert voter.role == "candidate"
            (refusal,) = voter.taken("append_entries_response")
            assert (refusal["success"], refusal["term"]) == (False, term)

        voter_test(check)


class TestPreVote:
    def test_an_election_that_cannot_be_won_changes_nothing(self) -> None:
        """A voter that lost touch does not drive its term up."""

        async def check(voter: Ours) -> None:
            await asyncio.sleep(60)
            assert (voter.role, voter.term) == ("candidate", 0)
            assert all(data["pre_vote"] and data["term"] == 1 for data in voter.taken("request_vote"))
            await voter.restart()
            assert voter.term == 0

        voter_test(check)

    def test_asking_costs_the_asked_nothing(self) -> None:
        async def check(voter: Ours) -> None:
            voter.ask_vote(B, 5, pre_vote=True)
            voter.ask_vote(C, 5, pre_vote=True)
            assert await votes(voter) == [(B, True), (C, True)]
            assert voter.term == 0

        voter_test(check)

    def test_refused_while_a_leader_is_heard(self) -> None:
        async def check(voter: Ours) -> None:
            await follow(voter, B, 3, for_s=1)
            voter.sent.clear()
            voter.ask_vote(C, 4, pre_vote=True)
            assert await votes(voter) == [(C, False)]

        voter_test(check)

    def test_granted_once_the_leader_is_silent(self) -> None:
        async def check(voter: Ours) -> None:
            voter.append(B, 3)
            await asyncio.sleep(S.election_min_s)
            voter.sent.clear()
            voter.ask_vote(C, 4, pre_vote=True)
            assert (C, True) in await votes(voter)

        voter_test(check)

    def test_refused_for_a_worse_log(self) -> None:
        async def check(voter: Ours) -> None:
            voter.append(B, 2, entries=[(2, "a")])
            await asyncio.sleep(S.election_min_s)
            voter.sent.clear()
            voter.ask_vote(C, 9, last_index=5, last_term=1, pre_vote=True)
            assert (C, False) in await votes(voter)

        voter_test(check)

    def test_late_pre_votes_do_not_count_as_votes(self) -> None:
        """Stale votes: what answers an older question counts for none."""

        async def check(voter: Ours) -> None:
            term = await voter.stand()
            voter.vote(B, term, pre_vote=True)
            voter.vote(C, term, pre_vote=True)
            await voter.settle()
            assert voter.role == "candidate"

        voter_test(check)

    def test_a_refusal_of_a_newer_term_brings_it_up_to_date(self) -> None:
        async def check(voter: Ours) -> None:
            await asyncio.sleep(S.election_max_s)
            voter.vote(B, 8, granted=False, pre_vote=True)
            assert (voter.role, voter.term) == ("follower", 8)

        voter_test(check)


class TestDisruption:
    def test_a_follower_that_hears_its_leader_ignores_other_candidates(self) -> None:
        async def check(voter: Ours) -> None:
            await follow(voter, B, 3, for_s=1)
            voter.sent.clear()
            voter.ask_vote(C, 99)
            assert await votes(voter) == []
            assert (voter.term, voter.engine.leader) == (3, B)

        voter_test(check)

    def test_unless_the_leader_itself_asked_for_the_election(self) -> None:
        async def check(voter: Ours) -> None:
            await follow(voter, B, 3, for_s=1)
            voter.sent.clear()
            request = {"type": "request_vote", "sender": C, "term": 4, "last_log_index": 0, "last_log_term": 0}
            voter.give({**request, "pre_vote": False, "transfer": True})
            assert await votes(voter) == [(C, True)]

        voter_test(check)

    def test_a_leader_with_its_quorum_ignores_them_too(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            voter.ask_vote(C, term + 5)
            await voter.settle()
            assert (voter.role, voter.term) == ("leader", term)

        voter_test(check)

    def test_timeout_now_of_somebody_else_starts_nothing(self) -> None:
        async def check(voter: Ours) -> None:
            await follow(voter, B, 3, for_s=1)
            voter.give({"type": "timeout_now", "sender": C, "term": 3})
            voter.give({"type": "timeout_now", "sender": B, "term": 2})
            assert (voter.role, voter.term) == ("follower", 3)
            voter.give({"type": "timeout_now", "sender": B, "term": 3})
            assert voter.role == "candidate"
            await voter.settle()
            assert voter.term == 4
            assert all(data["transfer"] for data in voter.taken("request_vote"))

        voter_test(check)


class TestCheckQuorum:
    @pytest.mark.parametrize(("answering", "stays"), [([], False), ([B], False), ([B, C], True)])
    def test_a_leader_stays_only_with_a_majority(self, answering: list[str], stays: bool) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            for _ in range(int(2 * S.step_down_s / S.heartbeat_s)):
                requests = [data["request_id"] for data in voter.taken("append_entries")]
                for peer in answering:
                    if requests and voter.role == "leader":
                        voter.appended(peer, term, last_index=len(voter.log), request=max(requests))
                await asyncio.sleep(S.heartbeat_s)
            assert (voter.role == "leader") is stays
            assert voter.engine.leader == (voter.me if stays else None)

        voter_test(check, voters=5)

    def test_answers_to_rounds_that_never_were_do_not_keep_it(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            voter.appended(B, term, last_index=0, request=10**9)
            await asyncio.sleep(2 * S.step_down_s)
            assert voter.role != "leader"

        voter_test(check)

    def test_peers_says_who_is_up(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            voter.appended(B, term, last_index=1)
            assert {peer.id: peer.up for peer in voter.engine.peers} == {voter.me: True, B: True, C: False}
            assert {peer.id: peer.match_index for peer in voter.engine.peers}[B] == 1

        voter_test(check)


class TestPermission:
    def test_a_voter_that_may_not_does_not_campaign(self) -> None:
        async def check(voter: Ours) -> None:
            voter.life.call(voter.engine.allow_campaign, False)
            await asyncio.sleep(10)
            assert (voter.role, voter.sent) == ("follower", [])
            voter.life.call(voter.engine.allow_campaign, True)
            await asyncio.sleep(2 * S.election_max_s)
            assert voter.role == "candidate"

        voter_test(check)

    def test_a_leader_that_may_not_steps_down_and_names_an_heir(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            voter.appended(D, term, last_index=1)
            voter.sent.clear()
            voter.life.call(voter.engine.allow_campaign, False)
            assert voter.role == "follower"
            assert [data["to"] for data in voter.taken("timeout_now")] == [D]

        voter_test(check, voters=5)


class TestSingleVoter:
    def test_it_leads_at_once_and_commits_after_its_own_sync(self) -> None:
        async def check(voter: Ours) -> None:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(0.05)
            assert voter.role == "leader"
            voter.machine.sync_s = (0.5, 0.5)
            before = loop.time()
            index = await voter.propose("a")
            assert loop.time() >= before + 0.5
            assert voter.log[index - 1] == (1, "a")

        voter_test(check, voters=1)

    def test_it_leads_again_after_a_restart_with_all_it_had(self) -> None:
        async def check(voter: Ours) -> None:
            await asyncio.sleep(0.1)
            await voter.propose("a")
            await voter.lose_power()
            await asyncio.sleep(0.1)
            await voter.propose("b")
            assert [text for _, text in voter.log] == ["", "a", "", "b"]
            assert voter.commit == 4

        voter_test(check, voters=1)
