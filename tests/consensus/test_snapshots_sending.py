"""A leader whose log no longer holds what a peer needs: what it sends, how much of it, and when it stops."""

from __future__ import annotations

import asyncio

import pytest

from node.consensus.port import ProposalError
from node.consensus.raftos.wire import Data
from tests.consensus.rigs import B, C
from tests.consensus.snapshot_kit import Kept, a_leader, pieces
from tests.sim.loop import run


async def asked(voter: Kept) -> Data:
    """B is asked how much it has of the snapshot as soon as the log goes on."""
    voter.engine.log_changed()
    await voter.settle()
    (question,) = pieces(voter)
    assert (question["offset"], question["data"]) == (0, b"")
    return question


class TestSending:
    def test_the_whole_of_it(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            assert meta.index == voter.engine.snapshot_index
            have, state = 0, b""
            voter.received(B, term, meta.index, 0)
            while have < meta.size_bytes:
                await voter.settle()
                for piece in pieces(voter):
                    assert piece["offset"] == have
                    have += len(piece["data"])
                    state += piece["data"]
                    voter.received(B, term, meta.index, have)
            assert state == voter.host.state.encode()[: len(state)]
            voter.received(B, term, meta.index, have, installed=True)
            await voter.write(1)
            # The log goes on behind it.
            appends = [data for data in voter.taken("append_entries") if data["to"] == B and data["entries"]]
            assert appends[0]["prev_log_index"] == meta.index
            assert (appends[0]["prev_log_term"], appends[0]["entries"][0].index) == (term, meta.index + 1)

        run(main)

    def test_what_is_installed_counts(self) -> None:
        """B and this leader are a majority as soon as B has the log behind the snapshot, too."""

        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            voter.on_sent = lambda _data: None
            last = voter.engine.last_index
            write = asyncio.ensure_future(voter.propose("more"))
            voter.received(B, term, meta.index, meta.size_bytes, installed=True)
            await voter.settle()
            assert not write.done()
            voter.appended(B, term, last + 1)
            assert await write == last + 1

        run(main)

    def test_few_pieces_are_under_way(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            voter.received(B, term, meta.index, 0)
            await voter.settle()
            assert [piece["offset"] for piece in pieces(voter)] == [0, 100, 200]
            voter.received(B, term, meta.index, 100)
            await voter.settle()
            assert [piece["offset"] for piece in pieces(voter)] == [300]
            # Late and doubled answers ask for nothing.
            voter.received(B, term, meta.index, 0)
            voter.received(B, term, meta.index, 100)
            await voter.settle()
            assert pieces(voter) == []

        run(main)

    @pytest.mark.parametrize("have", [0, 100, 200, 350])
    def test_it_is_resumed_where_the_peer_says(self, have: int) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            voter.received(B, term, meta.index, have)
            await voter.settle()
            assert pieces(voter)[0]["offset"] == have

        run(main)

    def test_who_gets_no_further_is_asked_again(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            voter.received(B, term, meta.index, 0)
            await voter.settle()
            assert len(pieces(voter)) == 3
            # All three are lost. The question is lost as well, twice.
            for _ in range(3):
                await asyncio.sleep(0.55)
                (question,) = pieces(voter)
                assert question["data"] == b""
            voter.received(B, term, meta.index, 200)
            await voter.settle()
            assert [piece["offset"] for piece in pieces(voter)] == [200, 300, 400]

        run(main)

    def test_a_peer_that_lost_its_draft_begins_anew(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            voter.received(B, term, meta.index, 300)
            await voter.settle()
            pieces(voter)
            await asyncio.sleep(0.55)
            pieces(voter)
            voter.received(B, term, meta.index, 0)
            await voter.settle()
            assert [piece["offset"] for piece in pieces(voter)] == [0, 100, 200]

        run(main)

    def test_a_peer_that_has_what_the_log_begins_with_needs_none(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            await asked(voter)
            voter.sent.clear()
            await asyncio.sleep(0.15)
            heartbeat = next(data for data in voter.sent if data["type"] == "append_entries" and data["to"] == B)
            assert (heartbeat["prev_log_index"], heartbeat["prev_log_term"]) == voter.base
            voter.appended(B, term, voter.base[0], heartbeat["request_id"])
            await voter.settle()
            await asyncio.sleep(2)
            assert pieces(voter) == []

        run(main)

    def test_the_next_leader_goes_on_with_the_same_draft(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            voter.append(C, term + 1, prev=(voter.engine.last_index, term), request=1)
            await voter.settle()
            assert voter.role == "follower"
            voter.received(B, term, meta.index, 200)
            await asyncio.sleep(0.3)
            assert pieces(voter) == []

        run(main)


class TestMeanwhile:
    def test_writes_and_heartbeats_go_on(self) -> None:
        async def main() -> None:
            voter, term = await a_leader(snapshot_entries=100, entries=100)
            meta = (await asked(voter))["meta"]
            commit = voter.commit
            for round_ in range(20):
                voter.received(B, term, meta.index, min(round_ * 10, 200))
                await voter.write(3)
                await asyncio.sleep(0.1)
            assert (voter.role, voter.term, voter.commit) == ("leader", term, commit + 60)
            assert len([data for data in voter.sent if data["type"] == "append_entries" and data["to"] == B]) >= 20

        run(main)

    def test_answers_to_pieces_count_for_the_quorum(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            voter.on_sent = lambda _data: None
            for _ in range(40):
                await asyncio.sleep(0.1)
                rounds = [data["request_id"] for data in voter.taken("append_entries")]
                voter.received(B, term, meta.index, 0, request=rounds[-1])
            assert (voter.role, voter.term) == ("leader", term)
            await asyncio.sleep(2)
            assert voter.role == "follower"

        run(main)

    def test_a_newer_term_in_an_answer_ends_it(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            voter.received(B, term + 5, meta.index, 0)
            await voter.settle()
            assert (voter.role, voter.term) == ("follower", term + 5)

        run(main)

    def test_what_follows_it_stays_in_the_log(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            for _ in range(10):
                voter.received(B, term, meta.index, 0)
                await voter.write(10)
                await asyncio.sleep(0.3)
            assert voter.engine.snapshot_index > meta.index
            assert voter.base[0] <= meta.index
            assert len(voter.machine.disk("snapshots").names()) == 2
            voter.received(B, term, meta.index, 100)
            await voter.settle()
            assert pieces(voter)[-1]["meta"] == meta
            voter.received(B, term, meta.index, meta.size_bytes, installed=True)
            await voter.settle()
            voter.appended(B, term, voter.engine.last_index)
            await asyncio.sleep(1)
            await voter.write(30)
            await asyncio.sleep(1)
            assert voter.base[0] > meta.index
            assert len(voter.machine.disk("snapshots").names()) == 1

        run(main)

    def test_one_that_takes_too_long_is_given_up_for_a_newer_one(self) -> None:
        async def main() -> None:
            voter, term = await a_leader(max_log_entries=100)
            first = (await asked(voter))["meta"]
            most = 0
            while voter.base[0] <= first.index:
                voter.received(B, term, first.index, 0)
                await voter.write(10)
                await asyncio.sleep(0.3)
                most = max(most, len(voter.held))
            # Held back for it, and no longer than that.
            assert 100 <= most <= 100 + 20 + 10 + 5
            await voter.settle()
            newer = pieces(voter)[-1]
            assert newer["meta"].index > first.index
            assert (newer["offset"], newer["data"]) == (0, b"")
            voter.received(B, term, first.index, 300)
            await voter.settle()
            assert pieces(voter) == []

        run(main)

    def test_a_slow_follower_does_not_make_the_log_longer(self) -> None:
        """B answers nothing at all, C everything: the leader holds what it may keep for the slow, and no more."""

        async def main() -> None:
            voter = Kept()
            await voter.start()
            term = await voter.lead()
            voter.acknowledge_appends(C)
            voter.appended(B, term, 1)
            most = 0
            for _ in range(40):
                await voter.write(10)
                await asyncio.sleep(0.2)
                most = max(most, len(voter.held))
                voter.sent.clear()
            assert most <= 20 + 10 + 5 + 10
            progress = voter.engine._state.state.progress[B]
            assert (len(progress.inflight), progress.inflight_bytes) == (0, 0)
            await asyncio.sleep(1)
            assert pieces(voter)[-1]["data"] == b""

        run(main)

    def test_a_peer_that_falls_silent_holds_nothing_back_for_long(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            voter.received(B, term, meta.index, 100)
            for _ in range(10):
                await voter.write(10)
                await asyncio.sleep(0.5)
            assert voter.base[0] > meta.index
            assert len(voter.held) <= 20 + 10 + 5
            assert pieces(voter)[-1]["meta"].index > meta.index

        run(main)

    def test_a_peer_that_leaves_gets_no_more_of_it(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            voter.received(B, term, meta.index, 0)
            await voter.settle()
            del voter.engine._state.state.progress[B]
            await asyncio.sleep(0.2)
            voter.sent.clear()
            voter.received(B, term, meta.index, 300)
            await asyncio.sleep(2)
            assert pieces(voter) == []
            assert voter.engine._life._held == {}

        run(main)

    def test_a_snapshot_that_cannot_be_read_costs_that_peer_time_only(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            disk = voter.machine.disk("snapshots")
            (name,) = disk.names()
            disk.rename(name, "hidden")
            voter.received(B, term, meta.index, 0)
            await voter.settle()
            assert pieces(voter) == []
            disk.rename("hidden", name)
            await asyncio.sleep(0.6)
            assert pieces(voter)[-1]["data"] == b""
            voter.received(B, term, meta.index, 0)
            await voter.settle()
            assert len(pieces(voter)) == 3
            assert voter.host.errors == []

        run(main)

    def test_two_peers_at_once(self) -> None:
        async def main() -> None:
            voter = Kept(voters=5)
            await voter.start()
            term = await voter.lead()
            others = voter.peers[2:]
            voter.acknowledge_appends(*others)
            await voter.write(60)
            await voter.settle()
            while not voter.engine.snapshot_index:
                await voter.settle()
            await voter.write(1)
            questions = voter.taken("install_snapshot")
            assert sorted(data["to"] for data in questions) == [B, C]
            index = questions[0]["meta"].index
            voter.received(B, term, index, 0)
            voter.received(C, term, index, 200)
            await voter.settle()
            sent = voter.taken("install_snapshot")
            assert [data["offset"] for data in sent if data["to"] == B] == [0, 100, 200]
            assert [data["offset"] for data in sent if data["to"] == C][:2] == [200, 300]

        run(main)

    def test_a_stop_ends_it(self) -> None:
        async def main() -> None:
            voter, term = await a_leader()
            meta = (await asked(voter))["meta"]
            voter.received(B, term, meta.index, 0)
            await voter.life.spawn(voter.engine.stop())
            pieces(voter)
            await asyncio.sleep(2)
            assert voter.sent == []
            with pytest.raises(ProposalError):
                await voter.propose("x")

        run(main)
