"""A peer that has installed a snapshot begins anew, which takes time: the log waits until it is back."""

from __future__ import annotations

import asyncio

from tests.consensus.rigs import B
from tests.consensus.test_snapshots_sending import a_leader, asked, pieces
from tests.sim.loop import run


def test_the_log_waits_for_a_peer_that_begins_anew() -> None:
    async def main() -> None:
        voter, term = await a_leader(entries=60)
        meta = (await asked(voter))["meta"]
        voter.received(B, term, meta.index, 0)
        await voter.settle()
        voter.received(B, term, meta.index, meta.size_bytes, installed=True)
        # It says nothing while it puts its store in place; the others write on.
        for _ in range(5):
            await voter.write(20)
            await asyncio.sleep(0.3)
        assert voter.engine.snapshot_index > meta.index
        assert voter.base[0] <= meta.index
        voter.sent.clear()
        voter.appended(B, term, meta.index)
        await voter.settle()
        assert pieces(voter) == []
        assert voter.engine._state.state.progress[B].next_index > meta.index

    run(main)


def test_it_waits_for_nobody_for_ever() -> None:
    async def main() -> None:
        voter, term = await a_leader(entries=60)
        meta = (await asked(voter))["meta"]
        voter.received(B, term, meta.index, meta.size_bytes, installed=True)
        for _ in range(200):
            await voter.write(1)
            await asyncio.sleep(0.5)
        assert voter.base[0] > meta.index

    run(main)
