"""Snapshot files: a head that says what is in it, then the bytes of the state.

A file has its name only once it is whole: it is written as a draft, synced, read back, renamed, and the folder
synced. A draft that was received is resumed after a restart; every piece of it was synced before the next was
written, so only the last one can be torn.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from zlib import crc32

import structlog
from google.protobuf.message import DecodeError

from cortex.v1 import raft_pb2
from node.consensus.raftos.damage import OtherCluster
from node.env import Disk, File

PIECE_BYTES = 1 << 20
"""No piece of a received snapshot is larger."""
_SYNC_BYTES = 8 << 20
_BLOCK = 4096
_HEAD = struct.Struct("<4sIII")  # magic, where the state begins, length of the meta, crc of these and the meta
_MAGIC = b"CXS1"
_WHOLE, _TAKEN, _RECEIVED, _BROKEN = ".snap", ".snap.new", ".snap.part", ".snap.broken"
_NAMED = re.compile(r"[0-9]{20}(\.snap(?:\.new|\.part|\.broken)?)")


class SnapshotBroken(Exception):
    """A snapshot is not what its head says; the message tells the difference."""


class _Foreign(SnapshotBroken):
    """A snapshot of another cluster, whole perhaps."""

    def __init__(self, found: str, own: str) -> None:
        super().__init__(f"it belongs to cluster {found}, this is {own}")
        self.found, self.own = found, own


@dataclass(slots=True)
class _Draft:
    """A snapshot that is being received."""

    meta: raft_pb2.SnapshotMeta
    file: File
    start: int
    have: int


class Snapshots:
    """The snapshots of one voter. Methods block and raise OSError: call them through an Offload.

    latest() comes first. write() may run beside the others; those must not run beside each other.
    """

    def __init__(self, disk: Disk, cluster_id: str) -> None:
        self._disk = disk
        self._cluster_id = cluster_id
        self._log = structlog.get_logger()
        self._latest: raft_pb2.SnapshotMeta | None = None
        self._recovered = False
        self._draft: _Draft | None = None

    def latest(self) -> raft_pb2.SnapshotMeta | None:
        """The newest snapshot that is whole. The first call verifies it, and puts aside what is broken.

        Raises OtherCluster, and nothing was changed.
        """
        if not self._recovered:
            self._recover()
            self._recovered = True
        return self._latest

    def _recover(self) -> None:
        for name in self._disk.names():
            if name.endswith(_WHOLE) and not is_snapshot(name):
                self._log.warning("a file that is no snapshot of this voter is left alone", file=name)
        for name in _names(self._disk, _TAKEN):
            self._disk.remove(name)
        for name in reversed(_names(self._disk, _WHOLE)):
            try:
                self._latest = self._verified(name, name)
                return
            except _Foreign as error:
                # It is the secret that is wrong: with the right one this snapshot will be needed.
                raise OtherCluster(error.found, error.own) from error
            except SnapshotBroken as error:
                self._log.error(
                    "a snapshot is broken and was put aside", file=name, why=str(error), renamed=_put_aside(name)
                )
                for old in _names(self._disk, _BROKEN):
                    self._disk.remove(old)
                self._disk.rename(name, _put_aside(name))
                self._disk.sync_folder()

    def write(self, meta: raft_pb2.SnapshotMeta, chunks: Iterable[bytes]) -> raft_pb2.SnapshotMeta:
        """Save a state; its meta, with size and hash. Verified and durable on return."""
        name = _name(meta.index, _TAKEN)
        if name in self._disk.names():
            self._disk.remove(name)
        file = self._disk.open(name, create=True)
        try:
            final = write_file(file, meta, self._cluster_id, chunks)
        except Exception:
            file.close()
            self._disk.remove(name)
            raise
        file.close()
        try:
            self._keep(name, final)
        except SnapshotBroken as error:
            self._disk.remove(name)
            raise OSError(f"what was written reads back differently: {error}") from error
        return final

    def _keep(self, draft: str, meta: raft_pb2.SnapshotMeta) -> None:
        """Give a draft its name if it is whole."""
        self._verified(draft, _name(meta.index, _WHOLE))
        self._disk.rename(draft, _name(meta.index, _WHOLE))
        self._disk.sync_folder()
        if self._latest is None or meta.index >= self._latest.index:
            self._latest = meta

    def read(self, meta: raft_pb2.SnapshotMeta, offset: int, limit: int) -> bytes:
        """Bytes of the state from `offset` on. Raises FileNotFoundError when it was pruned."""
        file = self._disk.open(_name(meta.index, _WHOLE))
        try:
            return file.read(_start_of(meta) + offset, min(limit, max(meta.size_bytes - offset, 0)))
        finally:
            file.close()

    def prune(self, keep: Collection[int] = ()) -> None:
        """Remove what is older than the newest, save those at the indexes in `keep`, and drafts nobody needs."""
        if self._latest is None:
            return
        latest = self._latest.index
        kept = {_name(index, _WHOLE) for index in (latest, *keep)}
        if self._draft is not None and self._draft.meta.index <= latest:
            self._end_draft()
        for name in (*_names(self._disk, _WHOLE), *_names(self._disk, _RECEIVED)):
            if name <= _name(latest, _WHOLE) and name not in kept:
                self._disk.remove(name)

    # Receiving

    def begin(self, meta: raft_pb2.SnapshotMeta) -> int:
        """Receive this snapshot from now on, and no other; how many bytes of it are here already."""
        if self._draft is not None and self._draft.meta == meta:
            return self._draft.have
        self._end_draft()
        name = _name(meta.index, _RECEIVED)
        for other in _names(self._disk, _RECEIVED):
            if other != name:
                self._disk.remove(other)
        self._draft = self._resumed(name, meta) or self._created(name, meta)
        return self._draft.have

    def _resumed(self, name: str, meta: raft_pb2.SnapshotMeta) -> _Draft | None:
        if name not in self._disk.names():
            return None
        file = self._disk.open(name)
        try:
            found, start = read_head(file)
            if found != meta:
                raise SnapshotBroken("it is another one")
        except SnapshotBroken:
            file.close()
            self._disk.remove(name)
            return None
        have = max(min(file.size() - start, meta.size_bytes) - PIECE_BYTES, 0)
        file.truncate(start + have)
        return _Draft(meta, file, start, have)

    def _created(self, name: str, meta: raft_pb2.SnapshotMeta) -> _Draft:
        start = _start_of(meta)
        file = self._disk.open(name, create=True)
        try:
            file.write(0, _head(meta, start))
            file.sync()
            self._disk.sync_folder()
        except OSError:
            file.close()
            self._disk.remove(name)
            raise
        return _Draft(meta, file, start, 0)

    def add(self, offset: int, data: bytes) -> int:
        """Write the piece at `offset` if it is the next one; how many bytes are here then."""
        draft = self._draft
        if draft is None:
            raise ValueError("begin() comes first")
        if offset != draft.have or not data or len(data) > min(PIECE_BYTES, draft.meta.size_bytes - draft.have):
            return draft.have
        try:
            draft.file.write(draft.start + offset, data)
            draft.file.sync()
        except OSError:
            # What a failed sync leaves in the page cache cannot be trusted to be on the disk.
            self.discard()
            raise
        draft.have += len(data)
        return draft.have

    def finish(self) -> raft_pb2.SnapshotMeta:
        """The draft has all its bytes: verify and keep it. Raises SnapshotBroken, and the draft is gone."""
        draft = self._draft
        if draft is None:
            raise ValueError("begin() comes first")
        self._end_draft()
        name = _name(draft.meta.index, _RECEIVED)
        try:
            self._keep(name, draft.meta)
        except SnapshotBroken:
            self._disk.remove(name)
            raise
        return draft.meta

    def discard(self) -> None:
        """Remove the draft."""
        if self._draft is not None:
            name = _name(self._draft.meta.index, _RECEIVED)
            self._end_draft()
            self._disk.remove(name)

    def close(self) -> None:
        """Close the draft; it is resumed by the next begin() of the same snapshot."""
        self._end_draft()

    def _end_draft(self) -> None:
        if self._draft is not None:
            self._draft.file.close()
            self._draft = None

    def _verified(self, name: str, whole_name: str) -> raft_pb2.SnapshotMeta:
        """Meta of a file whose every byte was read. Raises SnapshotBroken."""
        file = self._disk.open(name)
        try:
            meta, start = read_head(file)
            if meta.cluster_id != self._cluster_id:
                raise _Foreign(meta.cluster_id, self._cluster_id)
            if _name(meta.index, _WHOLE) != whole_name:
                raise SnapshotBroken(f"it holds entry {meta.index}, which its name does not say")
            check_state(file, meta, start)
            return meta
        finally:
            file.close()


def write_file(
    file: File, meta: raft_pb2.SnapshotMeta, cluster_id: str, chunks: Iterable[bytes]
) -> raft_pb2.SnapshotMeta:
    """Write head and state into an empty file and sync it; the meta, with size and hash. Raises OSError."""
    final = raft_pb2.SnapshotMeta()
    final.CopyFrom(meta)
    final.cluster_id = cluster_id
    start = _start_of(final)
    digest, size = hashlib.sha256(), 0
    unsynced = 0
    for chunk in chunks:
        file.write(start + size, chunk)
        digest.update(chunk)
        size += len(chunk)
        unsynced += len(chunk)
        if unsynced >= _SYNC_BYTES:
            # The journal's next sync would else wait for all of it.
            file.sync()
            unsynced = 0
    final.size_bytes, final.sha256 = size, digest.digest()
    file.write(0, _head(final, start))
    file.sync()
    return final


def newest_index(disk: Disk) -> int:
    """Index of the newest snapshot by the names alone, whole or not; 0 when there is none."""
    return max((int(name.removesuffix(_WHOLE)) for name in _names(disk, _WHOLE)), default=0)


def is_snapshot(name: str) -> bool:
    """Whether a file of this name counts as a snapshot; others in the folder are nobody's business."""
    return bool((found := _NAMED.fullmatch(name)) and found[1] == _WHOLE)


def check_state(file: File, meta: raft_pb2.SnapshotMeta, start: int) -> None:
    """Compare the state, which begins at `start`, with length and hash of its head. Raises SnapshotBroken."""
    size = file.size() - start
    if size != meta.size_bytes:
        raise SnapshotBroken(f"it has {size} bytes of state where its head says {meta.size_bytes}")
    digest, position = hashlib.sha256(), 0
    while position < size:
        part = file.read(start + position, PIECE_BYTES)
        if not part:
            raise SnapshotBroken("it ends too early")
        digest.update(part)
        position += len(part)
    if digest.digest() != meta.sha256:
        raise SnapshotBroken("its state has another hash than its head says")


def read_head(file: File) -> tuple[raft_pb2.SnapshotMeta, int]:
    """Meta of a snapshot file, and where its state begins; check_state() is for the rest. Raises SnapshotBroken."""
    head = file.read(0, _HEAD.size)
    if len(head) < _HEAD.size:
        raise SnapshotBroken("its head is cut short")
    magic, start, length, crc = _HEAD.unpack(head)
    if magic != _MAGIC:
        raise SnapshotBroken("this is not a snapshot of this version")
    if _HEAD.size + length > start or start > file.size():
        raise SnapshotBroken("its head is broken")
    data = file.read(_HEAD.size, length)
    if crc32(_HEAD.pack(magic, start, length, 0) + data) != crc:
        raise SnapshotBroken("its head has the wrong checksum")
    try:
        return raft_pb2.SnapshotMeta.FromString(data), start
    except DecodeError as error:
        raise SnapshotBroken("its head cannot be read") from error


def _head(meta: raft_pb2.SnapshotMeta, start: int) -> bytes:
    data = meta.SerializeToString(deterministic=True)
    crc = crc32(_HEAD.pack(_MAGIC, start, len(data), 0) + data)
    return (_HEAD.pack(_MAGIC, start, len(data), crc) + data).ljust(start, b"\0")


def _start_of(meta: raft_pb2.SnapshotMeta) -> int:
    """Where the state begins: known before its size and hash are."""
    largest = raft_pb2.SnapshotMeta()
    largest.CopyFrom(meta)
    largest.size_bytes, largest.sha256 = (1 << 64) - 1, bytes(32)
    length = _HEAD.size + largest.ByteSize()
    return -(-length // _BLOCK) * _BLOCK


def _name(index: int, suffix: str) -> str:
    return f"{index:020d}{suffix}"


def _names(disk: Disk, suffix: str) -> list[str]:
    """Files of this kind, older ones first; what only looks like one is left out."""
    return sorted(name for name in disk.names() if (found := _NAMED.fullmatch(name)) and found[1] == suffix)


def _put_aside(name: str) -> str:
    return name.removesuffix(_WHOLE) + _BROKEN
