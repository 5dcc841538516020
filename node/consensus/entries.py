"""Committed entries in memory: without a gap, oldest first, from some index on."""

from __future__ import annotations

from collections.abc import Sequence

from node.consensus.port import Committed


class Entries:
    """Entries after `base_index`. Single-threaded."""

    def __init__(self, base_index: int = 0, base_term: int = 0) -> None:
        self.base_index = base_index
        self.base_term = base_term
        self._entries: list[Committed] = []

    @property
    def last_index(self) -> int:
        return self.base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self.base_term

    def term_at(self, index: int) -> int:
        """Term of the entry at `index`; 0 when it is not here."""
        if index == self.base_index:
            return self.base_term
        if self.base_index < index <= self.last_index:
            return self._entries[index - self.base_index - 1].term
        return 0

    def between(self, after: int, upto: int) -> Sequence[Committed]:
        """Entries after + 1 .. upto, as far as they are here. Raises IndexError when older ones were dropped."""
        if after < self.base_index:
            raise IndexError(f"entries up to {self.base_index} are no longer in memory, {after + 1} is asked for")
        start = after - self.base_index
        return self._entries[start : max(upto - self.base_index, start)]

    def append(self, entries: Sequence[Committed]) -> None:
        """Raises ValueError when they do not follow the last one."""
        if entries and entries[0].index != self.last_index + 1:
            raise ValueError(f"entry {entries[0].index} cannot follow {self.last_index}")
        self._entries.extend(entries)

    def drop(self, upto: int) -> None:
        """Forget entries up to `upto`."""
        upto = min(upto, self.last_index)
        if upto > self.base_index:
            self.base_term = self.term_at(upto)
            del self._entries[: upto - self.base_index]
            self.base_index = upto
