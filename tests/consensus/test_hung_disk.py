"""A disk that takes a write and never ends it: it costs the leadership, and nobody waits for it without an end."""

from __future__ import annotations

import asyncio

import pytest

from node.consensus.port import OutcomeUnknown, Trouble, TroubleKind
from node.consensus.raftos.journal import JournalUnusable
from node.consensus.raftos.settings import RaftSettings
from tests.consensus.rigs import B, C, Ours
from tests.sim.loop import run

S = RaftSettings()


async def hung_leader() -> tuple[Ours, asyncio.Future[int]]:
    """It leads, its disk has ended its last write, and a proposal is under way."""
    voter = Ours()
    await voter.start()
    await voter.lead()
    voter.machine.sync_s = (60.0, 60.0)
    return voter, asyncio.ensure_future(voter.propose("a"))


def answer(voter: Ours, writing: tuple[str, ...]) -> None:
    """Peers answer what they were sent since; those that are `writing` have it on their disks."""
    for data in voter.taken("append_entries"):
        last = data["prev_log_index"] + len(data["entries"]) if data["to"] in writing else 0
        voter.appended(data["to"], data["term"], last, request=data["request_id"])


@pytest.mark.parametrize("writing", [(B, C), (B,), ()])
def test_its_leader_steps_down(writing: tuple[str, ...]) -> None:
    """Soon where a majority of the others goes on, else after a while: nobody is known to do better."""

    async def main() -> None:
        voter, waiting = await hung_leader()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while voter.role == "leader":
            answer(voter, writing)
            await asyncio.sleep(S.heartbeat_s)
        allowed_s = S.step_down_s if len(writing) == 2 else S.disk_stall_s
        assert allowed_s <= loop.time() - begun <= allowed_s + 3 * S.heartbeat_s
        handed_over = [data["to"] for data in voter.sent if data["type"] == "timeout_now"]
        assert handed_over == [B] * bool(writing)
        voter.sent.clear()
        await asyncio.sleep(S.disk_stall_s)
        assert voter.role == "follower"
        assert voter.taken("request_vote") == []
        assert voter.engine.trouble == Trouble(TroubleKind.DISK_HANGS)
        waiting.cancel()

    run(main)


def test_it_takes_part_again_when_the_disk_does() -> None:
    async def main() -> None:
        voter, waiting = await hung_leader()
        while voter.role == "leader":
            answer(voter, (B, C))
            await asyncio.sleep(S.heartbeat_s)
        voter.machine.sync_s = (0.0002, 0.0006)
        await asyncio.sleep(60)
        assert voter.engine.trouble is None
        assert await voter.stand() > 1
        await asyncio.wait([waiting])

    run(main)


def test_a_stop_waits_for_it_for_so_long_only() -> None:
    """Nor may anything else in this process go on from that journal."""

    async def main() -> None:
        voter, waiting = await hung_leader()
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(JournalUnusable):
            await voter.life.spawn(voter.engine.stop())
        # For its snapshots, and for the journal.
        assert loop.time() - begun <= 2 * S.stop_s
        (ended,) = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(ended, OutcomeUnknown)

    run(main)
