"""The journal behind a snapshot: what is dropped, where the log begins, what is void and what is damage."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from node.consensus.port import Committed
from node.consensus.raftos.damage import JournalLost
from node.consensus.raftos.journal import BLANK, Base, DiskFull, Journal, JournalDamaged, Recovered, encode_entries
from tests.sim.disk import PowerLost, SimDisk

SEGMENT = 4096
PER_SEGMENT = 3
"""Entries of SIZE that fit in one segment."""
SIZE = 1200


def entry(index: int, term: int = 1, size: int = SIZE) -> Committed:
    return Committed(index, term, f"entry {index} of term {term} ".encode().ljust(size, b"."))


def journal_on(disk: SimDisk, seed: int = 1) -> Journal:
    return Journal(disk, random.Random(seed), SEGMENT)


def recovered(disk: SimDisk, snapshot: Base, seed: int = 2) -> Recovered:
    journal = journal_on(disk, seed)
    found = journal.recover(snapshot)
    journal.close()
    return found


def a_journal(last: int, disk: SimDisk | None = None) -> tuple[SimDisk, Journal]:
    """Entries 1 .. last, each in a frame of its own; the hard state changes on the way."""
    disk = disk or SimDisk(random.Random(1))
    journal = journal_on(disk)
    journal.recover()
    for index in range(1, last + 1):
        journal.commit(encode_entries([entry(index)]), 1 + index // 5, f"n{index // 5}")
    return disk, journal


def truncate(journal: Journal, upto: int) -> None:
    while journal.truncate(upto):
        pass


def indexes(found: Recovered) -> list[int]:
    assert [kept.index for kept in found.entries] == list(range(found.base.index + 1, found.last_index + 1))
    return [found.base.index, found.last_index]


class TestTruncate:
    def test_whole_segments_behind_the_snapshot_go(self) -> None:
        disk, journal = a_journal(20)
        before = len(disk.names())
        truncate(journal, 12)
        assert len(disk.names()) == before - 4
        found = recovered(disk, Base(12, 1))
        assert indexes(found) == [12, 20]
        assert (found.term, found.vote) == (5, "n4")

    def test_what_a_kept_segment_holds_of_the_past_is_read(self) -> None:
        disk, journal = a_journal(20)
        truncate(journal, 14)
        # 13 is the first that is left; its term is the base's.
        assert indexes(recovered(disk, Base(14, 1))) == [13, 20]
        assert indexes(recovered(disk, Base(17, 1))) == [13, 20]

    def test_the_segment_that_is_written_to_stays(self) -> None:
        disk, journal = a_journal(20)
        truncate(journal, 20)
        assert len(disk.names()) == 1
        found = recovered(disk, Base(20, 1))
        assert found.last_index == 20
        assert (found.term, found.vote) == (5, "n4")

    def test_nothing_goes_that_the_snapshot_does_not_hold(self) -> None:
        disk, journal = a_journal(20)
        names = disk.names()
        truncate(journal, PER_SEGMENT - 1)
        assert disk.names() == names

    def test_it_goes_on_after_truncations_and_restarts(self) -> None:
        disk = SimDisk(random.Random(1))
        index = kept = 0
        for life in range(1, 12):
            journal = journal_on(disk, seed=life)
            found = journal.recover(Base(kept, life - 1))
            assert found.last_index == index
            assert found.base.index <= kept
            for _ in range(7):
                index += 1
                journal.commit(encode_entries([entry(index, term=life)]), life, "")
            kept = index
            truncate(journal, kept)
            assert len(disk.names()) <= 2

    def test_a_power_loss_at_any_sync_loses_nothing(self) -> None:
        for sync in range(1, 10):
            for seed in range(30):
                disk, journal = a_journal(20, SimDisk(random.Random(seed)))
                disk.dies_in_syncs = sync
                with suppress(PowerLost):
                    truncate(journal, 14)
                disk.power_loss()
                base, last = indexes(recovered(disk, Base(14, 1)))
                assert base <= 13
                assert last == 20
                assert indexes(recovered(disk, Base(14, 1)))[1] == 20

    def test_a_full_disk_drops_nothing(self) -> None:
        disk, journal = a_journal(PER_SEGMENT * 4)
        names = disk.names()
        disk.capacity_bytes = disk.used_bytes()
        # Now the last segment has no room for the note of what goes.
        journal.commit(b"", 9, "x" * 200)
        with pytest.raises(DiskFull):
            truncate(journal, 6)
        assert disk.names() == names
        disk.capacity_bytes = 1 << 30
        assert indexes(recovered(disk, Base(6, 1)))[1] == PER_SEGMENT * 4

    def test_entries_that_were_overridden_do_not_hold_it_back_for_ever(self) -> None:
        disk, journal = a_journal(20)
        for index in range(10, 30):
            journal.commit(encode_entries([entry(index, term=8)]), 8, "")
        truncate(journal, 25)
        found = recovered(disk, Base(25, 8))
        assert indexes(found)[1] == 29
        assert {kept.term for kept in found.entries} == {8}
        assert len(disk.names()) <= 4

    def test_overrides_below_the_beginning_are_taken(self) -> None:
        disk, journal = a_journal(20)
        truncate(journal, 9)
        # Another leader replaces 11 and what follows; then its successor 12.
        journal.commit(encode_entries([entry(11, term=8), entry(12, term=8), entry(13, term=8)]), 8, "")
        journal.commit(encode_entries([entry(12, term=9)]), 9, "")
        found = recovered(disk, Base(9, 1))
        assert [(kept.index, kept.term) for kept in found.entries] == [(10, 1), (11, 8), (12, 9)]

    def test_an_override_that_begins_before_the_first_segment_left_voids_what_stood_behind(self) -> None:
        disk, journal = a_journal(12)
        # The tail of the third segment and all behind it is replaced from 8 on, which the snapshot at 10 covers.
        journal.commit(encode_entries([entry(index, term=3, size=20) for index in range(8, 13)]), 3, "")
        truncate(journal, 10)
        found = recovered(disk, Base(10, 3))
        assert [(kept.index, kept.term) for kept in found.entries if kept.index > 10] == [(11, 3), (12, 3)]


class TestDamage:
    def test_a_log_that_begins_behind_the_snapshot(self) -> None:
        disk, journal = a_journal(20)
        truncate(journal, 14)
        for snapshot in (Base(), Base(11, 1), Base(13, 1)):
            with pytest.raises(JournalDamaged, match="the newest snapshot ends at"):
                recovered(disk, snapshot)

    def test_segments_that_nobody_dropped(self) -> None:
        disk, _ = a_journal(20)
        for name in disk.names()[:2]:
            disk.remove(name)
        for snapshot in (Base(), Base(6, 1), Base(20, 1)):
            with pytest.raises(JournalDamaged, match="the segments before it are missing"):
                recovered(disk, snapshot)

    def test_more_segments_than_were_dropped(self) -> None:
        disk, journal = a_journal(20)
        truncate(journal, 9)
        disk.remove(disk.names()[0])
        with pytest.raises(JournalDamaged, match="the segments before it are missing"):
            recovered(disk, Base(9, 1))

    def test_a_snapshot_older_than_what_was_dropped_though_no_entry_is_left(self) -> None:
        disk, journal = a_journal(PER_SEGMENT * 4)
        journal.commit(b"", 9, "x" * 200)
        journal.commit(b"", 10, "x" * 200)
        journal.commit(b"", 11, "x" * 200)
        truncate(journal, PER_SEGMENT * 4)
        assert recovered(disk, Base(12, 1)).last_index == 12
        with pytest.raises(JournalDamaged, match="the newest snapshot ends at 11"):
            recovered(disk, Base(11, 1))

    def test_a_gap_between_entries(self) -> None:
        disk, journal = a_journal(5)
        journal.commit(encode_entries([entry(7)]), 9, "")
        with pytest.raises(JournalDamaged, match="entry 7 follows entry 5"):
            recovered(disk, Base(4, 1))


class TestBehindAnInstalledSnapshot:
    @pytest.mark.parametrize("last", [0, 1, 10, 49])
    def test_a_log_that_does_not_reach_it_is_void(self, last: int) -> None:
        disk, _ = a_journal(last)
        found = recovered(disk, Base(50, 7))
        assert indexes(found) == [50, 50]
        assert found.base == Base(50, 7)
        assert len(disk.names()) == 1
        assert indexes(recovered(disk, Base(50, 7))) == [50, 50]

    def test_a_log_with_another_entry_there_is_void(self) -> None:
        disk, _ = a_journal(20)
        assert indexes(recovered(disk, Base(15, 2))) == [15, 15]

    def test_a_log_with_the_same_entry_there_goes_on(self) -> None:
        disk, _ = a_journal(20)
        assert indexes(recovered(disk, Base(15, 1))) == [0, 20]

    def test_the_log_goes_on_behind_it(self) -> None:
        disk, _ = a_journal(20)
        journal = journal_on(disk, 3)
        journal.recover(Base(50, 7))
        journal.commit(encode_entries([entry(51, term=7), entry(52, term=8)]), 8, "me")
        found = recovered(disk, Base(50, 7))
        assert [(kept.index, kept.term) for kept in found.entries] == [(51, 7), (52, 8)]
        assert (found.term, found.vote) == (8, "me")
        with pytest.raises(JournalDamaged, match="the newest snapshot ends at 20"):
            recovered(disk, Base(20, 1))

    def test_the_term_is_not_behind_it(self) -> None:
        disk = SimDisk(random.Random(1))
        with pytest.raises(JournalLost):
            recovered(disk, Base(50, 7))
        journal_on(disk, 1).begin_behind(Base(50, 7))
        found = recovered(disk, Base(50, 7))
        assert (found.term, found.base, found.entries) == (7, Base(50, 7), [])
        assert found.vote == BLANK
        disk, _ = a_journal(20)
        found = recovered(disk, Base(50, 3))
        assert (found.term, found.vote) == (5, "n4")

    @pytest.mark.parametrize("last", [2, 20])
    def test_a_power_loss_at_any_sync_is_found_as_before(self, last: int) -> None:
        for sync in range(1, 14):
            for seed in range(25):
                disk, _ = a_journal(last, SimDisk(random.Random(seed)))
                disk.dies_in_syncs = sync
                with suppress(PowerLost):
                    journal_on(disk, seed).recover(Base(50, 7))
                disk.power_loss()
                assert indexes(recovered(disk, Base(50, 7))) == [50, 50]

    def test_a_second_one_before_anything_else_is_written(self) -> None:
        disk, _ = a_journal(20)
        recovered(disk, Base(50, 7))
        assert indexes(recovered(disk, Base(90, 8))) == [90, 90]
        assert indexes(recovered(disk, Base(90, 8))) == [90, 90]

    def test_a_full_disk_refuses_to_start_and_changes_nothing(self) -> None:
        disk, _ = a_journal(20)
        disk.capacity_bytes = disk.used_bytes()
        with pytest.raises(DiskFull):
            recovered(disk, Base(50, 7))
        disk.capacity_bytes = 1 << 30
        assert indexes(recovered(disk, Base(50, 7))) == [50, 50]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_log_behind_the_snapshot_is_what_was_committed(seed: int) -> None:
    """Commits, overrides, truncations, installs, kills and power losses in any order."""
    rng = random.Random(seed)
    disk = SimDisk(random.Random(seed))
    snapshot, log, term = Base(), [], 1
    journal = journal_on(disk, seed)
    journal.recover(snapshot)

    def append() -> None:
        nonlocal term
        term += rng.random() < 0.2
        place = rng.randint(0, len(log)) if rng.random() < 0.2 else len(log)
        first = snapshot.index + place + 1
        new = [entry(first + more, term, rng.choice([20, 900])) for more in range(rng.randint(1, 4))]
        journal.commit(encode_entries(new), term, "")
        log[place:] = new

    def take_snapshot() -> None:
        nonlocal snapshot
        if log:
            count = rng.randint(1, len(log))
            snapshot = Base(log[count - 1].index, log[count - 1].term)
            del log[:count]
            disk.dies_in_syncs = rng.choice([0, 0, 1, 2, 3, 4])
            with suppress(PowerLost):
                truncate(journal, snapshot.index)
            if disk.dying:
                restart()
            disk.dies_in_syncs = 0

    def install() -> None:
        nonlocal snapshot, term
        term += 1
        snapshot = Base(snapshot.index + len(log) + rng.randint(0, 5) + 1, term)
        log.clear()
        disk.power_loss()
        disk.dies_in_syncs = rng.choice([0, 1, 2, 3, 4, 5, 6])
        with suppress(PowerLost):
            journal_on(disk, rng.getrandbits(30)).recover(snapshot)
        restart(power_loss=disk.dying)

    def restart(power_loss: bool | None = None) -> None:
        nonlocal journal
        power_loss = disk.dying or rng.random() < 0.5 if power_loss is None else power_loss
        disk.dies_in_syncs = 0
        if not power_loss:
            disk.kill()
        else:
            disk.power_loss()
        journal = journal_on(disk, rng.getrandbits(30))
        found = journal.recover(snapshot)
        assert [kept for kept in found.entries if kept.index > snapshot.index] == log
        assert found.last_index == snapshot.index + len(log)

    steps: list[Callable[[], None]] = [append, append, append, append, take_snapshot, restart, install]
    for _ in range(120):
        rng.choice(steps)()
