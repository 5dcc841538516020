"""The journal: hard state and log entries in preallocated segment files that are only ever appended to.

A segment is a header and frames. One frame is one group commit: written, then fsynced, before the next begins.
So a whole frame behind a broken one proves that the broken one had been on the disk: that is damage. A broken last
frame that lacks its end mark or a whole sector is a torn write, which nobody was told about: it is cut.
Leading segments go once a snapshot covers what they hold.
"""

from __future__ import annotations

import errno
import random

from node.consensus.raftos.damage import DiskFull, JournalDamaged, JournalLost, JournalUnusable
from node.consensus.raftos.records import (
    Base,
    Recovered,
    Replay,
    encode_base,
    encode_entries,
    encode_first,
    encode_hard_state,
    highest_index,
)
from node.consensus.raftos.segments import SECTOR, SUFFIX, Segment, frame, is_unfinished, parse, segment_header
from node.env import Disk, File

__all__ = [
    "BLANK",
    "SECTOR",
    "Base",
    "DiskFull",
    "Journal",
    "JournalDamaged",
    "JournalUnusable",
    "Recovered",
    "encode_entries",
    "encode_hard_state",
]
_DRAFT = ".log.new"
_NO_BASE = Base()
BLANK = "?"
"""In the place of a vote: this voter may have lost what it promised, and gives none. No node has this id."""


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
        self._highest = 0
        """The highest index in the segment that is written to."""
        self._sealed: list[tuple[int, int]] = []
        """Number and highest index of each segment before it."""

    def recover(self, snapshot: Base = _NO_BASE) -> Recovered:
        """Read everything, cut a torn tail, and bring the tail to the disk anew. Raises JournalDamaged.

        `snapshot` is the last entry of the newest snapshot: the log may begin anywhere up to behind it. A log that
        ends before it, or has another entry there, is void.

        After a failed fsync the page cache may show what the disk never got, so what was read is not trusted to be
        durable before it was written to another file and synced, file and folder.

        The vote is BLANK when nothing here knows of a promise: the journal is new, or the disk was emptied.
        """
        for name in self._disk.names():
            if name.endswith(_DRAFT):
                self._disk.remove(name)
        segments = self._read_segments()
        if not segments and snapshot.index:
            # A restore writes a journal, too; so what is missing is a voter's.
            raise JournalLost(snapshot.index)
        replay = Replay(whole=not segments or segments[0].number == 1)
        for segment in segments:
            replay.term, replay.vote, replay.highest = segment.term, segment.vote, 0
            for where, payload in segment.frames:
                replay.add(payload, f"{segment.name} at byte {where}")
            self._sealed.append((segment.number, replay.highest))
        if segments and segments[0].number > replay.first_segment:
            raise JournalDamaged(segments[0].name, "the segments before it are missing")
        base, entries, anew = replay.log_behind(snapshot, segments[0].name if segments else "its folder")
        self._hard = (replay.term, replay.vote)
        found = Recovered(entries, replay.term, replay.vote, base=base)
        if segments:
            found.cut_bytes = segments[-1].torn_bytes
            self._rewrite(segments[-1])
            _, self._highest = self._sealed.pop()
        else:
            self._roll(0)
        if anew:
            self._begin_anew(base)
        if not found.term and not found.vote and not entries:
            # It is new, or was emptied: either way nothing here knows of a promise.
            found.vote = BLANK
        if found.term < base.term:
            found.term = base.term
            found.vote = found.vote if found.vote == BLANK else ""
        return found

    def commit(self, records: bytes, term: int, vote: str, highest: int | None = None) -> None:
        """Append one frame and fsync it. `term` and `vote` are the hard state as of this frame. Raises DiskFull.

        `highest` is the highest index among the entries, for whoever knows it.
        """
        if highest is None:
            highest = highest_index(records)
        if (term, vote) != self._hard:
            records += encode_hard_state(term, vote)
        data = frame(self._salt, self._sequence + 1, records)
        if self._file is None or self._roll_next or self._offset + len(data) > self._size:
            self._roll(len(data))
            data = frame(self._salt, self._sequence + 1, records)
        assert self._file is not None
        try:
            self._file.write(self._offset, data)
        except OSError as error:
            # Part of the frame may stand there now; a retry must find zeros, so it goes to a new segment.
            self._roll_next = True
            raise _full(error) from error
        self._file.sync()
        self._offset += len(data)
        self._sequence += 1
        self._hard = (term, vote)
        self._highest = max(self._highest, highest)

    def begin_behind(self, base: Base) -> None:
        """Begin in an empty folder, in the place of recover(), with a log that goes on behind this entry."""
        self._begin_anew(base)

    def truncate(self, upto: int) -> bool:
        """Drop the first segment if it holds nothing behind entry `upto`, which a snapshot covers.

        Returns whether that was done: another one may follow. Raises DiskFull, and nothing was dropped.
        """
        if not self._sealed or self._sealed[0][1] > upto:
            return False
        number = self._sealed[0][0]
        self.commit(encode_first(number + 1, upto), *self._hard, 0)
        self._drop([number])
        return True

    def _begin_anew(self, base: Base) -> None:
        """Whatever stands in the journal is void."""
        self._roll(0)
        self.commit(encode_base(base) + encode_first(self._number, base.index), *self._hard, 0)
        self._drop([number for number, _ in self._sealed])

    def _drop(self, numbers: list[int]) -> None:
        for number in numbers:
            # One by one, so that whatever a crash leaves has no hole.
            self._disk.remove(f"{number:08d}{SUFFIX}")
            self._disk.sync_folder()
        del self._sealed[: len(numbers)]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _roll(self, frame_bytes: int) -> None:
        number, salt = self._number + 1, self._new_salt()
        header = segment_header(salt, number, self._sequence + 1, *self._hard)
        size = max(self._segment_bytes, len(header) + frame_bytes)
        file = self._create(f"{number:08d}{SUFFIX}", size, header)
        if self._file is not None:
            self._sealed.append((self._number, self._highest))
        self.close()
        self._file, self._number, self._salt, self._highest = file, number, salt, 0
        self._offset, self._size, self._roll_next = len(header), size, False

    def _rewrite(self, tail: Segment) -> None:
        salt = self._new_salt()
        content = [segment_header(salt, tail.number, tail.first_sequence, tail.term, tail.vote)]
        for offset, (_, payload) in enumerate(tail.frames):
            content.append(frame(salt, tail.first_sequence + offset, payload))
        data = b"".join(content)
        size = max(self._segment_bytes, len(data))
        name = f"{tail.number:08d}"
        file = self._create(name + _DRAFT, size, data)
        self._disk.rename(name + _DRAFT, name + SUFFIX)
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

    def _read_segments(self) -> list[Segment]:
        names = [name for name in self._disk.names() if name.endswith(SUFFIX)]
        segments: list[Segment] = []
        for position, name in enumerate(names):
            last = position == len(names) - 1
            file = self._disk.open(name)
            try:
                data = file.read(0, file.size())
            finally:
                file.close()
            if last and is_unfinished(data):
                self._disk.remove(name)
                break
            segment = parse(name, data, segments[-1] if segments else None)
            segments.append(segment)
        return segments


def _full(error: OSError) -> Exception:
    return DiskFull() if error.errno in (errno.ENOSPC, errno.EDQUOT) else error
