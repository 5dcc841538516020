"""The format of a snapshot file: a head with its meta and a checksum, then the bytes of the state."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from zlib import crc32

from google.protobuf.message import DecodeError

from cortex.v1 import raft_pb2
from node.env import File

READ_BYTES = 1 << 20
_SYNC_BYTES = 8 << 20
_BLOCK = 4096
_HEAD = struct.Struct("<4sIII")  # magic, where the state begins, length of the meta, crc of these and the meta
_MAGIC = b"CXS1"


class SnapshotBroken(Exception):
    """A snapshot is not what its head says; the message tells the difference."""


def write_file(
    file: File, meta: raft_pb2.SnapshotMeta, cluster_id: str, chunks: Iterable[bytes]
) -> raft_pb2.SnapshotMeta:
    """Write head and state into an empty file and sync it; the meta, with size and hash. Raises OSError."""
    final = raft_pb2.SnapshotMeta()
    final.CopyFrom(meta)
    final.cluster_id = cluster_id
    start = start_of(final)
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
    file.write(0, head_of(final, start))
    file.sync()
    return final


def check_state(
    file: File, meta: raft_pb2.SnapshotMeta, start: int, go_on: Callable[[], None] = lambda: None
) -> None:
    """Compare the state, which begins at `start`, with length and hash of its head. Raises SnapshotBroken.

    `go_on` is called between the reads, and may raise.
    """
    size = file.size() - start
    if size != meta.size_bytes:
        raise SnapshotBroken(f"it has {size} bytes of state where its head says {meta.size_bytes}")
    digest, position = hashlib.sha256(), 0
    while position < size:
        go_on()
        part = file.read(start + position, READ_BYTES)
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


def head_of(meta: raft_pb2.SnapshotMeta, start: int) -> bytes:
    """What stands before the state, which begins at `start`."""
    data = meta.SerializeToString(deterministic=True)
    crc = crc32(_HEAD.pack(_MAGIC, start, len(data), 0) + data)
    return (_HEAD.pack(_MAGIC, start, len(data), crc) + data).ljust(start, b"\0")


def start_of(meta: raft_pb2.SnapshotMeta) -> int:
    """Where the state begins: known before its size and hash are."""
    largest = raft_pb2.SnapshotMeta()
    largest.CopyFrom(meta)
    largest.size_bytes, largest.sha256 = (1 << 64) - 1, bytes(32)
    length = _HEAD.size + largest.ByteSize()
    return -(-length // _BLOCK) * _BLOCK
