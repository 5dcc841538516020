"""What a host without a daemon makes of the entries: one line for each, so that states can be compared."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from zlib import crc32

from node.consensus.port import Committed
from node.consensus.raftos.snapshots import Snapshots

_LINE = struct.Struct("<QI")


class AppliedState:
    """Term and checksum of every entry from 1 on."""

    def __init__(self, lines: list[tuple[int, int]] | None = None) -> None:
        self.lines = lines if lines is not None else []

    @property
    def index(self) -> int:
        return len(self.lines)

    def apply(self, entries: Sequence[Committed]) -> None:
        self.lines += [line_of(entry) for entry in entries]

    def encode(self) -> bytes:
        return struct.pack(f"<{'QI' * len(self.lines)}", *chain.from_iterable(self.lines))

    @staticmethod
    def decode(data: bytes) -> AppliedState:
        return AppliedState([(term, crc) for term, crc in _LINE.iter_unpack(data)])


def line_of(entry: Committed) -> tuple[int, int]:
    return entry.term, crc32(entry.membership + entry.data)


class Copy:
    """Implements consensus.port.StateCopy."""

    level = 1
    recovery_epoch = 0
    at_us = 0

    def __init__(self, state: AppliedState, chunk_bytes: int) -> None:
        self.index = state.index
        self.term = state.lines[-1][0] if state.lines else 0
        self._data = state.encode()
        self._chunk_bytes = chunk_bytes

    def chunks(self) -> Iterator[bytes]:
        for start in range(0, len(self._data), self._chunk_bytes):
            yield self._data[start : start + self._chunk_bytes]

    def close(self) -> None:
        self._data = b""


def newest_state(snapshots: Snapshots) -> AppliedState | None:
    """Of the newest snapshot."""
    meta = snapshots.latest()
    return None if meta is None else AppliedState.decode(snapshots.read(meta, 0, meta.size_bytes))
