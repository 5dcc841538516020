"""When a snapshot is taken, and what is forgotten then."""

from __future__ import annotations

import asyncio

import pytest

from node.consensus.port import NotLeader, OutcomeUnknown, Superseded
from node.consensus.raftos.damage import JournalLost
from node.consensus.raftos.journal import JournalDamaged
from node.consensus.raftos.log import Log
from node.consensus.raftos.proposals import Waiters
from node.consensus.raftos.records import Base
from tests.consensus.rigs import B, C
from tests.consensus.snapshot_kit import Kept, alone, taken
from tests.sim.loop import run


class TestPolicy:
    def test_after_so_many_entries(self) -> None:
        async def main() -> None:
            voter = await alone()
            await voter.write(18)
            await asyncio.sleep(1)
            assert (voter.engine.snapshot_index, voter.host.copies) == (0, 0)
            await voter.write(1)
            await taken(voter)
            assert voter.engine.snapshot_index == 20
            assert voter.held == [16, 17, 18, 19, 20]

        run(main)

    def test_after_so_many_bytes(self) -> None:
        async def main() -> None:
            voter = await alone(snapshot_entries=10_000, snapshot_log_bytes=3000)
            await voter.write(3, size=900)
            await asyncio.sleep(1)
            assert voter.host.copies == 0
            await voter.write(1, size=900)
            await taken(voter)
            await asyncio.sleep(1)
            assert voter.host.copies == 1
            await voter.write(4, size=900)
            await taken(voter)
            assert voter.engine.snapshot_index == 9

        run(main)

    def test_a_large_snapshot_asks_for_as_large_a_log(self) -> None:
        async def main() -> None:
            voter = await alone(snapshot_entries=10_000, snapshot_log_bytes=100)
            await voter.write(100)
            await taken(voter)
            assert voter.engine.snapshot_index == 101
            # 12 bytes a line: the snapshot has 1212.
            await voter.write(19)
            await asyncio.sleep(1)
            assert voter.host.copies == 1
            await voter.write(3)
            await taken(voter)

        run(main)

    def test_never_two_at_once(self) -> None:
        async def main() -> None:
            voter = await alone()
            gate = asyncio.Event()
            voter.host.copying = gate.wait
            await voter.write(100)
            calls = [voter.life.spawn(voter.take_snapshot()) for _ in range(3)]
            await asyncio.sleep(1)
            await voter.write(100)
            await asyncio.sleep(1)
            assert voter.host.copies == 1
            gate.set()
            assert len({await call for call in calls}) == 1
            await taken(voter)
            assert voter.host.most_open_copies == 1
            assert voter.host.open_copies == 0

        run(main)

    def test_writes_go_on_while_one_is_taken(self) -> None:
        async def main() -> None:
            voter = await alone()
            gate = asyncio.Event()
            voter.host.copying = gate.wait
            await voter.write(30)
            await asyncio.sleep(0.5)
            await voter.write(200)
            assert voter.commit == 231
            gate.set()
            await taken(voter)
            # The copy was made before those were written; the next one has them.
            assert voter.engine.snapshot_index == 31
            await taken(voter)
            assert voter.engine.snapshot_index == 231

        run(main)

    def test_by_an_operator(self) -> None:
        async def main() -> None:
            voter = await alone(snapshot_entries=100_000)
            await voter.write(4)
            assert await voter.life.spawn(voter.take_snapshot()) == 5
            assert await voter.life.spawn(voter.take_snapshot()) == 5
            assert len(voter.machine.disk("snapshots").names()) == 1
            await voter.life.spawn(voter.engine.stop())
            with pytest.raises(OSError, match="stopped"):
                await voter.life.spawn(voter.take_snapshot())

        run(main)

    def test_it_says_who_the_members_were(self) -> None:
        async def main() -> None:
            voter = await alone()
            await voter.write(20)
            await taken(voter)
            await voter.begin_anew()
            assert voter.engine.membership.voters == (voter.me,)

        run(main)


class TestForgetting:
    def test_disk_and_memory_stay_flat(self) -> None:
        async def main() -> None:
            voter = await alone()
            sizes = []
            for _ in range(12):
                await voter.write(30, size=300)
                await taken(voter)
                sizes.append(voter.machine.disk("raft").used_bytes())
                assert len(voter.held) <= 35
                assert len(voter.machine.disk("snapshots").names()) == 1
            assert max(sizes[4:]) <= max(sizes[:4]) <= 8 * 4096

        run(main)

    def test_memory_keeps_no_more_bytes_than_it_may(self) -> None:
        async def main() -> None:
            voter = await alone(keep_entries=1000, keep_bytes=2000)
            await voter.write(40, size=400)
            await taken(voter)
            assert len(voter.held) == 4

        run(main)

    def test_entries_say_where_they_begin(self) -> None:
        async def main() -> None:
            voter = await alone()
            await voter.write(20)
            await taken(voter)
            assert voter.base[0] == 16
            assert [entry.index for entry in voter.engine.entries(16, 3)] == [17, 18, 19]
            with pytest.raises(LookupError, match="entry 16 is in a snapshot"):
                voter.engine.entries(15, 3)

        run(main)

    @pytest.mark.parametrize("power_loss", [False, True])
    def test_a_restart_goes_on_from_snapshot_and_log(self, power_loss: bool) -> None:
        async def main() -> None:
            voter = await alone()
            for _ in range(5):
                await voter.write(50, size=200)
                await taken(voter)
            lines, last = voter.host.state.lines, voter.engine.last_index
            if power_loss:
                voter.machine.power_loss()
            else:
                voter.machine.kill()
            voter.host.state.lines = []
            await voter.start()
            assert voter.host.state.lines == lines[: voter.engine.snapshot_index]
            while voter.role != "leader":
                await voter.settle()
            await voter.write(1)
            assert voter.engine.last_index == last + 2
            assert voter.host.state.lines[:last] == lines

        run(main)

    def test_a_store_that_is_behind_the_log_is_refused(self) -> None:
        async def main() -> None:
            voter = await alone()
            for _ in range(3):
                await voter.write(50, size=200)
                await taken(voter)
            voter.machine.kill()
            voter.host.applied_to = (3, 0, b"")
            voter.host.applied = lambda: voter.host.applied_to  # type: ignore[method-assign]
            with pytest.raises(JournalDamaged, match="only 3 were applied here"):
                await super(Kept, voter).start()

        run(main)

    def test_a_log_without_the_snapshot_that_it_begins_behind_is_refused(self) -> None:
        async def main() -> None:
            voter = await alone()
            for _ in range(3):
                await voter.write(50, size=200)
                await taken(voter)
            voter.machine.kill()
            disk = voter.machine.disk("snapshots")
            disk.rename(disk.names()[0], "hidden")
            voter.host.state.lines = []
            with pytest.raises(JournalDamaged, match="the newest snapshot ends at 0"):
                await voter.start()

        run(main)

    def test_a_snapshot_whose_log_is_gone_is_refused(self) -> None:
        """Snapshot and store agree, so it looks like a restore; but votes and promises went with the log."""

        async def main() -> None:
            voter = await alone()
            await voter.write(50)
            await taken(voter)
            voter.machine.kill()
            raft = voter.machine.disk("raft")
            for name in raft.names():
                raft.remove(name)
            index = voter.host.state.index
            with pytest.raises(JournalLost, match=f"though a snapshot ends at entry {index}") as lost:
                await voter.start()
            assert "cortexd repair" in lost.value.remedy
            assert raft.names() == []

        run(main)

    def test_a_proposal_that_is_answered_too_late_is_of_unknown_outcome(self) -> None:
        async def main() -> None:
            log = Log()
            log.begin(Base(100, 5), [])
            waiters = Waiters(log)
            loop = asyncio.get_running_loop()
            futures: list[asyncio.Future[int]] = [loop.create_future() for _ in range(3)]
            waiters.add(98, 5, futures, deadline=9.0)
            other: asyncio.Future[int] = loop.create_future()
            waiters.add(100, 4, [other], deadline=9.0)
            waiters.add(97, 4, [unknown := loop.create_future()], deadline=9.0)
            waiters.resolve(100)
            # One leader appended the three in a row: the base, of its term, is the last of them.
            assert [future.result() for future in futures] == [98, 99, 100]
            assert isinstance(other.exception(), Superseded)
            assert isinstance(unknown.exception(), OutcomeUnknown)

        run(main)


class TestFollowers:
    def test_every_voter_takes_its_own(self) -> None:
        async def main() -> None:
            voter = Kept()
            await voter.start()
            entries = [(1, f"{index}") for index in range(1, 41)]
            voter.append(B, 1, entries=entries, commit=40)
            await taken(voter)
            assert voter.engine.snapshot_index == 40
            assert voter.base == (35, 1)
            voter.append(B, 1, prev=(40, 1), commit=40, request=2)
            await voter.settle()
            answer = voter.taken("append_entries_response")[-1]
            assert (answer["success"], answer["last_log_index"]) == (True, 40)

        run(main)

    def test_appends_from_before_its_log_begins_are_taken_as_known(self) -> None:
        async def main() -> None:
            voter = Kept()
            await voter.start()
            entries = [(1, f"{index}") for index in range(1, 41)]
            voter.append(B, 1, entries=entries, commit=40)
            await taken(voter)
            voter.taken("append_entries_response")
            voter.append(B, 1, prev=(9, 1), entries=[(1, f"{index}") for index in range(10, 43)], commit=40)
            await voter.settle()
            answer = voter.taken("append_entries_response")[-1]
            assert (answer["success"], answer["last_log_index"]) == (True, 42)
            voter.append(C, 1, prev=(20, 1), entries=[(1, "21")], commit=40)
            await voter.settle()
            assert voter.held == list(range(36, 43))

        run(main)

    def test_a_leader_that_lost_its_term_ends_proposals_as_before(self) -> None:
        async def main() -> None:
            voter = Kept()
            await voter.start()
            with pytest.raises(NotLeader):
                await voter.propose("x")

        run(main)
