"""Where peers are reached: members by the membership, everybody else by what their messages say."""

from __future__ import annotations

from node.consensus.membership import Membership

_LIMIT = 128


class Addresses:
    def __init__(self) -> None:
        self._members: dict[str, str] = {}
        self._others: dict[str, str] = {}

    def adopt(self, membership: Membership) -> None:
        """Who is no member any more is still answered where it was."""
        for peer, address in self._members.items():
            self._note(peer, address)
        self._members = {member.id: member.address for member in membership.members}

    def heard(self, peer: str, address: str) -> None:
        """A message of `peer` says that it listens there."""
        if address and peer not in self._members:
            self._note(peer, address)

    def _note(self, peer: str, address: str) -> None:
        if peer not in self._others and len(self._others) >= _LIMIT:
            del self._others[next(iter(self._others))]
        self._others[peer] = address

    def find(self, peer: str) -> str | None:
        return self._members.get(peer) or self._others.get(peer)
