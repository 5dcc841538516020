"""The format of a segment: a header and frames, and how a torn write is told from damage."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from zlib import crc32

from node.consensus.raftos.damage import JournalDamaged

SECTOR = 512
SUFFIX = ".log"
# magic, salt, number, first sequence, term, vote length, crc; then the vote and the salt again
_SEGMENT = struct.Struct("<4s4sQQQHI")
_MAGIC = b"CXJ1"
_FRAME = struct.Struct("<4sIQII4s")  # salt, payload length, sequence, payload crc, header crc, salt


@dataclass(slots=True)
class Segment:
    name: str
    number: int
    first_sequence: int
    term: int
    vote: str
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    """Offset and payload of each."""
    torn_bytes: int = 0


def segment_header(salt: bytes, number: int, sequence: int, term: int, vote: str) -> bytes:
    name = vote.encode()
    fields = (_MAGIC, salt, number, sequence, term, len(name))
    crc = crc32(_SEGMENT.pack(*fields, 0) + name)
    return _SEGMENT.pack(*fields, crc) + name + salt


def frame(salt: bytes, sequence: int, payload: bytes) -> bytes:
    fields = (salt, len(payload), sequence, crc32(payload))
    head_crc = crc32(_FRAME.pack(*fields, 0, salt))
    return b"".join((_FRAME.pack(*fields, head_crc, salt), payload, salt))


def is_unfinished(data: bytes) -> bool:
    """A segment whose creation was cut short: its header ends with the salt, and no frame begins with it."""
    content = data.rstrip(b"\0")
    if len(content) < _SEGMENT.size:
        return True
    _, salt, _, _, _, vote_length, _ = _SEGMENT.unpack_from(data)
    return len(content) < _SEGMENT.size + vote_length + len(salt) and data.find(salt, 8) < 0


def parse(name: str, data: bytes, before: Segment | None) -> Segment:
    """Frames of one segment. Raises JournalDamaged."""
    segment = _parse_header(name, data)
    if before is not None:
        if segment.number != before.number + 1:
            raise JournalDamaged(name, f"segment {before.number + 1:08d} is missing")
        if segment.first_sequence != before.first_sequence + len(before.frames):
            raise JournalDamaged(before.name, "its last frames are missing")
    elif segment.number == 1 and segment.first_sequence != 1:
        raise JournalDamaged(name, "its first frames are missing")
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


def _parse_header(name: str, data: bytes) -> Segment:
    if len(data) < _SEGMENT.size or data[:4] != _MAGIC:
        raise JournalDamaged(name, "this is not a journal segment of this version")
    magic, salt, number, sequence, term, vote_length, crc = _SEGMENT.unpack_from(data)
    vote = data[_SEGMENT.size : _SEGMENT.size + vote_length]
    fields = (magic, salt, number, sequence, term, vote_length)
    end_mark = data[_SEGMENT.size + vote_length :][: len(salt)]
    if crc32(_SEGMENT.pack(*fields, 0) + vote) != crc or end_mark != salt or name != f"{number:08d}{SUFFIX}":
        raise JournalDamaged(name, "its header is broken")
    return Segment(name, number, sequence, term, vote.decode())


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
