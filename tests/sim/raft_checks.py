"""Raft's invariants, checked from outside over all voters of one simulated cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from node.consensus.port import Committed

Report = Callable[[str], None]


class RaftChecker:
    """Told of what every voter does; reports what must never be."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._leaders: dict[int, str] = {}
        self._log: list[Committed] = []
        """The committed log: the first voter to commit an index says what stands there."""
        self._places: dict[bytes, int] = {}
        self._links: dict[tuple[int, int], tuple[int, bytes]] = {}
        self._checked: dict[str, int] = {}
        self.acknowledged: dict[bytes, int] = {}
        self._refused: dict[bytes, str] = {}
        self.highest_acknowledged = 0

    @property
    def committed_index(self) -> int:
        return len(self._log)

    def led(self, node: str, term: int, log: Sequence[Committed]) -> None:
        """`node` became leader of `term` with this log."""
        other = self._leaders.setdefault(term, node)
        if other != node:
            self._report(f"two leaders in term {term}: {other} and {node}")
        for entry in self._log:
            if entry.term >= term:
                break
            if entry.index > len(log) or log[entry.index - 1].term != entry.term:
                self._report(f"leader {node} of term {term} lacks committed entry {entry.index}/{entry.term}")
                return

    def committed(self, node: str, entries: Sequence[Committed], after: int, upto: int) -> None:
        """`node` made `after` + 1 .. `upto` known as committed."""
        if upto < after:
            self._report(f"commit index of {node} went back from {after} to {upto}")
        if [entry.index for entry in entries] != list(range(after + 1, upto + 1)):
            self._report(f"{node} does not hold what it committed after {after} up to {upto}")
        for entry in entries:
            if entry.index <= len(self._log):
                known = self._log[entry.index - 1]
                if (known.term, known.data) != (entry.term, entry.data):
                    self._report(f"{node} committed {entry.index}/{entry.term}, another {known.index}/{known.term}")
            elif entry.index == len(self._log) + 1:
                self._log.append(entry)
                self._place(entry)

    def _place(self, entry: Committed) -> None:
        if entry.data.startswith(b"op"):
            before = self._places.setdefault(entry.data, entry.index)
            if before != entry.index:
                self._report(f"proposal {entry.data[:20]!r} was committed at {before} and at {entry.index}")
            if entry.data in self._refused:
                self._report(f"proposal {entry.data[:20]!r} was committed after {self._refused[entry.data]}")

    def acknowledge(self, proposal: bytes, index: int) -> None:
        """A client was told that its proposal is committed at `index`."""
        self.acknowledged[proposal] = index
        self.highest_acknowledged = max(self.highest_acknowledged, index)
        if self._places.get(proposal) != index:
            place = self._places.get(proposal)
            self._report(f"{proposal[:20]!r} was acknowledged at {index} but stands at {place}")

    def refuse(self, proposal: bytes, why: str) -> None:
        """A client was told that its proposal will never be committed."""
        self._refused[proposal] = why
        if proposal in self._places:
            self._report(f"{proposal[:20]!r} ended as {why} but was committed at {self._places[proposal]}")

    def logs(self, logs: dict[str, Sequence[Committed]], whole: bool = False) -> None:
        """Log matching: the same index and term means the same entry and the same predecessor, everywhere."""
        for node, log in logs.items():
            start = 0 if whole else max(0, min(self._checked.get(node, 0), len(log)) - 64)
            for position in range(start, len(log)):
                entry = log[position]
                before = log[position - 1].term if position else 0
                known = self._links.setdefault((entry.index, entry.term), (before, entry.data))
                if known != (before, entry.data):
                    self._report(f"log matching: {node} differs at {entry.index}/{entry.term}")
                    break
            self._checked[node] = len(log)

    def finish(self, logs: dict[str, Sequence[Committed]], commits: dict[str, int]) -> None:
        """After everything healed: every voter holds every acknowledged proposal."""
        self.logs(logs, whole=True)
        for node, log in logs.items():
            if commits[node] < self.highest_acknowledged:
                self._report(f"{node} has committed {commits[node]}, acknowledged was {self.highest_acknowledged}")
            for proposal, index in self.acknowledged.items():
                if index > len(log) or log[index - 1].data != proposal:
                    self._report(f"acknowledged {proposal[:20]!r} at {index} is lost on {node}")
                    break
