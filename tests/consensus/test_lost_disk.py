"""A voter on an emptied data folder has forgotten what it promised: it elects nobody who may lack that."""

from __future__ import annotations

import asyncio

import pytest
import structlog

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
        await old.boot()
        await cluster.settled()
        assert await propose(cluster.head, "more") > max(index for index in await asyncio.gather(*calls))
        await cluster.settled()
        assert engine_of(forgetful).last_index == engine_of(cluster.head).last_index

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


def test_it_votes_again_for_whoever_it_has_voted_for() -> None:
    """A first leader may die with the first entry on its own disk alone: the others elect it all the same."""

    async def main() -> None:
        voter = Ours()
        await voter.start()
        voter.ask_vote(B, 1)
        await voter.settle()
        await voter.restart()
        voter.ask_vote(B, 2, last_index=1, last_term=1)
        await voter.settle()
        assert voter.taken("request_vote_response")[-1]["vote_granted"]

    run(main)


def test_who_remembers_nothing_votes_for_a_log_that_begins() -> None:
    async def main() -> None:
        voter = Ours()
        await voter.start()
        for pre_vote in (True, False):
            voter.ask_vote(B, 5, last_index=10, last_term=4, pre_vote=pre_vote)
            await voter.settle()
            assert not voter.taken("request_vote_response")[-1]["vote_granted"]
        voter.ask_vote(C, 6)
        await voter.settle()
        assert voter.taken("request_vote_response")[-1]["vote_granted"]

    run(main)
