"""The entries of one message to a peer."""

from __future__ import annotations

from typing import NamedTuple

from node.consensus.port import Committed
from node.consensus.raftos.log import Log


class _Slice(NamedTuple):
    after: int
    last: int
    full: bool
    entries: list[Committed]
    size: int


class Batches:
    """Peers that are equally far get the same list, so that it is encoded once."""

    def __init__(self, log: Log, limit_bytes: int) -> None:
        self._log, self._limit_bytes = log, limit_bytes
        self._last: _Slice | None = None

    def after(self, after: int) -> tuple[list[Committed], int]:
        """Entries after `after` for one message, and their size."""
        last = self._last
        if last is None or last.after != after or not (last.full or last.last == self._log.last_log_index):
            entries, size, full = self._log.batch(after, self._limit_bytes)
            self._last = last = _Slice(after, after + len(entries), full, entries, size)
        return last.entries, last.size
