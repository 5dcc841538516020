"""What the engine asks of etcd: transactions, leases and watches over ordered keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


class Unreachable(Exception):
    """No answer. What was asked may have been done or may still be."""


class Refused(Exception):
    """etcd answered that it does not do this; nothing was done, except where a subclass says otherwise."""


class Compacted(Refused):
    """That revision is no longer kept."""


class LeaseGone(Refused):
    """The lease has run out, and its keys are deleted."""


class RequestTooLarge(Refused):
    """The request is larger than this etcd takes."""


class NoSpace(Refused):
    """etcd's quota is used up. The request that used up the last of it was carried out all the same."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Event:
    key: bytes
    value: bytes | None
    """None: the key was deleted."""
    create_revision: int
    revision: int


@dataclass(frozen=True, slots=True)
class CreatedAt:
    """The key was created at that revision and lives; 0: there is no such key."""

    key: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class HasValue:
    """Never true for a key that is not there."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Put:
    key: bytes
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """One key, or all keys from `key` up to but not including `end`."""

    key: bytes
    end: bytes = b""


@dataclass(frozen=True, slots=True)
class Get:
    key: bytes


Condition = CreatedAt | HasValue
Operation = Put | Delete | Get


@dataclass(frozen=True, slots=True)
class Outcome:
    succeeded: bool
    revision: int
    """Of the store right after the transaction."""
    found: dict[bytes, KeyValue]
    """What the Get operations of the branch taken found; keys that are not there are missing."""


@dataclass(frozen=True, slots=True)
class Page:
    revision: int
    keys: list[KeyValue]
    more: bool


class Etcd(Protocol):
    """Every method raises Unreachable or Refused."""

    async def transact(
        self, when: Sequence[Condition], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Outcome:
        """All of `then` if every condition holds, else all of `otherwise`; linearizable, reads alone too."""

    async def page(self, first: bytes, end: bytes, limit: int, revision: int = 0) -> Page:
        """The first keys from `first` up to but not including `end`, as of `revision`."""

    async def grant(self, seconds: int) -> tuple[int, int]:
        """A new lease and its length in seconds, which may be more than was asked for."""

    async def keep_alive(self, lease: int, timeout_s: float) -> int:
        """Prolong a lease from now on; its length in seconds. Raises LeaseGone."""

    async def revoke(self, lease: int) -> None:
        """End a lease and delete its keys."""

    def watch(self, first: bytes, end: bytes, revision: int) -> AsyncIterator[list[Event]]:
        """Changes of keys from `first` up to `end` from `revision` on, in order, for ever. Raises Compacted."""

    async def compact(self, revision: int) -> None:
        """Forget what keys were before `revision`."""

    async def close(self) -> None: ...
