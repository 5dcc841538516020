"""The one log of a simulated cluster, as its voters apply it: they forget it behind their snapshots."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from node.consensus.port import Committed
from node.voter import Voter

Report = Callable[[str], None]


class SharedLog:
    """Collects what every voter is given to apply, which must be the same."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._entries: dict[int, Committed] = {}

    def follow(self, name: str, voter: Voter) -> None:
        """Look at all that this voter applies."""
        sound = voter.engine.entries

        def entries(after: int, limit: int) -> Sequence[Committed]:
            found = sound(after, limit)
            for entry in found:
                if self._entries.setdefault(entry.index, entry) != entry:
                    self._report(f"{name} applies another entry {entry.index} than others do")
            return found

        setattr(voter.engine, "entries", entries)  # noqa: B010

    def after(self, index: int, limit: int = 1 << 30) -> list[Committed]:
        """Entries from index + 1 on, as far as anybody applied them."""
        found: list[Committed] = []
        while len(found) < limit and index + 1 + len(found) in self._entries:
            found.append(self._entries[index + 1 + len(found)])
        return found

    def upto(self, index: int) -> list[Committed]:
        """All entries up to that one."""
        return self.after(0, index)
