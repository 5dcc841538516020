"""A leader knows the voters' clocks before it serves: leader time lags by as long as the cluster was down."""

from __future__ import annotations

from tests.consensus.rigs import B, Ours
from tests.sim.loop import run


def test_a_leader_asks_for_a_clock_until_the_peer_has_answered() -> None:
    async def scenario() -> None:
        rig = Ours()
        await rig.start()
        term = await rig.lead()
        asked = rig.taken("append_entries")
        assert {message["to"] for message in asked} == set(rig.peers)
        assert all(message["wall_us"] for message in asked)
        for peer in rig.peers:
            rig.appended(peer, term, 1)
        await rig.settle()
        rig.sent.clear()
        waiter = rig.propose("x")
        await rig.settle()
        later = [message for message in rig.taken("append_entries") if message["entries"]]
        assert {message["to"] for message in later} == set(rig.peers)
        assert not any(message["wall_us"] for message in later)
        for peer in rig.peers:
            rig.appended(peer, term, 2)
        await waiter

    run(scenario)


def test_an_answer_to_entries_carries_the_clock_that_was_asked_for() -> None:
    async def scenario() -> None:
        rig = Ours()
        await rig.start()
        rig.append(B, 1, entries=[(1, "")])
        await rig.settle()
        assert "wall_us" not in rig.taken("append_entries_response")[-1]
        rig.give(
            {
                "type": "append_entries",
                "sender": B,
                "term": 1,
                "leader_id": B,
                "prev_log_index": 1,
                "prev_log_term": 1,
                "entries": [(1, "x")],
                "commit_index": 0,
                "request_id": 2,
                "wall_us": 7,
            }
        )
        await rig.settle()
        assert rig.taken("append_entries_response")[-1]["wall_us"] > 7
        assert rig.host.clocks == [(B, 7)]

    run(scenario)
