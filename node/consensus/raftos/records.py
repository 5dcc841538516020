"""What a journal's frames are made of, and what they amount to when they are read back in order.

An entry overrides whatever the journal held at its index and behind it. A base says that the log begins behind it:
what stood before is void. The first segment may be any up to the one that the last such record names; whether what
was in those before it is covered is for the snapshot to say.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from node.consensus.port import Committed
from node.consensus.raftos.damage import JournalDamaged

_RECORD = struct.Struct("<BIQQ")  # kind, length, index, term
_ENTRY, _HARD, _MEMBERS, _BASE, _FIRST = 1, 2, 3, 4, 5
_MEMBERS_LENGTH = struct.Struct("<I")  # of the membership, which stands before the data
_MAX_VOTE = 255


@dataclass(frozen=True, slots=True)
class Base:
    """The last entry of a snapshot, or the one before the first of a log; zeros when there is none."""

    index: int = 0
    term: int = 0


@dataclass(slots=True)
class Recovered:
    """What the disk has."""

    entries: list[Committed] = field(default_factory=list)
    term: int = 0
    vote: str = ""
    cut_bytes: int = 0
    """Length of the torn tail that was left out."""
    base: Base = field(default_factory=Base)
    """The entry before the first of them."""

    @property
    def last_index(self) -> int:
        return self.base.index + len(self.entries)


def encode_entries(entries: Sequence[Committed]) -> bytes:
    """Records of consecutive entries."""
    parts: list[bytes] = []
    pack = _RECORD.pack
    for entry in entries:
        kind, data = _ENTRY, entry.data
        if entry.membership:
            kind, data = _MEMBERS, _MEMBERS_LENGTH.pack(len(entry.membership)) + entry.membership + data
        parts.append(pack(kind, len(data), entry.index, entry.term))
        parts.append(data)
    return b"".join(parts)


def encode_hard_state(term: int, vote: str) -> bytes:
    name = vote.encode()
    if len(name) > _MAX_VOTE:
        raise ValueError(f"node id is longer than {_MAX_VOTE} bytes")
    return _RECORD.pack(_HARD, len(name), 0, term) + name


def encode_base(base: Base) -> bytes:
    """The log begins behind this entry; what stood before is void."""
    return _RECORD.pack(_BASE, 0, base.index, base.term)


def encode_first(segment: int, covered: int) -> bytes:
    """Segments before this one may be gone: a snapshot has everything up to entry `covered`."""
    return _RECORD.pack(_FIRST, 0, segment, covered)


def highest_index(records: bytes) -> int:
    """The highest index among the entries."""
    highest = position = 0
    while position < len(records):
        kind, length, index, _ = _RECORD.unpack_from(records, position)
        position += _RECORD.size + length
        if kind in (_ENTRY, _MEMBERS):
            highest = max(highest, index)
    return highest


class Replay:
    """Takes the frames in order."""

    def __init__(self, whole: bool) -> None:
        """`whole` when the first segment is there, in which the log begins at 1."""
        self.term = 0
        self.vote = ""
        self.first_segment = 1
        """The latest segment that may be the first."""
        self._covered = 0
        self.highest = 0
        """The highest index that any entry had, overridden or not."""
        self._base: int | None = 0 if whole else None
        self._base_term: int | None = 0 if whole else None
        self._entries: list[Committed] = []
        self._following = 1 if whole else 0
        """Index of the next entry, if it overrides nothing."""

    def add(self, payload: bytes, where: str) -> None:
        """Take one frame's records. Raises JournalDamaged."""
        position, end, entries = 0, len(payload), self._entries
        unpack, size = _RECORD.unpack_from, _RECORD.size
        while position < end:
            if position + size > end:
                raise JournalDamaged(where, "a record is cut short inside a whole frame")
            kind, length, index, term = unpack(payload, position)
            position += size
            data = payload[position : position + length]
            position += length
            if kind == _ENTRY and index == self._following:
                # By far the most.
                entries.append(Committed(index, term, data))
                self._following += 1
            elif kind in (_ENTRY, _MEMBERS) and index > 0:
                self._take(kind, index, term, data, where)
            elif kind == _HARD:
                self.term, self.vote = term, data.decode()
            elif kind == _BASE:
                self._base, self._base_term, self._following = index, term, index + 1
                self._entries.clear()
            elif kind == _FIRST:
                self.first_segment, self._covered = max(self.first_segment, index), max(self._covered, term)
            else:
                raise JournalDamaged(where, f"unexpected record of kind {kind} for entry {index}")
        self.highest = max(self.highest, self._following - 1)

    def _take(self, kind: int, index: int, term: int, data: bytes, where: str) -> None:
        if self._base is None or index <= self._base:
            # It overrides what stood here, and what was before it is covered or missing: log_behind() sees which.
            self._base, self._base_term = index - 1, 0 if index == 1 else None
            self._entries.clear()
        place = index - self._base - 1
        if place > len(self._entries):
            raise JournalDamaged(where, f"entry {index} follows entry {self._base + len(self._entries)}")
        del self._entries[place:]
        membership = b""
        if kind == _MEMBERS:
            split = _MEMBERS_LENGTH.size + _MEMBERS_LENGTH.unpack_from(data)[0]
            membership, data = data[_MEMBERS_LENGTH.size : split], data[split:]
        self._entries.append(Committed(index, term, data, membership))
        self.highest = max(self.highest, self._following - 1)
        self._following = index + 1

    def log_behind(self, snapshot: Base, where: str) -> tuple[Base, list[Committed], bool]:
        """The log, which begins at or before the snapshot's entry; and whether that differs from the journal's.

        Raises JournalDamaged when entries between the two are missing.
        """
        begins_behind = max(self._base or 0, self._covered)
        if begins_behind > snapshot.index:
            why = f"the log begins behind entry {begins_behind}, and the newest snapshot ends at {snapshot.index}"
            raise JournalDamaged(where, why)
        if self._base is None:
            return snapshot, [], False
        term_there: int | None = None
        if snapshot.index == self._base:
            term_there = snapshot.term if self._base_term is None else self._base_term
        elif snapshot.index <= self._base + len(self._entries):
            term_there = self._entries[snapshot.index - self._base - 1].term
        if term_there != snapshot.term:
            # The log ends before the snapshot, or is another one: a majority has what the snapshot holds.
            return snapshot, [], True
        if self._base == snapshot.index:
            return snapshot, self._entries, False
        if self._base_term is not None:
            return Base(self._base, self._base_term), self._entries, False
        first = self._entries[0]
        return Base(first.index, first.term), self._entries[1:], False
