"""Who the members are and were, as entries of the log say."""

from __future__ import annotations

from node.consensus.membership import Membership
from node.consensus.port import Committed

_KEPT = 64


class Memberships:
    """`first` is in force until something else is known."""

    def __init__(self, first: Membership) -> None:
        self.first = first
        self._known: list[tuple[int, Membership]] = []

    @property
    def current(self) -> Membership:
        return self._known[-1][1] if self._known else self.first

    def at(self, index: int) -> Membership:
        """In force at that entry, which must not be long past."""
        known = [membership for at, membership in self._known if at <= index]
        return known[-1] if known else self.first

    def took(self, entry: Committed) -> None:
        if entry.membership:
            self._known.append((entry.index, Membership.decode(entry.membership)))
            del self._known[:-_KEPT]

    def read(self, encoded: bytes) -> None:
        """What etcd says is in force, which counts while no entry here says more."""
        if encoded and not self._known:
            self._known.append((0, Membership.decode(encoded)))
