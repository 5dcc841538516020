"""Which membership is in force at which index of the log: from its entry on, whether committed or not."""

from __future__ import annotations

from collections.abc import Iterable

from node.consensus.membership import Membership
from node.consensus.port import Committed


class Memberships:
    """The base, of a snapshot or of the configuration, and those of the log's entries."""

    def __init__(self, base: Membership, base_index: int = 0) -> None:
        """`base_index` is the snapshot's; 0 when only the configuration says so."""
        self._history: list[tuple[int, Membership]] = [(base_index, base)]

    @property
    def current(self) -> Membership:
        return self._history[-1][1]

    @property
    def former(self) -> Membership:
        """What was in force before the current one, as far as that is known."""
        return self._history[-2:][0][1]

    @property
    def index(self) -> int:
        """Of the entry that brought the current one, or of the base; 0 while the log says nothing."""
        return self._history[-1][0]

    def at(self, index: int) -> Membership:
        """What was in force at `index`. Raises LookupError when that is before the base, or forgotten."""
        for since, known in reversed(self._history):
            if since <= index:
                return known
        raise LookupError(f"who the members were at entry {index} is not known here any more")

    def append(self, entries: Iterable[Committed]) -> bool:
        """Take what appended entries bring. Whether the current one is another now."""
        before = self.index
        for entry in entries:
            if entry.membership:
                self._history.append((entry.index, Membership.decode(entry.membership)))
        return self.index != before

    def cut(self, index: int) -> bool:
        """Entries from `index` on are gone, and what they brought. Whether the current one is another now."""
        before = self.index
        while len(self._history) > 1 and self.index >= index:
            self._history.pop()
        return self.index != before

    def forget_before(self, index: int) -> None:
        """The log begins after `index` now; what is in force there stays known."""
        while len(self._history) > 1 and self._history[1][0] <= index:
            del self._history[0]
