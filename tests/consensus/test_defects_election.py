"""raftos' defects 3, 4, 5 and 7: who may vote, and whose votes count."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.consensus.published import proves, published_and_ours
from tests.consensus.rigs import B, C, Rig


def granted(rig: Rig) -> list[str]:
    return [data["to"] for data in rig.taken("request_vote_response") if data["vote_granted"]]


@published_and_ours
def test_3_no_second_vote_in_a_term_after_a_restart(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        voter.ask_vote(B, term=5)
        await voter.settle()
        assert granted(voter) == [B]
        await voter.restart()
        voter.ask_vote(C, term=5)
        await voter.settle()
        assert granted(voter) == [], "two votes in one term"

    proves(rig, check, tmp_path, "two votes in one term")


@published_and_ours
def test_3_no_second_vote_in_a_term_after_an_election_without_a_winner(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        term = await voter.stand()
        await asyncio.sleep(voter.election_s[1] + 0.1)
        voter.sent.clear()
        voter.ask_vote(C, term=term)
        await voter.settle()
        assert granted(voter) == [], "it voted for itself and for another in one term"

    proves(rig, check, tmp_path, "voted for itself and for another")


@published_and_ours
def test_4_a_newer_term_frees_the_vote(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        voter.ask_vote(B, term=1)
        await voter.settle()
        voter.sent.clear()
        voter.ask_vote(C, term=2)
        await voter.settle()
        assert granted(voter) == [C], "no vote in the newer term"

    proves(rig, check, tmp_path, "no vote in the newer term")


@published_and_ours
def test_4_a_candidate_answers_a_newer_candidate(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        term = await voter.stand()
        voter.ask_vote(C, term=term + 1)
        await voter.settle()
        assert granted(voter) == [C], "the newer request was dropped"

    proves(rig, check, tmp_path, "the newer request was dropped")


@published_and_ours
def test_4_granting_a_vote_resets_the_election_timer(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        for _ in range(20):
            await voter.restart()
            await asyncio.sleep(voter.election_s[0] * 0.95)
            voter.ask_vote(B, term=voter.term + 1)
            await voter.settle()
            assert granted(voter) == [B]
            await asyncio.sleep(voter.election_s[0] * 0.95)
            assert voter.role == "follower", "it stood for election right after it gave its vote away"

    proves(rig, check, tmp_path, "right after it gave its vote away")


@published_and_ours
def test_5_a_doubled_vote_counts_once(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        term = await voter.stand()
        for _ in range(4):
            voter.vote(B, term)
        await voter.settle()
        assert voter.role == "candidate", "elected by one voter's doubled vote"

    proves(rig, check, tmp_path, "elected by one voter's doubled vote", voters=5)


@published_and_ours
def test_5_a_stale_vote_does_not_count(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        first = await voter.stand()
        while await voter.stand() == first:
            pass
        for peer in voter.peers:
            voter.vote(peer, first)
        await voter.settle()
        assert voter.role == "candidate", "elected by votes of an older term"

    proves(rig, check, tmp_path, "elected by votes of an older term")


@published_and_ours
@pytest.mark.parametrize("voters", [2, 4, 6])
def test_7_half_of_an_even_number_is_no_majority(rig: type[Rig], voters: int, tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        term = await voter.stand()
        for peer in voter.peers[: voters // 2 - 1]:
            voter.vote(peer, term)
        await voter.settle()
        # The published class sees this only when a response comes in; with two voters a refusal is enough.
        voter.vote(voter.peers[-1], term, granted=False)
        await voter.settle()
        assert voter.role == "candidate", "half of the voters elected a leader"

    if voters == 2 and rig.__name__ == "Published":
        # Its own vote alone is a majority to it: shown on the rule itself.
        async def check_rule(voter: Rig) -> None:
            assert not voter.state.is_majority(1), "half of the voters elected a leader"  # type: ignore[attr-defined]

        proves(rig, check_rule, tmp_path, "half of the voters", voters=voters)
    else:
        proves(rig, check, tmp_path, "half of the voters", voters=voters)


@published_and_ours
def test_7_one_voter_elects_itself(rig: type[Rig], tmp_path: Path) -> None:
    async def check(voter: Rig) -> None:
        await asyncio.sleep(3 * voter.election_s[1])
        assert voter.role == "leader", "one voter never elects itself"

    proves(rig, check, tmp_path, "one voter never elects itself", voters=1)
