"""A follower that is sent a snapshot: whole or broken, interrupted, stale, doubled, from the wrong leader."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cortex.v1 import raft_pb2
from node.consensus.membership import Membership
from tests.consensus.rigs import ALL, B, C
from tests.consensus.snapshot_kit import Kept, a_state, meta_of
from tests.sim.engine_state import AppliedState
from tests.sim.loop import run

MEMBERS = Membership.of_voters({voter: voter for voter in ALL[:3]})
STATE = a_state(50)
DATA = STATE.encode()
META = meta_of(STATE, MEMBERS)


async def a_voter(**limits: Any) -> Kept:
    voter = Kept(**limits)
    await voter.start()
    return voter


async def answers(voter: Kept) -> list[tuple[int, int, bool]]:
    """Index, next offset and whether it is installed, of each answer since the last call."""
    await voter.settle()
    found = voter.taken("install_snapshot_response")
    return [(data["index"], data["next_offset"], data["installed"]) for data in found]


def send(
    voter: Kept,
    meta: raft_pb2.SnapshotMeta = META,
    data: bytes = DATA,
    leader: str = B,
    term: int = 3,
    start: int = 0,
) -> None:
    """Everything from `start` on, in pieces of 100 bytes."""
    for offset in range(start, len(data), 100):
        voter.piece(leader, term, meta, offset, data[offset : offset + 100])


class TestInstall:
    def test_a_snapshot_in_pieces(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            voter.piece(B, 3, META)
            assert await answers(voter) == [(50, 0, False)]
            send(voter)
            assert await answers(voter) == [(50, offset, False) for offset in range(100, 600, 100)] + [
                (50, 600, True)
            ]
            assert voter.host.installs == 1
            assert (voter.role, voter.engine.leader, voter.term) == ("follower", B, 3)
            # Nothing changes here before the host begins anew.
            assert (voter.engine.last_index, voter.engine.commit_index) == (0, 0)
            await voter.begin_anew()
            assert (voter.base, voter.engine.last_index, voter.engine.commit_index) == ((50, 1), 50, 50)
            assert voter.host.state.lines == STATE.lines
            assert (voter.engine.snapshot_index, voter.term) == (50, 3)

        run(main)

    @pytest.mark.parametrize("known", [0, 10, 60])
    def test_the_log_goes_on_behind_it(self, known: int) -> None:
        """Whatever the follower had, of another leader's term, that nobody else ever got."""

        async def main() -> None:
            voter = await a_voter()
            if known:
                voter.append(C, 1, entries=[(1, f"other {index}") for index in range(known)])
                await voter.settle()
            newer = a_state(50, term=2)
            send(voter, meta_of(newer, MEMBERS), newer.encode())
            assert (await answers(voter))[-1] == (50, 600, True)
            await voter.begin_anew()
            assert voter.base == (50, 2)
            voter.append(B, 3, prev=(50, 2), entries=[(3, "a"), (3, "b")], commit=52)
            await voter.settle()
            assert voter.taken("append_entries_response")[-1]["last_log_index"] == 52
            assert len(voter.host.state.lines) == 52
            await voter.restart()
            assert (voter.base, voter.engine.last_index) == ((50, 2), 52)

        run(main)

    def test_a_log_that_agrees_with_it_is_kept(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            voter.append(C, 1, entries=[(1, f"{index}/1") for index in range(1, 61)])
            await voter.settle()
            send(voter)
            assert (await answers(voter))[-1] == (50, 600, True)
            await voter.begin_anew()
            assert voter.engine.last_index == 60

        run(main)

    def test_who_the_members_are_comes_with_it(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            members = Membership.of_voters({voter: voter for voter in ALL[:5]})
            send(voter, meta_of(STATE, members))
            await voter.settle()
            await voter.begin_anew()
            assert voter.engine.membership == members

        run(main)

    def test_twice(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            send(voter)
            await voter.settle()
            await voter.begin_anew()
            second = a_state(90)
            send(voter, meta_of(second, MEMBERS), second.encode())
            await voter.settle()
            assert voter.host.installs == 2
            await voter.begin_anew()
            assert (voter.base, voter.host.state.lines) == ((90, 1), second.lines)
            assert len(voter.machine.disk("snapshots").names()) == 1

        run(main)

    def test_an_entry_of_every_answer_survives_a_power_loss(self) -> None:
        """Whoever says that it is installed has it, however it goes down in that moment."""

        async def main() -> None:
            for seed in range(10):
                voter = await a_voter()
                voter.append(C, 1, entries=[(1, f"{index}") for index in range(10)])
                await voter.settle()
                said = asyncio.Event()
                voter.on_sent = lambda data, said=said: said.set() if data.get("installed") else None  # type: ignore[misc]
                send(voter)
                await said.wait()
                await asyncio.sleep(0.0001 * seed)
                voter.machine.power_loss()
                await voter.start()
                assert voter.host.state.lines == STATE.lines
                assert voter.base == (50, 1)
                voter.machine.kill()

        run(main)


class TestResumed:
    @pytest.mark.parametrize("restart", [False, True])
    def test_a_draft_goes_on(self, restart: bool) -> None:
        """From the next leader, too, if that has the same snapshot; after a restart but for what may be torn."""

        async def main() -> None:
            state = a_state(250_000)
            data, meta = state.encode(), meta_of(state, MEMBERS)
            size = 1 << 20
            voter = await a_voter(piece_bytes=size)
            for offset in (0, size):
                voter.piece(B, 3, meta, offset, data[offset : offset + size])
            assert (await answers(voter))[-1] == (250_000, 2 * size, False)
            if restart:
                await voter.restart()
            voter.piece(C, 4, meta)
            have = size if restart else 2 * size
            assert await answers(voter) == [(250_000, have, False)]
            for offset in range(have, len(data), size):
                voter.piece(C, 4, meta, offset, data[offset : offset + size])
            await voter.settle()
            assert voter.host.installs == 1

        run(main)

    def test_pieces_that_are_lost_doubled_or_swapped_do_no_harm(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            for offset in (0, 0, 200, 100, 0, 300):
                voter.piece(B, 3, META, offset, DATA[offset : offset + 100])
            found = await answers(voter)
            assert [next_offset for _, next_offset, _ in found] == [100, 100, 100, 200, 200, 200]
            send(voter, start=200)
            assert (await answers(voter))[-1] == (50, 600, True)

        run(main)

    def test_another_snapshot_begins_anew(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            voter.piece(B, 3, META, 0, DATA[:100])
            await voter.settle()
            newer = a_state(80)
            voter.piece(B, 3, meta_of(newer, MEMBERS))
            assert await answers(voter) == [(50, 100, False), (80, 0, False)]
            assert len(voter.machine.disk("snapshots").names()) == 1

        run(main)

    def test_stale_pieces_of_an_older_one_are_dropped(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            newer = a_state(80)
            data, meta = newer.encode(), meta_of(newer, MEMBERS)
            voter.piece(B, 3, meta, 0, data[:100])
            voter.piece(B, 3, META, 0, DATA[:100])
            assert await answers(voter) == [(80, 100, False)]
            send(voter, meta, data, start=100)
            assert (await answers(voter))[-1] == (80, 960, True)

        run(main)

    def test_an_older_one_of_a_newer_leader_is_taken(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            newer = a_state(80)
            voter.piece(B, 3, meta_of(newer, MEMBERS), 0, newer.encode()[:100])
            send(voter, leader=C, term=4)
            assert (await answers(voter))[-1] == (50, 600, True)

        run(main)


class TestRefused:
    @pytest.mark.parametrize("place", [0, 599])
    def test_wrong_bytes(self, place: int) -> None:
        async def main() -> None:
            voter = await a_voter()
            broken = bytearray(DATA)
            broken[place] ^= 1
            send(voter, data=bytes(broken))
            assert (await answers(voter))[-1] == (50, 0, False)
            assert (voter.host.installs, voter.machine.disk("snapshots").names()) == (0, [])
            send(voter)
            assert (await answers(voter))[-1] == (50, 600, True)

        run(main)

    @pytest.mark.parametrize(
        "lie",
        [
            {"cluster_id": "another"},
            {"index": 0},
            {"term": 9},
            {"term": 0},
            {"sha256": b"short"},
            {"size_bytes": 0},
            {"size_bytes": 1 << 60},
            {"membership": b"\xff"},
        ],
    )
    def test_what_contradicts_itself_is_dropped(self, lie: dict[str, Any]) -> None:
        async def main() -> None:
            voter = await a_voter()
            meta = raft_pb2.SnapshotMeta()
            meta.CopyFrom(META)
            for field, value in lie.items():
                setattr(meta, field, value)
            voter.piece(B, 3, meta)
            await voter.settle()
            assert voter.sent == []
            assert voter.machine.disk("snapshots").names() == []

        run(main)

    def test_of_an_old_leader(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            voter.append(C, 4)
            send(voter, term=3)
            await voter.settle()
            refusals = voter.taken("install_snapshot_response")
            assert {(data["to"], data["term"], data["installed"]) for data in refusals} == {(B, 4, False)}
            assert (voter.host.installs, voter.engine.leader) == (0, C)

        run(main)

    def test_what_it_has_already(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            voter.append(B, 3, entries=[(1, f"{index}/1") for index in range(1, 61)], commit=55)
            await voter.settle()
            voter.piece(B, 3, META)
            assert await answers(voter) == [(50, 600, True)]
            assert voter.host.installs == 0

        run(main)

    def test_what_is_installed_and_waits_for_the_host(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            send(voter)
            await voter.settle()
            voter.taken("install_snapshot_response")
            send(voter)
            newer = a_state(80)
            send(voter, meta_of(newer, MEMBERS), newer.encode())
            found = await answers(voter)
            assert set(found) == {(50, 600, True)}
            assert voter.host.installs == 1

        run(main)


class TestMeanwhile:
    def test_pieces_are_signs_of_life(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            for _ in range(20):
                voter.piece(B, 3, META)
                await asyncio.sleep(voter.election_s[0] * 0.9)
            assert (voter.role, voter.term, voter.engine.leader) == ("follower", 3, B)
            assert voter.taken("request_vote") == []

        run(main)

    def test_a_candidate_follows_whoever_sends_it(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            term = await voter.stand()
            voter.piece(B, term, META)
            assert (await answers(voter))[-1] == (50, 0, False)
            assert (voter.role, voter.engine.leader) == ("follower", B)

        run(main)

    def test_a_full_disk_costs_time_only(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            disk = voter.machine.disk("snapshots")
            voter.piece(B, 3, META, 0, DATA[:100])
            await voter.settle()
            disk.capacity_bytes = disk.used_bytes()
            voter.piece(B, 3, META, 100, DATA[100:200])
            assert await answers(voter) == [(50, 100, False)]
            assert voter.host.errors == []
            disk.capacity_bytes = 1 << 30
            voter.piece(B, 3, META)
            assert await answers(voter) == [(50, 0, False)]
            send(voter)
            assert (await answers(voter))[-1] == (50, 600, True)

        run(main)

    def test_more_pieces_than_the_disk_can_take_are_dropped(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            voter.machine.sync_s = (0.05, 0.05)
            for _ in range(100):
                voter.piece(B, 3, META)
            await asyncio.sleep(10)
            assert len(voter.taken("install_snapshot_response")) <= 20

        run(main)

    def test_a_stop_in_the_middle_keeps_the_draft(self) -> None:
        async def main() -> None:
            voter = await a_voter()
            send(voter, data=DATA[:300])
            await voter.settle()
            await voter.begin_anew()
            assert [name[-5:] for name in voter.machine.disk("snapshots").names()] == [".part"]
            send(voter)
            assert (await answers(voter))[-1] == (50, 600, True)
            assert AppliedState.decode(DATA).lines == STATE.lines

        run(main)
