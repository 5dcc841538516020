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
        """In force at that entry. Raises LookupError when that is long past, or etcd has yet to say it."""
        known = [membership for at, membership in self._known if at <= index]
        if not known:
            raise LookupError(f"who the members were at entry {index} is not known here")
        return known[-1]

    def took(self, entry: Committed) -> None:
        if entry.membership:
            self._known.append((entry.index, Membership.decode(entry.membership)))
            del self._known[:-_KEPT]

    def read(self, encoded: bytes, begun_at: int) -> None:
        """What etcd says is in force, once all that it has is here.

        Where no entry behind `begun_at`, at which this log begins, brought it, it is in force since then.
        """
        if encoded and not self._known:
            self._known.append((begun_at, Membership.decode(encoded)))
