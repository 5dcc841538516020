"""Who keeps the log: voters, and learners on their way to become one. One member changes at a time (Raft, 4.1)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from cortex.v1 import raft_pb2

MEMBERS_LIMIT = 16
"""Voters and learners. Each is sent everything by the leader; more than seven voters gain nothing."""


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """`voter` is False for a learner, which is sent the log and has no vote."""

    id: str
    address: str
    voter: bool = True


class ChangeKind(enum.Enum):
    ADD_LEARNER = "add"
    PROMOTE = "promote"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Change:
    kind: ChangeKind
    id: str
    address: str = ""
    """Of a learner that is added."""


class ChangeRefused(Exception):
    """The change makes no sense for this membership; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Membership:
    """All members by id, in order. Empty on a daemon that nobody has added yet."""

    members: tuple[Member, ...] = ()

    @staticmethod
    def of(members: Iterable[Member]) -> Membership:
        return Membership(tuple(sorted(members)))

    @staticmethod
    def of_voters(voters: Mapping[str, str]) -> Membership:
        """The first membership of a cluster: address by id."""
        return Membership.of(Member(id, address) for id, address in voters.items())  # noqa: A001

    @property
    def voters(self) -> tuple[str, ...]:
        return tuple(member.id for member in self.members if member.voter)

    @property
    def learners(self) -> tuple[str, ...]:
        return tuple(member.id for member in self.members if not member.voter)

    def find(self, id: str) -> Member | None:  # noqa: A002
        return next((member for member in self.members if member.id == id), None)

    def is_voter(self, id: str) -> bool:  # noqa: A002
        member = self.find(id)
        return member is not None and member.voter

    def is_majority(self, count: int) -> bool:
        """Whether so many voters decide."""
        return 2 * count > len(self.voters)

    def after(self, change: Change) -> Membership:
        """What it becomes by the change. Raises ChangeRefused."""
        member = self.find(change.id)
        others = [other for other in self.members if other.id != change.id]
        if change.kind is ChangeKind.ADD_LEARNER:
            if member is not None:
                raise ChangeRefused(f"{change.id} is a {'voter' if member.voter else 'learner'} already.")
            if len(others) >= MEMBERS_LIMIT:
                raise ChangeRefused(f"There are {len(others)} members already, the limit is {MEMBERS_LIMIT}.")
            if any(other.address == change.address for other in others):
                raise ChangeRefused(f"Another member has the address {change.address}.")
            return Membership.of([*others, Member(change.id, change.address, voter=False)])
        if member is None:
            raise ChangeRefused(f"{change.id} is not a member.")
        if change.kind is ChangeKind.PROMOTE:
            if member.voter:
                raise ChangeRefused(f"{change.id} is a voter already.")
            return Membership.of([*others, Member(member.id, member.address)])
        if member.voter and len(self.voters) == 1:
            raise ChangeRefused(f"{change.id} is the last voter.")
        return Membership.of(others)

    def encode(self) -> bytes:
        """Its canonical bytes; never empty, so that an entry without one can be told apart."""
        message = raft_pb2.Membership(version=1)
        for member in self.members:
            message.members.add(id=member.id, address=member.address, voter=member.voter)
        return message.SerializeToString(deterministic=True)

    @staticmethod
    def decode(data: bytes) -> Membership:
        message = raft_pb2.Membership.FromString(data)
        return Membership.of(Member(item.id, item.address, item.voter) for item in message.members)


def is_membership(data: bytes) -> bool:
    """Whether these are the bytes of a membership with a voter in it."""
    try:
        return bool(Membership.decode(data).voters)
    except DecodeError:
        return False
