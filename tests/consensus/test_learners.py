"""A learner is promoted only once it has caught up, also by a leader that has just begun (dissertation, 4.2.1)."""

from __future__ import annotations

import asyncio

import pytest

from node.consensus.membership import Change, ChangeKind, ChangeRefused
from tests.consensus.rigs import ALL, B, C, Ours
from tests.sim.loop import run

LEARNER = ALL[5]
PROMOTION = Change(ChangeKind.PROMOTE, LEARNER)


async def a_new_leader() -> tuple[Ours, int, int]:
    """It leads for the second time, with a learner from the first, and has committed its first entry.

    Its term, and the index of that entry.
    """
    voter = Ours()
    await voter.start()
    term = await voter.lead()
    voter.appended(B, term, voter.engine.last_index)
    await voter.settle()
    addition = Change(ChangeKind.ADD_LEARNER, LEARNER, LEARNER)
    adding = voter.life.spawn(voter.engine.change_membership(addition, b"x"))
    await voter.settle()
    voter.appended(B, term, voter.engine.last_index)
    await adding
    writes = [voter.propose("x") for _ in range(50)]
    await voter.settle()
    last = voter.engine.last_index
    voter.appended(B, term, last)
    await asyncio.gather(*writes)
    voter.append(C, term + 1, (last, term))
    await voter.settle()
    assert voter.role == "follower"
    term = await voter.lead()
    first = voter.engine.last_index
    voter.appended(B, term, first)
    await voter.settle()
    assert voter.commit == first
    return voter, term, first


def test_a_new_leader_promotes_nobody_who_lacks_what_was_there_when_it_began() -> None:
    async def main() -> None:
        voter, term, first = await a_new_leader()
        voter.appended(LEARNER, term, first - 40)
        await voter.settle()
        with pytest.raises(ChangeRefused, match="not caught up"):
            await voter.life.spawn(voter.engine.change_membership(PROMOTION, b"x"))
        voter.appended(LEARNER, term, first)
        await voter.settle()
        promoting = voter.life.spawn(voter.engine.change_membership(PROMOTION, b"x"))
        await voter.settle()
        assert voter.engine.membership.is_voter(LEARNER)
        for peer in (B, C):
            voter.appended(peer, term, voter.engine.last_index)
        assert await promoting == first + 1

    run(main)
