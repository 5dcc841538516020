"""A voter on an emptied data folder has forgotten what it promised: it elects nobody who may lack that."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from node.consensus.port import NotLeader
from tests.consensus.proposal_kit import Cluster, S, cluster_test, engine_of, propose
from tests.consensus.rigs import B, C, Ours
from tests.sim.engine_world import Voter
from tests.sim.loop import run


async def lose_disk(cluster: Cluster, voter: Voter, *, joins: bool) -> None:
    """It starts again on an empty data folder, as one of the first voters or as one that joins."""
    voter.go_down(power_loss=True)
    voter.machine.disks.clear()
    voter.state.lines.clear()
    if joins:
        del cluster.bootstrap[voter.id]
    await voter.boot()


@pytest.mark.parametrize("joins", [False, True])
def test_what_was_acknowledged_with_its_help_is_not_lost(joins: bool) -> None:
    async def check(cluster: Cluster) -> None:
        behind, forgetful = cluster.others
        old = cluster.head
        cluster.isolate(behind)
        calls = [propose(old, f"op{number}") for number in range(5)]
        for number, index in enumerate(await asyncio.gather(*calls)):
            cluster.checker.acknowledge(f"op{number}".encode(), index)
        old.go_down(power_loss=True)
        await lose_disk(cluster, forgetful, joins=joins)
        cluster.network.heal()
        await asyncio.sleep(10 * S.election_max_s)
        assert cluster.leader() is None
        notices = {voter.id: engine_of(voter).notice for voter in (behind, forgetful)}
        # One that joins does not know that it votes.
        assert ("began with an empty data folder" in notices[forgetful.id]) is not joins
        assert notices[behind.id] == ""
        await old.boot()
        await cluster.settled()
        assert await propose(cluster.head, "more") > max(index for index in await asyncio.gather(*calls))
        await cluster.settled()
        assert engine_of(forgetful).last_index == engine_of(cluster.head).last_index
        assert engine_of(forgetful).notice == ""

    cluster_test(check)


def test_its_leader_says_so_once() -> None:
    """The leader counts on what was acknowledged, and neither sends it again nor keeps silent about it."""

    async def main() -> None:
        voter = Ours()
        await voter.start()
        term = await voter.lead()
        last = voter.engine.last_index
        voter.appended(B, term, last)
        await voter.settle()
        with structlog.testing.capture_logs() as logs:
            for request in range(2, 15):
                voter.refused(B, term, last, request)
            voter.appended(B, term, last)
            for request in range(2, 15):
                voter.refused(B, term, last, request)
            assert logs == []
            for request in range(15, 50):
                voter.refused(B, term, last, request)
        assert [(entry["peer"], entry["acknowledged"]) for entry in logs] == [(B, last)]

    run(main)


def granted(voter: Ours) -> bool:
    return bool(voter.taken("request_vote_response")[-1]["vote_granted"])


def test_it_votes_once_it_has_all_that_it_may_have_acknowledged() -> None:
    """Not when it has some of it, not after a restart, not by a word that was meant for an earlier life."""

    async def main() -> None:
        voter = Ours(emptied=True)
        await voter.start()
        voter.append(B, 2, (0, 0), [(1, "a"), (2, "b"), (2, "c")], commit=3)
        await voter.settle()
        first_life = voter.taken("append_entries_response")[-1]["blank_life"]
        assert first_life
        await asyncio.sleep(2 * voter.election_s[1])
        assert voter.taken("request_vote") == [], "it stands for nothing"
        await voter.restart()
        voter.append(B, 2, (3, 2), [(2, "d")], commit=3, counts=(first_life, 4))
        await voter.settle()
        life = voter.taken("append_entries_response")[-1]["blank_life"]
        assert life not in (0, first_life)
        voter.append(B, 2, (4, 2), commit=4, counts=(life, 5))
        await asyncio.sleep(2 * voter.election_s[1])
        for pre_vote in (True, False):
            voter.ask_vote(C, 9, 9, 8, pre_vote=pre_vote, begins=True)
            await voter.settle()
            assert not granted(voter)
        voter.append(B, 9, (4, 2), [(9, "e")], commit=5, counts=(life, 5))
        await voter.settle()
        voter.append(B, 9, (5, 9), commit=5)
        await voter.settle()
        assert voter.taken("append_entries_response")[-1]["blank_life"] == 0
        await voter.restart()
        voter.ask_vote(C, 10, 5, 9)
        await voter.settle()
        assert granted(voter)

    run(main)


def test_its_leader_counts_it_again_from_an_entry_that_the_others_have() -> None:
    async def main() -> None:
        voter = Ours()
        await voter.start()
        term = await voter.lead()
        for peer in voter.peers:
            voter.appended(peer, term, 1)
        await voter.settle()
        assert voter.commit == 1
        voter.taken("append_entries")
        voter.appended(B, term, 0, blank_life=7)
        await voter.settle()
        fence = voter.engine.last_index
        assert fence == 2
        voter.appended(B, term, fence, request=2, blank_life=7)
        voter.appended(B, term, fence, request=1)
        await voter.settle()
        assert voter.commit == 1, "neither this life counts, nor a late answer of the life before"
        assert all(data["counts"] == (0, 0) for data in voter.taken("append_entries"))
        voter.appended(C, term, fence, request=2)
        await asyncio.sleep(voter.settings.heartbeat_s)
        assert voter.commit == fence
        sent = [data for data in voter.taken("append_entries") if data["to"] == B]
        assert sent[-1]["counts"] == (7, fence)
        voter.appended(B, term, fence, request=sent[-1]["request_id"])
        committed = voter.propose("x")
        await voter.settle()
        voter.appended(B, term, fence + 1, request=sent[-1]["request_id"])
        assert await committed == fence + 1
        voter.appended(B, term, 0, request=sent[-1]["request_id"], blank_life=8)
        await voter.settle()
        assert voter.engine.last_index == fence + 2, "another life needs another entry"

    run(main)


def test_its_answers_do_not_keep_a_leader_in_power() -> None:
    async def main() -> None:
        voter = Ours()
        await voter.start()
        term = await voter.lead()
        read = voter.life.spawn(voter.engine.confirm())
        for _ in range(20):
            for request in voter.taken("append_entries"):
                voter.appended(B, term, 0, request["request_id"], blank_life=7)
            await asyncio.sleep(voter.settings.heartbeat_s)
        assert voter.role != "leader"
        assert isinstance(read.exception(), NotLeader)

    run(main)


def test_one_of_three_counts_again_and_helps_to_elect() -> None:
    async def check(cluster: Cluster) -> None:
        forgetful, other = cluster.others
        for number in range(5):
            await propose(cluster.head, f"op{number}")
        await lose_disk(cluster, forgetful, joins=False)
        await cluster.settled()
        await propose(cluster.head, "more")
        await cluster.settled()
        cluster.head.go_down(power_loss=True)
        await cluster.settled()
        assert {voter.id for voter in cluster.up} == {forgetful.id, other.id}

    cluster_test(check)


@pytest.mark.parametrize("third_answers", [False, True])
def test_two_of_three_begin_no_cluster_of_their_own(third_answers: bool) -> None:
    """What they had acknowledged may be on the disk of the third alone: an operator must say what is to count."""

    async def check(cluster: Cluster) -> None:
        await propose(cluster.head, "op")
        await cluster.settled()
        third, others, committed = cluster.head, cluster.others, cluster.checker.committed_index
        if not third_answers:
            third.go_down(power_loss=True)
        for voter in others:
            await lose_disk(cluster, voter, joins=False)
        await asyncio.sleep(20 * S.election_max_s)
        assert cluster.leader() is None
        assert cluster.checker.committed_index == committed

    cluster_test(check)


def test_a_first_election_needs_all_voters() -> None:
    async def main() -> None:
        voter = Ours(emptied=True)
        await voter.start()
        await asyncio.sleep(voter.election_s[1])
        term = voter.taken("request_vote")[-1]["term"]
        voter.vote(B, term, pre_vote=True, empty=True, blank=True)
        await voter.settle()
        voter.vote(C, term, pre_vote=True)
        await voter.settle()
        assert all(data["pre_vote"] for data in voter.taken("request_vote"))
        voter.vote(C, term, pre_vote=True, empty=True)
        await voter.settle()
        asked = [data for data in voter.taken("request_vote") if not data["pre_vote"]]
        assert asked
        assert all(data["begins"] for data in asked)
        voter.vote(B, term)
        await voter.settle()
        assert voter.role == "leader"

    run(main)


def test_one_alone_begins_as_new() -> None:
    async def main() -> None:
        voter = Ours(voters=1, emptied=True)
        await voter.start()
        await voter.settle()
        assert await voter.propose("a") == 2

    run(main)


def test_it_votes_again_for_whoever_it_has_voted_for() -> None:
    """A first leader may die with the first entry on its own disk alone: the others elect it all the same."""

    async def main() -> None:
        voter = Ours(emptied=True)
        await voter.start()
        voter.ask_vote(B, 1, begins=True)
        await voter.settle()
        await voter.restart()
        voter.ask_vote(B, 2, last_index=1, last_term=1)
        await voter.settle()
        assert granted(voter)

    run(main)


def test_who_remembers_nothing_votes_only_where_a_cluster_begins() -> None:
    async def main() -> None:
        voter = Ours(emptied=True)
        await voter.start()
        for pre_vote in (True, False):
            voter.ask_vote(B, 5, last_index=10, last_term=4, pre_vote=pre_vote, begins=True)
            await voter.settle()
            assert not granted(voter)
        voter.ask_vote(C, 6)
        await voter.settle()
        assert not granted(voter), "it may be an emptied one, too"
        voter.ask_vote(C, 6, begins=True)
        await voter.settle()
        assert granted(voter)

    run(main)
