"""The etcd engine's parts by hand: a tampered client, a clock that jumps, members with a state."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from node.consensus.etcd.client import EtcdClient
from node.consensus.etcd.keys import Keys
from node.consensus.etcd.store import Condition, Operation, Outcome
from node.env import RealClock
from tests.etcd_server import EtcdServers

_PREFIXES = itertools.count(1)


def some_keys() -> Keys:
    """Of a prefix that no other test has."""
    return Keys(b"/parts%d/" % next(_PREFIXES))


def client_of(servers: EtcdServers) -> EtcdClient:
    return EtcdClient(servers.endpoints, None, 2.0)


class JumpingClock(RealClock):
    """The boot clock of a machine that was asleep."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def boot_us(self) -> int:
        return super().boot_us() + self.ahead_us


class Tampered(EtcdClient):
    """Answers of transactions may be lost, held back or replaced: `tamper` is asked before and after each."""

    before: Callable[[Sequence[Operation]], Any]
    after: Callable[[Sequence[Operation], Outcome], Any]

    def __init__(self, endpoints: Sequence[str], timeout_s: float = 2.0) -> None:
        super().__init__(endpoints, None, timeout_s)
        self.before = lambda _then: None
        self.after = lambda _then, _outcome: None

    async def transact(
        self, when: Sequence[Condition], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Outcome:
        self.before(then)
        outcome = await super().transact(when, then, otherwise)
        self.after(then, outcome)
        return outcome
