"""Raft's invariants, checked from outside over all voters of one simulated cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from node.consensus.port import Committed
from node.consensus.raftos.log import Log
from tests.sim.engine_state import line_of

Report = Callable[[str], None]


class RaftChecker:
    """Told of what every voter does; reports what must never be."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._leaders: dict[int, str] = {}
        self._log: list[Committed] = []
        """The committed log: the first voter to commit an index says what stands there."""
        self._lines: list[tuple[int, int]] = []
        self._places: dict[bytes, int] = {}
        self._links: dict[tuple[int, int], tuple[int, bytes, bytes]] = {}
        self._checked: dict[str, int] = {}
        self.acknowledged: dict[bytes, int] = {}
        self._refused: dict[bytes, str] = {}
        self.highest_acknowledged = 0

    @property
    def committed_index(self) -> int:
        return len(self._log)

    def led(self, node: str, term: int, log: Log) -> None:
        """`node` became leader of `term` with this log."""
        other = self._leaders.setdefault(term, node)
        if other != node:
            self._report(f"two leaders in term {term}: {other} and {node}")
        for entry in self._log[max(log.base_index - 1, 0) :]:
            if entry.term >= term:
                break
            if log.term_at(entry.index) != entry.term:
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

    def state(self, node: str, lines: Sequence[tuple[int, int]]) -> None:
        """`node` has this state, one line for each entry: that of what was committed, no more and nothing else."""
        known = self._lines
        known += [line_of(entry) for entry in self._log[len(known) :]]
        if list(lines) != known[: len(lines)]:
            self._report(f"the state of {node} at {len(lines)} is not that of the committed log")

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

    def logs(self, logs: dict[str, Log], whole: bool = False) -> None:
        """Log matching: the same index and term means the same entry and the same predecessor, everywhere."""
        for node, log in logs.items():
            checked = 0 if whole else max(0, min(self._checked.get(node, 0), log.last_log_index) - 64)
            before = log.term_at(max(checked, log.base_index))
            for entry in log.entries[max(checked - log.base_index, 0) :]:
                content = (before, entry.data, entry.membership)
                if self._links.setdefault((entry.index, entry.term), content) != content:
                    self._report(f"log matching: {node} differs at {entry.index}/{entry.term}")
                    break
                before = entry.term
            self._checked[node] = log.last_log_index

    def finish(self, logs: dict[str, Log], states: dict[str, Sequence[tuple[int, int]]]) -> None:
        """After everything healed: every voter holds every acknowledged proposal."""
        self.logs(logs, whole=True)
        for node, lines in states.items():
            self.state(node, lines)
            if len(lines) < self.highest_acknowledged:
                self._report(f"{node} has applied {len(lines)}, acknowledged was {self.highest_acknowledged}")
            for proposal, index in self.acknowledged.items():
                if index > len(lines) or self._log[index - 1].data != proposal:
                    self._report(f"acknowledged {proposal[:20]!r} at {index} is lost on {node}")
                    break
