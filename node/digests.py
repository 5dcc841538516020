"""Digests: what the replicas report of their state at certain indexes, and which of it a majority agrees on."""

from __future__ import annotations

from collections.abc import Callable, Collection

_EVERY = 16
_KEPT = 4096


class Digests:
    """Digests of one replica and the reports of the others. Single-threaded."""

    def __init__(self, node_id: str, voters: Callable[[], Collection[str]]) -> None:
        """`voters` tells who votes now."""
        self._id = node_id
        self._voters = voters
        self._own: dict[int, bytes] = {}
        self._votes: dict[int, dict[str, bytes]] = {}
        self.agreed: tuple[int, bytes] = (0, b"")
        self.same = 0
        """The last index at which this replica was seen to have what the majority has."""

    @staticmethod
    def wanted(index: int) -> bool:
        """Whether the digest at that index is one that replicas compare."""
        return index % _EVERY == 0

    def keep(self, index: int, digest: bytes) -> None:
        """This replica's own."""
        self._own[index] = digest
        if len(self._own) > _KEPT:
            del self._own[next(iter(self._own))]

    def last(self, index: int) -> tuple[int, bytes]:
        """The last comparable index at or before `index`, and this replica's digest there; (0, b"") if unknown."""
        index -= index % _EVERY
        return (index, self._own[index]) if index in self._own else (0, b"")

    def report(self, peer: str, index: int, digest: bytes) -> bool:
        """What another replica says; whether a majority agrees on a later index by that: see `agreed`."""
        if index <= self.agreed[0]:
            return False
        votes = self._votes.setdefault(index, {})
        votes[peer] = digest
        mine = self._own.get(index)
        if mine is not None:
            votes[self._id] = mine
        voters = self._voters()
        counted = [vote for voter, vote in votes.items() if voter in voters]
        for candidate in set(counted):
            if counted.count(candidate) * 2 > len(voters):
                self.agreed = (index, candidate)
                self._votes = {later: found for later, found in self._votes.items() if later > index}
                return True
        if len(self._votes) > _KEPT // _EVERY:
            del self._votes[min(self._votes)]
        return False

    def differs(self, index: int, digest: bytes) -> bytes | None:
        """This replica's own digest at `index`, if it is not that of the majority."""
        mine = self._own.get(index)
        if not digest or mine is None:
            return None
        if mine == digest:
            self.same = max(self.same, index)
            return None
        return mine
