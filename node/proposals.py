"""Proposals of one daemon: each travels as an entry and is answered by its reply, once that is applied here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from cortex.v1 import log_pb2
from cortex.v1.log_pb2 import ConfigChange, Entry, Reply
from node.consensus.membership import Change, ChangeKind
from node.consensus.port import (
    ChangeInProgress,
    Consensus,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    Superseded,
    TooLarge,
)
from node.core.faults import Code, Fault, no_leader, outcome_unknown
from node.env import Env

_RETRY_S = 0.05
_RECORDS: Mapping[ChangeKind, log_pb2.MemberChange.ValueType] = {
    ChangeKind.ADD_LEARNER: log_pb2.MEMBER_CHANGE_LEARNER,
    ChangeKind.PROMOTE: log_pb2.MEMBER_CHANGE_VOTER,
    ChangeKind.REMOVE: log_pb2.MEMBER_CHANGE_REMOVED,
}

Propose = Callable[[bytes], Awaitable[int]]


class Proposals:
    """Of one replica, whose apply tells answered()."""

    def __init__(self, env: Env, consensus: Callable[[], Consensus], stopped: Callable[[], bool]) -> None:
        """`stopped` says that nothing will be applied here any more."""
        self._env = env
        self._consensus = consensus
        self._stopped = stopped
        self._waiters: dict[bytes, asyncio.Future[Reply]] = {}
        self._found = asyncio.Event()

    def close(self) -> None:
        """Whoever waits still does not learn what became of it."""
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_exception(OutcomeUnknown("this replica stops"))

    def leader_found(self) -> None:
        """What was refused for the lack of a leader need not wait any longer."""
        self._found.set()
        self._found = asyncio.Event()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_S):
                await self._found.wait()

    def awaited(self, proposal_id: bytes) -> bool:
        """Whether somebody here waits for the reply to this entry."""
        return proposal_id in self._waiters

    def answered(self, proposal_id: bytes, reply: Reply) -> None:
        """An entry was applied; most are of other daemons."""
        waiter = self._waiters.get(proposal_id)
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    async def execute(self, entry: Entry, timeout_s: float) -> Reply:
        """Propose an entry and return its reply once it is applied here.

        With a request id an unknown outcome is tried again, since apply answers a repeat from its stored reply.
        Raises Fault.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        unknown = False
        while True:
            try:
                return await self._propose(entry, deadline, self._consensus().propose)
            except TooLarge:
                raise Fault(
                    Code.TOO_LARGE,
                    "The request is larger than one log entry may be.",
                    "Split it into smaller batches.",
                ) from None
            except Overloaded:
                raise Fault(
                    Code.OVERLOADED, "The leader has too many proposals waiting.", "Try again in a second."
                ) from None
            except (NotLeader, Superseded):
                if not entry.client or self._late(deadline):
                    # An earlier proposal of the same request may be in the log all the same.
                    raise outcome_unknown() if unknown else no_leader() from None
            except OutcomeUnknown:
                unknown = True
                if not entry.request_id or self._late(deadline):
                    raise outcome_unknown() from None
            except TimeoutError:
                raise outcome_unknown() from None
            await self._pause()

    async def change_members(self, change: Change, entry: Entry, timeout_s: float = 10.0) -> Reply:
        """Change who keeps the log, on the leader; the reply to the record of it, once that is applied here.

        Waits while the change before it is on its way. Raises ChangeRefused, or Fault.
        """
        record = ConfigChange(id=change.id, change=_RECORDS[change.kind], address=change.address)
        entry.commands.add(config_change=record)
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                return await self._propose(
                    entry, deadline, lambda proposal: self._consensus().change_membership(change, proposal)
                )
            except ChangeInProgress:
                if self._late(deadline):
                    message = "Another change of the voters is on its way, and nothing was changed."
                    remedy = "Try again when `cortex voters` shows that one."
                    raise Fault(Code.OVERLOADED, message, remedy) from None
            except (NotLeader, Superseded):
                raise no_leader() from None
            except (OutcomeUnknown, TimeoutError):
                raise outcome_unknown() from None
            await asyncio.sleep(_RETRY_S)

    def _late(self, deadline: float) -> bool:
        return self._stopped() or asyncio.get_running_loop().time() + _RETRY_S > deadline

    async def _propose(self, entry: Entry, deadline: float, propose: Propose) -> Reply:
        proposal_id = self._env.random.getrandbits(64).to_bytes(8, "big")
        entry.proposal_id = proposal_id
        waiter: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiters[proposal_id] = waiter
        try:
            async with asyncio.timeout_at(deadline):
                await propose(entry.SerializeToString())
                return await waiter
        finally:
            del self._waiters[proposal_id]
