"""The journal on a disk that tears, flips, fills up and fails."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from node.consensus.port import Committed
from node.consensus.raftos.journal import (
    BLANK,
    DiskFull,
    Journal,
    JournalDamaged,
    JournalUnusable,
    Recovered,
    encode_entries,
)
from node.env import RealDisk
from tests.consensus.rigs import B, Ours, Rig
from tests.sim.disk import PowerLost, SimDisk
from tests.sim.loop import run

SEGMENT = 4096


def journal_on(disk: SimDisk | RealDisk, seed: int = 1) -> Journal:
    return Journal(disk, random.Random(seed), SEGMENT)


def entry(index: int, term: int = 1, size: int = 20) -> Committed:
    return Committed(index, term, f"entry {index} of term {term} ".encode().ljust(size, b"."))


def recovered(disk: SimDisk | RealDisk) -> Recovered:
    journal = journal_on(disk, seed=2)
    found = journal.recover()
    journal.close()
    return found


def write(journal: Journal, *frames: list[Committed], term: int = 1, vote: str = "a") -> None:
    for frame in frames:
        journal.commit(encode_entries(frame), term, vote)


def copy_of(disk: SimDisk) -> SimDisk:
    """The same files, all durable, on another disk."""
    other = SimDisk(random.Random(3))
    for name in disk.names():
        source, target = disk.open(name), other.open(name, create=True)
        target.preallocate(source.size())
        target.write(0, source.read(0, source.size()))
        target.sync()
    other.sync_folder()
    return other


def a_journal(*frames: list[Committed]) -> SimDisk:
    disk = SimDisk(random.Random(1))
    journal = journal_on(disk)
    journal.recover()
    write(journal, *frames)
    return disk


def used_bytes(disk: SimDisk, name: str) -> int:
    file = disk.open(name)
    return len(file.read(0, file.size()).rstrip(b"\0"))


FRAMES = [[entry(1)], [entry(2), entry(3)], [entry(4, size=900)]]


class TestWhole:
    def test_what_was_committed_is_recovered(self) -> None:
        found = recovered(a_journal(*FRAMES))
        assert found.entries == [entry(1), entry(2), entry(3), entry(4, size=900)]
        assert (found.term, found.vote, found.cut_bytes) == (1, "a", 0)

    def test_an_empty_disk_is_an_empty_journal(self) -> None:
        assert recovered(SimDisk(random.Random(1))) == Recovered(vote=BLANK)

    def test_a_later_entry_overrides_its_index_and_what_follows(self) -> None:
        found = recovered(a_journal([entry(1), entry(2), entry(3)], [entry(2, term=2)]))
        assert found.entries == [entry(1), entry(2, term=2)]

    def test_the_last_hard_state_counts(self) -> None:
        disk = a_journal()
        journal = journal_on(disk)
        journal.recover()
        journal.commit(b"", 3, "b")
        journal.commit(b"", 4, "")
        found = recovered(disk)
        assert (found.term, found.vote) == (4, "")

    def test_many_segments_and_restarts(self) -> None:
        disk = SimDisk(random.Random(1))
        index = 0
        for life in range(1, 8):
            journal = journal_on(disk, seed=life)
            found = journal.recover()
            assert [known.index for known in found.entries] == list(range(1, index + 1))
            assert found.term == life - 1
            for _ in range(10):
                index += 1
                write(journal, [entry(index, term=life, size=700)], term=life, vote=f"n{life}")
        assert len(disk.names()) > 7

    def test_an_entry_larger_than_a_segment(self) -> None:
        assert recovered(a_journal([entry(1)], [entry(2, size=3 * SEGMENT)], [entry(3)])).entries[1].index == 2

    def test_on_a_real_disk(self, tmp_path: Path) -> None:
        disk = RealDisk(tmp_path / "raft")
        journal = journal_on(disk)
        journal.recover()
        write(journal, *FRAMES)
        journal.close()
        assert len(recovered(disk).entries) == 4
        assert len(recovered(disk).entries) == 4

    def test_segments_are_preallocated(self, tmp_path: Path) -> None:
        journal = journal_on(RealDisk(tmp_path / "raft"))
        journal.recover()
        assert [path.stat().st_blocks * 512 for path in (tmp_path / "raft").iterdir()] == [SEGMENT]


class TestTornTail:
    def test_a_tail_torn_at_any_byte_is_cut(self) -> None:
        sound = a_journal(*FRAMES)
        (name,) = sound.names()
        end = used_bytes(sound, name)
        first = used_bytes(a_journal(*FRAMES[:2]), name)
        for cut in range(first + 1, end):
            for shorter in (False, True):
                disk = copy_of(sound)
                file = disk.open(name)
                if shorter:
                    file.truncate(cut)
                else:
                    file.write(cut, bytes(end - cut))
                found = recovered(disk)
                assert found.entries == [entry(1), entry(2), entry(3)], f"torn at byte {cut}"
                assert found.cut_bytes > 0

    def test_a_tail_that_lacks_any_sector_is_cut(self) -> None:
        frames = [[entry(1)], [entry(2, size=2600)]]
        sound = a_journal(*frames)
        (name,) = sound.names()
        for sector in range(1, 5):
            disk = copy_of(sound)
            disk.open(name).write(sector * 512, bytes(512))
            assert recovered(disk).entries == [entry(1)]

    def test_a_power_loss_in_the_middle_of_a_commit(self) -> None:
        outcomes = set()
        for seed in range(150):
            disk = SimDisk(random.Random(seed))
            journal = journal_on(disk)
            journal.recover()
            write(journal, [entry(1)])
            disk.dying = True
            with pytest.raises(PowerLost):
                write(journal, [entry(2, size=1800)])
            disk.power_loss()
            found = recovered(disk)
            assert found.entries[0] == entry(1)
            outcomes.add((len(found.entries), found.cut_bytes > 0))
        assert outcomes == {(1, False), (1, True), (2, False)}

    def test_a_new_segment_that_was_not_finished_is_dropped(self) -> None:
        for seed in range(60):
            disk = SimDisk(random.Random(seed))
            journal = journal_on(disk)
            journal.recover()
            write(journal, [entry(1, size=3500)])
            disk.dying = True
            with pytest.raises(PowerLost):
                write(journal, [entry(2, size=3500)])
            disk.power_loss()
            assert recovered(disk).entries == [entry(1, size=3500)]

    def test_after_a_cut_the_journal_goes_on(self) -> None:
        disk = a_journal(*FRAMES)
        (name,) = disk.names()
        disk.open(name).write(used_bytes(disk, name) - 100, bytes(100))
        journal = journal_on(disk, seed=9)
        assert len(journal.recover().entries) == 3
        write(journal, [entry(4, term=2)], term=2)
        assert recovered(disk).entries[3] == entry(4, term=2)


class TestDamage:
    def flips(self, disk: SimDisk) -> Iterator[tuple[str, int, int]]:
        for name in disk.names():
            for offset in range(used_bytes(disk, name)):
                for bit in range(8):
                    yield name, offset, 1 << bit

    def test_a_flipped_bit_never_loses_an_entry_in_silence(self) -> None:
        sound = a_journal([entry(1)], [entry(2), entry(3)], [entry(4)])
        expected = recovered(copy_of(sound)).entries
        refused = 0
        for name, offset, mask in self.flips(sound):
            disk = copy_of(sound)
            disk.damage(name, offset, mask)
            try:
                found = recovered(disk)
            except JournalDamaged:
                refused += 1
            else:
                assert found.entries == expected, f"bit {mask} at byte {offset}"
        assert refused > 1000

    def test_a_flipped_bit_behind_the_end_changes_nothing(self) -> None:
        sound = a_journal(*FRAMES)
        (name,) = sound.names()
        for offset in range(used_bytes(sound, name), used_bytes(sound, name) + 40):
            disk = copy_of(sound)
            disk.damage(name, offset, 4)
            assert len(recovered(disk).entries) == 4

    def test_a_lost_sector_in_the_middle_is_refused(self) -> None:
        disk = a_journal(*[[entry(index, size=700)] for index in range(1, 5)])
        disk.open(disk.names()[0]).write(1024, bytes(512))
        with pytest.raises(JournalDamaged, match="in front of whole ones") as refused:
            recovered(disk)
        assert "cortexd repair" in refused.value.remedy

    @pytest.mark.parametrize("lost", [0, 1, 2])
    def test_a_lost_segment_is_refused(self, lost: int) -> None:
        disk = a_journal(*[[entry(index, size=1500)] for index in range(1, 8)])
        disk.remove(disk.names()[lost])
        with pytest.raises(JournalDamaged, match="missing"):
            recovered(disk)

    def test_a_sealed_segment_that_lost_its_end_is_refused(self) -> None:
        disk = a_journal(*[[entry(index, size=1500)] for index in range(1, 8)])
        name = disk.names()[1]
        disk.open(name).write(used_bytes(disk, name) - 50, bytes(50))
        with pytest.raises(JournalDamaged, match="last frames are missing"):
            recovered(disk)

    def test_a_file_of_something_else_is_refused(self) -> None:
        disk = a_journal(*FRAMES)
        disk.open(disk.names()[0]).write(0, b"PNG!")
        with pytest.raises(JournalDamaged, match="not a journal segment"):
            recovered(disk)

    def test_nothing_is_changed_by_a_refusal(self) -> None:
        disk = a_journal(*[[entry(index, size=700)] for index in range(1, 5)])
        disk.open(disk.names()[0]).write(1024, bytes(512))
        before = {name: disk.open(name).read(0, 10_000) for name in disk.names()}
        with pytest.raises(JournalDamaged):
            recovered(disk)
        assert {name: disk.open(name).read(0, 10_000) for name in disk.names()} == before


class TestFailingDisk:
    def test_a_full_disk_shows_before_anything_is_promised_and_passes(self) -> None:
        disk = a_journal([entry(1, size=3500)])
        journal = journal_on(disk)
        journal.recover()
        disk.capacity_bytes = disk.used_bytes()
        for _ in range(3):
            with pytest.raises(DiskFull):
                write(journal, [entry(2, size=3500)])
        disk.capacity_bytes *= 4
        write(journal, [entry(2, size=3500)])
        assert [found.index for found in recovered(disk).entries] == [1, 2]

    def test_a_full_disk_at_the_start_is_said(self) -> None:
        disk = a_journal(*FRAMES)
        disk.capacity_bytes = disk.used_bytes()
        with pytest.raises(DiskFull):
            recovered(disk)

    def test_a_failed_sync_is_raised(self) -> None:
        disk = a_journal()
        journal = journal_on(disk)
        journal.recover()
        disk.fail_sync = lambda: True
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            write(journal, [entry(1)])

    def test_after_a_failed_sync_a_restart_brings_to_the_disk_what_it_believes(self) -> None:
        """The page cache shows what the disk never got; a power loss later must not take it away again."""
        disk = a_journal([entry(1)])
        journal = journal_on(disk)
        journal.recover()
        disk.fail_sync = lambda: True
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            write(journal, [entry(2)])
        disk.fail_sync = lambda: False
        disk.kill()
        believed = recovered(disk).entries
        assert len(believed) == 2
        disk.power_loss()
        assert recovered(disk).entries == believed

    def test_a_lost_rename_leaves_the_older_tail(self) -> None:
        for seed in range(40):
            disk = a_journal(*FRAMES)
            journal = journal_on(disk, seed)
            sound, calls = disk.sync_folder, iter(range(2))

            def sync_folder(
                disk: SimDisk = disk, sound: Callable[[], None] = sound, calls: Iterator[int] = calls
            ) -> None:
                # The draft is synced with its folder, then renamed; the power goes before that is synced.
                disk.dying = next(calls) == 1
                sound()

            with patch.object(disk, "sync_folder", sync_folder), pytest.raises(PowerLost):
                journal.recover()
            disk.power_loss()
            assert len(recovered(disk).entries) == 4


class TestEngine:
    """What the engine makes of it."""

    def test_a_failed_sync_stops_the_process(self, tmp_path: Path) -> None:
        async def main() -> None:
            voter = Ours(tmp_path)
            await voter.start()
            voter.machine.disk("raft").fail_sync = lambda: True
            voter.append(B, 1, entries=[(1, "a")])
            await voter.settle()
            (error,) = voter.host.errors
            assert isinstance(error, JournalUnusable)
            assert voter.taken("append_entries_response") == []
            voter.ask_vote(B, term=9)
            await asyncio.sleep(5)
            assert voter.sent == []

        run(main)

    def test_a_leader_whose_disk_is_full_steps_down_and_comes_back(self, tmp_path: Path) -> None:
        async def main() -> None:
            voter = Ours(tmp_path, voters=1)
            await voter.start()
            await asyncio.sleep(1)
            assert voter.role == "leader"
            disk = voter.machine.disk("raft")
            disk.capacity_bytes = disk.used_bytes()
            waiting = [asyncio.ensure_future(voter.propose("x" * 1_000_000)) for _ in range(20)]
            await asyncio.sleep(3)
            assert voter.role == "follower"
            disk.capacity_bytes = 1 << 40
            await asyncio.sleep(5)
            assert voter.role == "leader"
            assert await voter.propose("y") > 0
            await asyncio.wait(waiting)

        run(main)

    def test_a_damaged_journal_does_not_start(self, tmp_path: Path) -> None:
        async def main() -> None:
            voter = Ours(tmp_path)
            await voter.start()
            for index in range(5):
                voter.append(B, 1, prev=(index, min(index, 1)), entries=[(1, "x" * 700)])
                await voter.settle()
            voter.machine.kill()
            voter.machine.disk("raft").damage("00000001.log", 800, 1)
            with pytest.raises(JournalDamaged):
                await voter.start()

        run(main)

    def test_a_disk_that_cannot_be_read_is_said_with_its_remedy(self) -> None:
        async def main() -> None:
            voter = Ours()
            await voter.start()
            voter.machine.kill()
            voter.machine.disk("raft").fail_sync = lambda: True
            with pytest.raises(JournalUnusable, match="Input/output error") as refused:
                await voter.start()
            assert "Check the disk" in refused.value.remedy

        run(main)

    def test_a_journal_behind_the_store_does_not_start(self, tmp_path: Path) -> None:
        async def main() -> None:
            voter: Rig = Ours(tmp_path)
            assert isinstance(voter, Ours)
            voter.host.applied_to = (17, 0, b"")
            with pytest.raises(JournalDamaged, match="17"):
                await voter.start()

        run(main)
