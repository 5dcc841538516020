"""A vote outlives whatever the voter does before its term is over: restarts, power losses, a longer journal."""

from __future__ import annotations

from tests.consensus.rigs import SEGMENT_BYTES, B, C, Ours
from tests.sim.loop import run


async def votes_for(voter: Ours, candidate: str, term: int, last_index: int = 0) -> bool:
    voter.ask_vote(candidate, term, last_index, term)
    await voter.settle()
    return bool(voter.taken("request_vote_response")[-1]["vote_granted"])


def test_its_own_vote_is_not_given_again() -> None:
    async def main() -> None:
        voter = Ours()
        await voter.start()
        term = await voter.stand()
        await voter.lose_power()
        assert not await votes_for(voter, B, term, 9)
        assert await votes_for(voter, B, term + 1, 9)

    run(main)


def test_it_is_remembered_when_the_log_went_on_in_other_segments() -> None:
    async def main() -> None:
        voter = Ours()
        await voter.start()
        assert await votes_for(voter, B, 5)
        for index in range(8):
            voter.append(B, 5, (index, 5 if index else 0), [(5, "x" * SEGMENT_BYTES)])
            await voter.settle()
        assert len(voter.machine.disk("raft").names()) > 5
        await voter.lose_power()
        assert not await votes_for(voter, C, 5, 9)
        assert await votes_for(voter, B, 5, 9)

    run(main)
