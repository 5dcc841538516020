"""Snapshot files on a disk that tears, flips, fills up and fails."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cortex.v1 import raft_pb2
from node.consensus.raftos.damage import OtherCluster
from node.consensus.raftos.snapshot_format import SnapshotBroken
from node.consensus.raftos.snapshots import PIECE_BYTES, Snapshots, newest_index
from node.env import Disk, RealDisk
from tests.sim.disk import PowerLost, SimDisk

CLUSTER = "cluster"
STATE = random.Random(7).randbytes(10_000)


def meta_of(index: int, term: int = 1) -> raft_pb2.SnapshotMeta:
    return raft_pb2.SnapshotMeta(index=index, term=term, membership=b"members", level=3, recovery_epoch=1, at_us=5)


def chunks(state: bytes = STATE, size: int = 999) -> Iterator[bytes]:
    for start in range(0, len(state), size):
        yield state[start : start + size]


def sim_disk(seed: int = 1) -> SimDisk:
    return SimDisk(random.Random(seed))


def on(disk: Disk, cluster: str = CLUSTER) -> Snapshots:
    """As a start finds them."""
    snapshots = Snapshots(disk, cluster)
    snapshots.latest()
    return snapshots


def with_snapshot(index: int, state: bytes = STATE) -> SimDisk:
    disk = sim_disk()
    on(disk).write(meta_of(index), chunks(state))
    return disk


def found(disk: Disk) -> int:
    """Index of the snapshot that a start finds, whose state is what was written; 0 when there is none."""
    snapshots = on(disk)
    latest = snapshots.latest()
    if latest is None:
        return 0
    assert snapshots.read(latest, 0, len(STATE)) == STATE
    return latest.index


class TestWrite:
    def test_what_was_written_is_found_and_read(self) -> None:
        disk = sim_disk()
        written = on(disk).write(meta_of(10, term=4), chunks())
        snapshots = on(disk)
        assert snapshots.latest() == written
        assert (written.index, written.term, written.cluster_id) == (10, 4, CLUSTER)
        assert (written.size_bytes, written.membership, written.level) == (len(STATE), b"members", 3)
        parts = [snapshots.read(written, offset, 4096) for offset in range(0, len(STATE), 4096)]
        assert b"".join(parts) == STATE
        assert snapshots.read(written, len(STATE), 100) == b""

    def test_an_empty_folder_has_none(self) -> None:
        assert on(sim_disk()).latest() is None

    def test_the_newest_counts_and_older_ones_go(self) -> None:
        disk = with_snapshot(10)
        snapshots = on(disk)
        first = snapshots.latest()
        snapshots.write(meta_of(20), chunks())
        snapshots.write(meta_of(300), chunks())
        snapshots.prune(keep=[10])
        assert found(disk) == 300
        assert len(disk.names()) == 2
        assert first is not None
        assert snapshots.read(first, 0, 5) == STATE[:5]
        snapshots.prune()
        assert len(disk.names()) == 1
        with pytest.raises(FileNotFoundError):
            snapshots.read(first, 0, 5)

    def test_an_empty_state(self) -> None:
        disk = sim_disk()
        written = on(disk).write(meta_of(3), [])
        assert on(disk).latest() == written

    def test_a_large_membership_has_room_in_the_head(self) -> None:
        disk = sim_disk()
        large = meta_of(3)
        large.membership = bytes(9000)
        on(disk).write(large, chunks())
        assert found(disk) == 3

    def test_on_a_real_disk(self, tmp_path: Path) -> None:
        disk = RealDisk(tmp_path / "snapshots")
        on(disk).write(meta_of(10), chunks())
        assert found(disk) == 10

    @pytest.mark.parametrize("sync", range(1, 3))
    def test_a_power_loss_at_any_sync_leaves_the_old_one_or_the_new_one(self, sync: int) -> None:
        outcomes = set()
        for seed in range(60):
            disk = sim_disk(seed)
            snapshots = on(disk)
            snapshots.write(meta_of(10), chunks())
            disk.dies_in_syncs = sync
            with pytest.raises(PowerLost):
                snapshots.write(meta_of(20), chunks())
            disk.power_loss()
            outcomes.add(found(disk))
            assert not [name for name in disk.names() if name.endswith(".new")]
        # The rename stands between the two syncs.
        assert outcomes == ({10} if sync == 1 else {10, 20})

    @pytest.mark.parametrize("room", [0, 3000, 12_000])
    def test_a_full_disk_leaves_the_old_one_and_the_room(self, room: int) -> None:
        disk = with_snapshot(10)
        before = disk.used_bytes()
        disk.capacity_bytes = before + room
        snapshots = on(disk)
        with pytest.raises(OSError, match="No space") as full:
            snapshots.write(meta_of(20), chunks())
        assert full.value.errno == errno.ENOSPC
        assert disk.used_bytes() == before
        disk.capacity_bytes = 1 << 30
        snapshots.write(meta_of(20), chunks())
        assert found(disk) == 20

    @pytest.mark.parametrize("fault", ["fail_sync", "fail_write"])
    def test_an_io_error_leaves_the_old_one(self, fault: str) -> None:
        disk = with_snapshot(10)
        snapshots = on(disk)
        setattr(disk, fault, lambda: True)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            snapshots.write(meta_of(20), chunks())
        setattr(disk, fault, lambda: False)
        latest = snapshots.latest()
        assert latest is not None
        assert latest.index == 10
        assert found(disk) == 10

    def test_a_source_that_fails_leaves_the_old_one(self) -> None:
        def failing() -> Iterator[bytes]:
            yield STATE
            raise RuntimeError("no more")

        disk = with_snapshot(10)
        snapshots = on(disk)
        with pytest.raises(RuntimeError, match="no more"):
            snapshots.write(meta_of(20), failing())
        assert found(disk) == 10
        snapshots.write(meta_of(20), chunks())
        assert found(disk) == 20


class TestBroken:
    def test_a_flipped_bit_is_found_wherever_it_is(self) -> None:
        rng = random.Random(1)
        size = used_bytes(with_snapshot(10))
        padding = range(200, 4096)
        for offset in [*range(130), *rng.sample(range(4096, size), 100)]:
            disk = with_snapshot(10)
            (name,) = disk.names()
            assert offset not in padding
            if bytes_at(disk, name, offset):
                disk.damage(name, offset, 1 << rng.randrange(8))
                assert on(disk).latest() is None, f"byte {offset}"
                assert disk.names() == [name.replace(".snap", ".snap.broken")]

    @pytest.mark.parametrize("size", [0, 10, 100, 4096, 5000, 14_095, 14_097])
    def test_another_length_is_found(self, size: int) -> None:
        disk = with_snapshot(10)
        disk.open(disk.names()[0]).truncate(size)
        assert on(disk).latest() is None

    def test_the_one_before_counts_when_the_newest_is_broken(self) -> None:
        disk = with_snapshot(10)
        on(disk).write(meta_of(20), chunks())
        disk.damage(disk.names()[1], 5000, 1)
        assert found(disk) == 10
        assert [name[-7:] for name in disk.names()] == ["10.snap", ".broken"]

    def test_one_broken_file_is_kept_at_most(self) -> None:
        disk = sim_disk()
        for index in (10, 20, 30):
            on(disk).write(meta_of(index), chunks())
            disk.damage(next(name for name in disk.names() if name.endswith(".snap")), 5000, 1)
            assert found(disk) == 0
            assert len(disk.names()) == 1

    def test_another_clusters_snapshot_is_not_taken(self) -> None:
        disk = with_snapshot(10)
        before = disk.names()
        with pytest.raises(OtherCluster, match="are of cluster cluster, the secret is of cluster another"):
            on(disk, "another")
        # The secret was the wrong one: with the right one all is as it was.
        assert (disk.names(), found(disk)) == (before, 10)

    def test_files_of_others_are_left_alone(self) -> None:
        disk = with_snapshot(10)
        strays = [
            "x.snap",
            "0.snap",
            f"{9:019d}.snap",
            f"{9:020d}x.snap",
            "x.snap.new",
            "x.snap.part",
            "x.snap.broken",
        ]
        for name in strays:
            disk.open(name, create=True).write(0, b"of another program")
        assert (newest_index(disk), found(disk)) == (10, 10)
        snapshots = on(disk)
        snapshots.write(meta_of(20), chunks())
        snapshots.begin(meta_of(30))
        snapshots.discard()
        snapshots.prune()
        disk.damage(f"{20:020d}.snap", 5000, 1)
        assert found(disk) == 0
        assert sorted({*disk.names()} - {*strays}) == [f"{20:020d}.snap.broken"]
        assert {*strays} < {*disk.names()}

    def test_a_renamed_snapshot_is_not_taken(self) -> None:
        disk = with_snapshot(10)
        disk.rename(disk.names()[0], f"{11:020d}.snap")
        assert on(disk).latest() is None


class TestReceive:
    def sent(self, index: int = 10, state: bytes = STATE) -> raft_pb2.SnapshotMeta:
        latest = on(with_snapshot(index, state)).latest()
        assert latest is not None
        return latest

    def take(
        self, snapshots: Snapshots, meta: raft_pb2.SnapshotMeta, state: bytes = STATE, step: int = 3000
    ) -> int:
        have = snapshots.begin(meta)
        while have < meta.size_bytes:
            have = snapshots.add(have, state[have : have + step])
        return have

    def test_pieces_become_a_snapshot(self) -> None:
        disk, meta = sim_disk(), self.sent()
        snapshots = on(disk)
        assert self.take(snapshots, meta) == len(STATE)
        assert snapshots.latest() is None
        assert snapshots.finish() == meta
        assert snapshots.latest() == meta
        assert found(disk) == 10

    def test_only_the_next_piece_is_written(self) -> None:
        snapshots, meta = on(sim_disk()), self.sent()
        assert snapshots.begin(meta) == 0
        assert snapshots.add(3000, STATE[3000:6000]) == 0
        assert snapshots.add(0, STATE[:3000]) == 3000
        assert snapshots.add(0, STATE[:3000]) == 3000
        assert snapshots.add(3000, STATE[3000:] + b"more than there is") == 3000
        assert snapshots.add(3000, b"") == 3000
        assert snapshots.begin(meta) == 3000

    def test_wrong_bytes_are_not_kept(self) -> None:
        disk, meta = sim_disk(), self.sent()
        snapshots = on(disk)
        self.take(snapshots, meta, state=bytes(len(STATE)))
        with pytest.raises(SnapshotBroken, match="another hash"):
            snapshots.finish()
        assert disk.names() == []
        assert snapshots.begin(meta) == 0

    def test_another_clusters_snapshot_is_not_kept(self) -> None:
        disk, meta = sim_disk(), self.sent()
        snapshots = on(disk, "another")
        self.take(snapshots, meta)
        with pytest.raises(SnapshotBroken, match="belongs to cluster"):
            snapshots.finish()
        assert disk.names() == []

    def test_a_draft_is_resumed_but_for_the_piece_that_may_be_torn(self) -> None:
        state = random.Random(1).randbytes(3 * PIECE_BYTES + 500)
        disk, meta = sim_disk(), self.sent(state=state)
        snapshots = on(disk)
        snapshots.begin(meta)
        for number in range(2):
            snapshots.add(number * PIECE_BYTES, state[number * PIECE_BYTES :][:PIECE_BYTES])
        disk.dying = True
        with pytest.raises(PowerLost):
            snapshots.add(2 * PIECE_BYTES, state[2 * PIECE_BYTES :][:PIECE_BYTES])
        disk.power_loss()
        snapshots = on(disk)
        assert PIECE_BYTES <= snapshots.begin(meta) <= 2 * PIECE_BYTES
        self.take(snapshots, meta, state, step=PIECE_BYTES)
        assert snapshots.finish() == meta

    def test_a_power_loss_at_any_sync_is_resumed_or_begun_anew(self) -> None:
        for sync in range(1, 9):
            for seed in range(15):
                disk, meta = sim_disk(seed), self.sent()
                snapshots = on(disk)
                disk.dies_in_syncs = sync
                with suppress(PowerLost):
                    self.take(snapshots, meta)
                    snapshots.finish()
                disk.power_loss()
                snapshots = on(disk)
                if snapshots.latest() is None:
                    self.take(snapshots, meta)
                    snapshots.finish()
                assert found(disk) == 10

    def test_another_snapshot_ends_the_draft_of_the_first(self) -> None:
        disk, first, second = sim_disk(), self.sent(10), self.sent(20, STATE[:5000])
        snapshots = on(disk)
        snapshots.begin(first)
        snapshots.add(0, STATE[:3000])
        assert snapshots.begin(second) == 0
        assert len(disk.names()) == 1
        self.take(snapshots, second, STATE[:5000])
        assert snapshots.finish() == second

    def test_the_same_index_with_other_bytes_begins_anew(self) -> None:
        snapshots = on(sim_disk())
        snapshots.begin(self.sent(10))
        snapshots.add(0, STATE[:3000])
        assert snapshots.begin(self.sent(10, STATE[::-1])) == 0

    @pytest.mark.parametrize("fault", ["fail_sync", "fail_write", "full"])
    def test_a_failing_disk_ends_the_draft(self, fault: str) -> None:
        disk, meta = sim_disk(), self.sent()
        snapshots = on(disk)
        snapshots.begin(meta)
        snapshots.add(0, STATE[:3000])
        if fault == "full":
            disk.capacity_bytes = disk.used_bytes()
        else:
            setattr(disk, fault, lambda: True)
        with pytest.raises(OSError):  # noqa: PT011 - each fault has its own text
            snapshots.add(3000, STATE[3000:6000])
        assert disk.names() == []
        disk.fail_sync = disk.fail_write = lambda: False
        disk.capacity_bytes = 1 << 30
        self.take(snapshots, meta)
        assert snapshots.finish() == meta

    def test_a_draft_behind_the_newest_snapshot_goes(self) -> None:
        disk = with_snapshot(10)
        snapshots = on(disk)
        snapshots.begin(self.sent(15))
        snapshots.write(meta_of(20), chunks())
        snapshots.prune()
        assert len(disk.names()) == 1
        snapshots.begin(self.sent(25))
        snapshots.prune()
        assert len(disk.names()) == 2


def used_bytes(disk: SimDisk) -> int:
    return disk.open(disk.names()[0]).size()


def bytes_at(disk: SimDisk, name: str, offset: int) -> bool:
    """Whether the head or the state is there, not the zeros between them."""
    file = disk.open(name)
    head_end = len(file.read(0, 4096).rstrip(b"\0"))
    return offset < head_end or offset >= 4096
