"""Membership checked from outside: who was elected, and what is committed, by the voters in force in that log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from node.consensus.membership import Membership
from node.consensus.port import Committed
from node.consensus.raftos.engine import RaftosEngine

Report = Callable[[str], None]


class MemberChecker:
    """Told of votes, elections and commits; reports majorities that are none."""

    def __init__(self, report: Report, bootstrap: Mapping[str, str]) -> None:
        self._report = report
        self._committed = Membership.of_voters(bootstrap)
        self._seen = 0
        self._votes: dict[int, dict[str, str]] = {}
        """Candidate by voter, by term."""

    def voted(self, voter: str, term: int, candidate: str) -> None:
        """`voter` gave its vote away, and it is on its disk."""
        before = self._votes.setdefault(term, {}).setdefault(voter, candidate)
        if before != candidate:
            self._report(f"{voter} voted for {before} and for {candidate} in term {term}")

    def led(self, node: str, term: int, engine: RaftosEngine) -> None:
        """`node` became leader of `term`."""
        self.voted(node, term, node)
        voters = in_force(engine).voters
        given = [voter for voter, candidate in self._votes[term].items() if candidate == node and voter in voters]
        if 2 * len(given) <= len(voters) or node not in voters:
            self._report(f"{node} leads term {term} by the votes of {given} of {voters}")

    def commits(self, node: str, index: int, engines: Mapping[str, RaftosEngine]) -> None:
        """`node` leads and says that `index` is committed: a majority has it on the disk."""
        log = engines[node]._log
        term = log.term_at(index)
        voters = in_force(engines[node]).voters
        have = [voter for voter in voters if voter in engines and _holds(engines[voter], index, term)]
        if 2 * len(have) <= len(voters):
            self._report(f"{node} commits {index}/{term}, which {have} of {voters} have")

    def follows(self, node: str, engine: RaftosEngine) -> None:
        """`node` goes by its log."""
        changes = [entry for entry in engine._log.entries if entry.membership]
        if changes and Membership.decode(changes[-1].membership) != engine.membership:
            self._report(f"{node} goes by {engine.membership}, its log says otherwise")

    def changes(self, node: str, engine: RaftosEngine) -> None:
        """`node` leads and has appended a change: all before it are committed."""
        log = engine._log
        waiting = [entry.index for entry in log.entries if entry.membership and entry.index > log.commit_index]
        if len(waiting) > 1:
            self._report(f"{node} leads with changes {waiting} that are not committed")

    def committed(self, entries: Sequence[Committed]) -> None:
        """One member changes at a time."""
        for entry in entries:
            if entry.index <= self._seen:
                continue
            self._seen = entry.index
            if entry.membership:
                before, self._committed = self._committed, Membership.decode(entry.membership)
                changed = set(before.members) ^ set(self._committed.members)
                if len({member.id for member in changed}) > 1:
                    self._report(f"entry {entry.index} makes {self._committed} of {before}")

    @property
    def current(self) -> Membership:
        """The last one that was committed."""
        return self._committed


def in_force(engine: RaftosEngine) -> Membership:
    """By the log itself, as far as it reaches back."""
    last = next((entry for entry in reversed(engine._log.entries) if entry.membership), None)
    return engine.membership if last is None else Membership.decode(last.membership)


def _holds(engine: RaftosEngine, index: int, term: int) -> bool:
    log, writer = engine._log, getattr(engine, "_writer", None)
    if writer is None or not engine._running:
        return True  # it starts or has stopped: what its disk has is not known here
    return index <= log.base_index or (index <= writer.durable_index and log.term_at(index) == term)
