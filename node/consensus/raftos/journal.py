"""The journal: hard state and log entries in preallocated segment files that are only ever appended to.

A segment is a header and frames. One frame is one group commit: written, then fsynced, before the next begins.
So a whole frame behind a broken one proves that the broken one had been on the disk: that is damage. A broken last
frame that lacks its end mark or a whole sector is a torn write, which nobody was told about: it is cut.
An entry record overrides whatever the journal held at its index and behind it.
"""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from zlib import crc32

from node.consensus.port import Committed
from node.core.faults import Code, Fault
from node.env import Disk, File

SECTOR = 512
_SUFFIX = ".log"
_DRAFT = ".log.new"
# magic, salt, number, first sequence, term, vote length, crc; then the vote and the salt again
_SEGMENT = struct.Struct("<4s4sQQQHI")
_MAGIC = b"CXJ1"
_FRAME = struct.Struct("<4sIQII4s")  # salt, payload length, sequence, payload crc, header crc, salt
_RECORD = struct.Struct("<BIQQ")  # kind, length, index, term
_ENTRY, _HARD, _MEMBERS = 1, 2, 3
_MEMBERS_LENGTH = struct.Struct("<I")  # of the membership, which stands before the data
_MAX_VOTE = 255


class JournalUnusable(Fault):
    """The disk does not let the journal be read or written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            Code.INTERNAL,
            f"The journal cannot be used: {error.strerror or error}.",
            "Check the disk, and who may write the folder `raft` in the data folder; then start again.",
        )


class JournalDamaged(Fault):
    """The journal cannot be trusted; the message says where it is broken, the remedy how to repair."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            Code.INTERNAL,
            f"The journal is damaged: {where}: {why}. Nothing was changed.",
            "The other voters still have what is lost here: put this node's data folder aside and let the node "
            "join again as a new voter with an empty one; or restore the whole folder from a copy made while the "
            "daemon was stopped. Never delete single files.",
        )


class DiskFull(Fault):
    """No room for the next frame; nothing was promised, the same commit may be tried again."""

    def __init__(self) -> None:
        super().__init__(
            Code.INTERNAL,
            "The disk has no room for the journal.",
            "Make room on the file system of the data folder; a running daemon goes on by itself then.",
        )


@dataclass(slots=True)
class Recovered:
    """What the disk has."""

    entries: list[Committed] = field(default_factory=list)
    term: int = 0
    vote: str = ""
    cut_bytes: int = 0
    """Length of the torn tail that was left out."""


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


class Journal:
    """Blocking: call it from one Offload. Every method may raise OSError, which must stop the process."""

    def __init__(self, disk: Disk, rng: random.Random, segment_bytes: int) -> None:
        self._disk = disk
        self._rng = rng
        self._segment_bytes = segment_bytes
        self._file: File | None = None
        self._number = 0
        self._salt = b""
        self._offset = 0
        self._size = 0
        self._sequence = 0
        self._hard = (0, "")
        self._roll_next = False

    def recover(self) -> Recovered:
        """Read everything, cut a torn tail, and bring the tail to the disk anew. Raises JournalDamaged.

        After a failed fsync the page cache may show what the disk never got, so what was read is not trusted to be
        durable before it was written to another file and synced, file and folder.
        """
        for name in self._disk.names():
            if name.endswith(_DRAFT):
                self._disk.remove(name)
        segments = self._read_segments()
        found = Recovered()
        for segment in segments:
            found.term, found.vote = segment.term, segment.vote
            for where, payload in segment.frames:
                _replay(found, payload, f"{segment.name} at byte {where}")
        self._hard = (found.term, found.vote)
        if segments:
            found.cut_bytes = segments[-1].torn_bytes
            self._rewrite(segments[-1])
        else:
            self._roll(0)
        return found

    def commit(self, records: bytes, term: int, vote: str) -> None:
        """Append one frame and fsync it. `term` and `vote` are the hard state as of this frame. Raises DiskFull."""
        if (term, vote) != self._hard:
            records += encode_hard_state(term, vote)
        frame = _frame(self._salt, self._sequence + 1, records)
        if self._file is None or self._roll_next or self._offset + len(frame) > self._size:
            self._roll(len(frame))
            frame = _frame(self._salt, self._sequence + 1, records)
        assert self._file is not None
        try:
            self._file.write(self._offset, frame)
        except OSError as error:
            # Part of the frame may stand there now; a retry must find zeros, so it goes to a new segment.
            self._roll_next = True
            raise _full(error) from error
        self._file.sync()
        self._offset += len(frame)
        self._sequence += 1
        self._hard = (term, vote)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _roll(self, frame_bytes: int) -> None:
        number, salt = self._number + 1, self._new_salt()
        header = _segment_header(salt, number, self._sequence + 1, *self._hard)
        size = max(self._segment_bytes, len(header) + frame_bytes)
        file = self._create(f"{number:08d}{_SUFFIX}", size, header)
        self.close()
        self._file, self._number, self._salt = file, number, salt
        self._offset, self._size, self._roll_next = len(header), size, False

    def _rewrite(self, tail: _Segment) -> None:
        salt = self._new_salt()
        content = [_segment_header(salt, tail.number, tail.first_sequence, tail.term, tail.vote)]
        for offset, (_, payload) in enumerate(tail.frames):
            content.append(_frame(salt, tail.first_sequence + offset, payload))
        data = b"".join(content)
        size = max(self._segment_bytes, len(data))
        name = f"{tail.number:08d}"
        file = self._create(name + _DRAFT, size, data)
        self._disk.rename(name + _DRAFT, name + _SUFFIX)
        self._disk.sync_folder()
        self._file, self._number, self._salt = file, tail.number, salt
        self._offset, self._size = len(data), size
        self._sequence = tail.first_sequence + len(tail.frames) - 1

    def _create(self, name: str, size: int, data: bytes) -> File:
        """A new file with `data` at its start and zeros behind it, durable. Raises DiskFull and leaves nothing."""
        try:
            file = self._disk.open(name, create=True)
            try:
                file.preallocate(size)
                file.write(0, data)
            except OSError:
                file.close()
                self._disk.remove(name)
                raise
        except OSError as error:
            raise _full(error) from error
        file.sync()
        self._disk.sync_folder()
        return file

    def _new_salt(self) -> bytes:
        # At least two bits in every byte: one flipped bit never turns an end mark into the zeros of a torn write.
        return bytes(self._rng.getrandbits(8) | 0x81 for _ in range(4))

    def _read_segments(self) -> list[_Segment]:
        names = [name for name in self._disk.names() if name.endswith(_SUFFIX)]
        segments: list[_Segment] = []
        for position, name in enumerate(names):
            last = position == len(names) - 1
            file = self._disk.open(name)
            try:
                data = file.read(0, file.size())
            finally:
                file.close()
            if last and _is_unfinished(data):
                self._disk.remove(name)
                break
            segment = _parse(name, data, segments[-1] if segments else None)
            segments.append(segment)
        return segments


@dataclass(slots=True)
class _Segment:
    name: str
    number: int
    first_sequence: int
    term: int
    vote: str
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    """Offset and payload of each."""
    torn_bytes: int = 0


def _segment_header(salt: bytes, number: int, sequence: int, term: int, vote: str) -> bytes:
    name = vote.encode()
    fields = (_MAGIC, salt, number, sequence, term, len(name))
    crc = crc32(_SEGMENT.pack(*fields, 0) + name)
    return _SEGMENT.pack(*fields, crc) + name + salt


def _frame(salt: bytes, sequence: int, payload: bytes) -> bytes:
    fields = (salt, len(payload), sequence, crc32(payload))
    head_crc = crc32(_FRAME.pack(*fields, 0, salt))
    return b"".join((_FRAME.pack(*fields, head_crc, salt), payload, salt))


def _is_unfinished(data: bytes) -> bool:
    """A segment whose creation was cut short: its header ends with the salt, and no frame begins with it."""
    content = data.rstrip(b"\0")
    if len(content) < _SEGMENT.size:
        return True
    _, salt, _, _, _, vote_length, _ = _SEGMENT.unpack_from(data)
    return len(content) < _SEGMENT.size + vote_length + len(salt) and data.find(salt, 8) < 0


def _parse(name: str, data: bytes, before: _Segment | None) -> _Segment:
    """Frames of one segment. Raises JournalDamaged."""
    segment = _parse_header(name, data)
    if before is not None:
        if segment.number != before.number + 1:
            raise JournalDamaged(name, f"segment {before.number + 1:08d} is missing")
        if segment.first_sequence != before.first_sequence + len(before.frames):
            raise JournalDamaged(before.name, "its last frames are missing")
    elif segment.first_sequence != 1:
        raise JournalDamaged(name, "the segments before it are missing")
    salt = data[4:8]
    position = _SEGMENT.size + len(segment.vote.encode()) + len(salt)
    sequence = segment.first_sequence
    while (payload := _frame_at(data, position, salt, sequence)) is not None:
        segment.frames.append((position, payload))
        position += _FRAME.size + len(payload) + len(salt)
        sequence += 1
    rest = data[position:]
    if rest.strip(b"\0"):
        if _has_later_frame(data, position, salt, sequence):
            raise JournalDamaged(f"{name} at byte {position}", "a frame is broken in front of whole ones")
        if not _is_torn(data, position, salt):
            raise JournalDamaged(f"{name} at byte {position}", "a whole frame has the wrong checksum")
        segment.torn_bytes = len(rest.rstrip(b"\0"))
    return segment


def _parse_header(name: str, data: bytes) -> _Segment:
    if len(data) < _SEGMENT.size or data[:4] != _MAGIC:
        raise JournalDamaged(name, "this is not a journal segment of this version")
    magic, salt, number, sequence, term, vote_length, crc = _SEGMENT.unpack_from(data)
    vote = data[_SEGMENT.size : _SEGMENT.size + vote_length]
    fields = (magic, salt, number, sequence, term, vote_length)
    end_mark = data[_SEGMENT.size + vote_length :][: len(salt)]
    if crc32(_SEGMENT.pack(*fields, 0) + vote) != crc or end_mark != salt or name != f"{number:08d}{_SUFFIX}":
        raise JournalDamaged(name, "its header is broken")
    return _Segment(name, number, sequence, term, vote.decode())


def _frame_at(data: bytes, position: int, salt: bytes, sequence: int) -> bytes | None:
    """Payload of the whole, valid frame with this sequence number there, or None."""
    if position + _FRAME.size > len(data):
        return None
    head, length, number, payload_crc, head_crc, mark = _FRAME.unpack_from(data, position)
    if head != salt or mark != salt or number != sequence:
        return None
    if crc32(_FRAME.pack(salt, length, number, payload_crc, 0, salt)) != head_crc:
        return None
    start = position + _FRAME.size
    payload = data[start : start + length]
    if len(payload) != length or data[start + length : start + length + len(salt)] != salt:
        return None
    return payload if crc32(payload) == payload_crc else None


def _has_later_frame(data: bytes, position: int, salt: bytes, broken: int) -> bool:
    while (position := data.find(salt, position + 1)) >= 0:
        if position + _FRAME.size <= len(data):
            sequence = _FRAME.unpack_from(data, position)[2]
            if sequence > broken and _frame_at(data, position, salt, sequence) is not None:
                return True
    return False


def _is_torn(data: bytes, position: int, salt: bytes) -> bool:
    """Whether the broken frame there lacks its end or a whole sector, as a write cut short does."""
    head = data[position : position + _FRAME.size]
    if len(head) < _FRAME.size or not any(head[: len(salt)]) or head[-1] == 0:
        return True
    if _lacks_sector(data, position, position + _FRAME.size):
        return True
    _, length, number, payload_crc, head_crc, mark = _FRAME.unpack(head)
    if crc32(_FRAME.pack(salt, length, number, payload_crc, 0, mark)) != head_crc:
        return False
    end = position + _FRAME.size + length + len(salt)
    return end > len(data) or data[end - 1] == 0 or _lacks_sector(data, position, end)


def _lacks_sector(data: bytes, start: int, end: int) -> bool:
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        if not any(data[start:stop]):
            return True
        start = stop
    return False


def _replay(found: Recovered, payload: bytes, where: str) -> None:
    """Add one frame's records to what was found."""
    entries, position, end = found.entries, 0, len(payload)
    unpack = _RECORD.unpack_from
    while position < end:
        if position + _RECORD.size > end:
            raise JournalDamaged(where, "a record is cut short inside a whole frame")
        kind, length, index, term = unpack(payload, position)
        position += _RECORD.size
        data = payload[position : position + length]
        position += length
        if kind in (_ENTRY, _MEMBERS) and 0 < index <= len(entries) + 1:
            if index <= len(entries):
                del entries[index - 1 :]
            membership = b""
            if kind == _MEMBERS:
                split = _MEMBERS_LENGTH.size + _MEMBERS_LENGTH.unpack_from(data)[0]
                membership, data = data[_MEMBERS_LENGTH.size : split], data[split:]
            entries.append(Committed(index, term, data, membership))
        elif kind == _HARD:
            found.term, found.vote = term, data.decode()
        else:
            raise JournalDamaged(where, f"unexpected record of kind {kind} for entry {index}")


def _full(error: OSError) -> Exception:
    return DiskFull() if error.errno in (errno.ENOSPC, errno.EDQUOT) else error
