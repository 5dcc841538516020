"""The log in memory, and the promises that outlive a crash."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from node.consensus.port import Committed
from node.consensus.raftos.records import Base

ENTRY_OVERHEAD = 16
"""Roughly what an entry costs on the wire beside its data, bytes."""


class LogBroken(Exception):
    """Committed entries would have been replaced: this or another voter does not keep the protocol."""


@dataclass(slots=True)
class Log:
    """Entries after `base_index`; whatever is at or below it stands in a snapshot."""

    base_index: int = 0
    base_term: int = 0
    commit_index: int = 0
    entries: list[Committed] = field(default_factory=list)
    _appended_bytes: int = 0
    committed_bytes: int = 0
    """Of all that was ever committed here, trimmed or not."""
    _trimmed_bytes: int = 0
    cuts: int = 0
    """How often a suffix was replaced by a leader's."""

    def begin(self, base: Base, entries: Sequence[Committed]) -> None:
        """What was recovered; a snapshot has everything up to `base`."""
        self.base_index, self.base_term = base.index, base.term
        self.commit_index = max(self.commit_index, base.index)
        self.append(entries)

    @property
    def last_log_index(self) -> int:
        return self.base_index + len(self.entries)

    @property
    def last_log_term(self) -> int:
        return self.entries[-1].term if self.entries else self.base_term

    def term_at(self, index: int) -> int:
        """Term of the entry at `index`, 0 when the log does not reach it or no longer holds it."""
        if index == self.base_index:
            return self.base_term
        if self.base_index < index <= self.last_log_index:
            return self.entries[index - self.base_index - 1].term
        return 0

    def between(self, after: int, upto: int) -> list[Committed]:
        """Entries after + 1 .. upto, as far as they are here. Raises LookupError when they begin later."""
        if after < self.base_index:
            raise LookupError(f"entry {after + 1} is in a snapshot; the log begins behind {self.base_index}")
        start = after - self.base_index
        return self.entries[start : max(upto - self.base_index, start)]

    def batch(self, after: int, limit_bytes: int) -> tuple[list[Committed], int, bool]:
        """Entries after `after` of at most `limit_bytes` (one at least), their size, whether the limit cut them."""
        start = stop = after - self.base_index
        size = 0
        for position in range(start, len(self.entries)):
            more = len(self.entries[position].data) + ENTRY_OVERHEAD
            if size + more > limit_bytes and position > start:
                return self.entries[start:stop], size, True
            size += more
            stop = position + 1
        return self.entries[start:stop], size, False

    def append(self, entries: Sequence[Committed]) -> None:
        self.entries.extend(entries)
        self._appended_bytes += sum([len(entry.data) for entry in entries])

    def commit(self, index: int) -> None:
        """Raise the commit index; it never goes back."""
        start, stop = self.commit_index - self.base_index, index - self.base_index
        self.committed_bytes += sum([len(entry.data) for entry in self.entries[start:stop]])
        self.commit_index = index

    def trim(self, upto: int) -> None:
        """Forget committed entries up to `upto`: a snapshot has them."""
        if self.base_index < upto <= self.commit_index:
            count = upto - self.base_index
            self.base_term = self.entries[count - 1].term
            self._trimmed_bytes += sum([len(entry.data) for entry in self.entries[:count]])
            del self.entries[:count]
            self.base_index = upto

    def keep_point(self, upto: int, keep_entries: int, keep_bytes: int) -> int:
        """Where to trim so that of the entries up to `upto` so many stay, if so many bytes hold them."""
        lowest = max(self.base_index, upto - keep_entries)
        kept = self.entries[lowest - self.base_index : max(upto - self.base_index, 0)]
        size = sum([len(entry.data) for entry in kept]) + ENTRY_OVERHEAD * len(kept)
        for entry in kept:
            if size <= keep_bytes:
                break
            size -= len(entry.data) + ENTRY_OVERHEAD
            lowest += 1
        return lowest

    @property
    def held_bytes(self) -> int:
        """Of the entries that are here."""
        return self._appended_bytes - self._trimmed_bytes

    @property
    def uncommitted_bytes(self) -> int:
        return self._appended_bytes - self.committed_bytes

    def erase_from(self, index: int) -> None:
        """Forget `index` and what follows. Raises LogBroken when that is committed."""
        if index <= self.commit_index:
            raise LogBroken(f"entry {index} is committed (up to {self.commit_index}) but a leader replaces it")
        self.cuts += 1
        start = index - self.base_index - 1
        self._appended_bytes -= sum([len(entry.data) for entry in self.entries[start:]])
        del self.entries[start:]

    def first_of_term(self, term: int) -> int:
        """First index that has this or a later term."""
        return self.base_index + 1 + bisect_left(self.entries, term, key=_term)

    def last_upto_term(self, term: int) -> int:
        """Last index whose term is not above `term`."""
        return self.base_index + bisect_right(self.entries, term, key=_term)

    def up_to_date(self, last_log_index: int, last_log_term: int) -> bool:
        """Whether a log that ends there may lead this one."""
        return (last_log_term, last_log_index) >= (self.last_log_term, self.last_log_index)


def _term(entry: Committed) -> int:
    return entry.term
