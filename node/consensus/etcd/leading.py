"""One term as leader: proposals become entries by transactions that hold only while the leader's key is its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from node.consensus.etcd.keys import Keys, encode_batch, encode_head
from node.consensus.etcd.lease import Lease
from node.consensus.etcd.settings import EtcdSettings
from node.consensus.etcd.store import (
    Condition,
    CreatedAt,
    Etcd,
    Get,
    HasValue,
    NoSpace,
    Operation,
    Put,
    Refused,
    RequestTooLarge,
    Unreachable,
)
from node.consensus.port import Committed, Host, NotLeader, Overloaded, ProposalError, TooLarge

# Of an entry in its batch beside the proposal: the leader's stamp and the frame.
_OVERHEAD_BYTES = 64


class Owner(Protocol):
    """Who waits for a proposal. Each proposal ends in one of these."""

    def committed(self, index: int, term: int) -> None: ...

    def refused(self, error: ProposalError) -> None:
        """It was not appended."""

    def left(self, index: int, term: int) -> None:
        """It may be appended at `index`, or not; the log will show."""


@dataclass(frozen=True, slots=True)
class Pending:
    data: bytes
    owner: Owner
    membership: bytes = b""

    @property
    def size_bytes(self) -> int:
        return len(self.data) + len(self.membership) + _OVERHEAD_BYTES


class Leading:
    """Made when the leader's key was won; run() returns when it is lost, or may be."""

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        settings: EtcdSettings,
        host: Host,
        lease: Lease,
        revision: int,
        term: int,
        head: tuple[int, int],
        take: Callable[[Sequence[Committed]], None],
    ) -> None:
        """`head` is index and term of the last entry when the key was won at `revision`."""
        self._etcd, self._keys, self._settings, self._host = etcd, keys, settings, host
        self._take = take
        self._queue: deque[Pending] = deque()
        self._limit_bytes = settings.max_batch_bytes
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self.resigned = asyncio.Event()
        """Set to end run(): the key was given back."""
        self._log = structlog.get_logger()
        self.lease, self.revision, self.term = lease, revision, term
        self.index, self.last_term = head
        self.begun_after = head[0]
        self.caught_up = asyncio.Event()
        """Set once everything before this term is here."""
        self.waiting_bytes = 0
        self.transferring = self.resigning = False

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def own_key(self) -> Condition:
        return CreatedAt(self._keys.leader, self.revision)

    def submit(self, pending: Pending) -> None:
        self._queue.append(pending)
        self.waiting_bytes += pending.size_bytes
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        work = (self.lease.keep(), self._append(), self.resigned.wait())
        tasks: list[asyncio.Task[object]] = [loop.create_task(part) for part in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.lease.end()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._refuse(NotLeader("this member leads no more"))
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def idle(self) -> None:
        """Return when everything submitted has ended."""
        await self._idle.wait()

    def _refuse(self, error: ProposalError) -> None:
        while self._queue:
            self._next().owner.refused(error)

    def _next(self) -> Pending:
        pending = self._queue.popleft()
        self.waiting_bytes -= pending.size_bytes
        return pending

    def _put_back(self, batch: Sequence[Pending]) -> None:
        self._queue.extendleft(reversed(batch))
        self.waiting_bytes += sum(pending.size_bytes for pending in batch)

    async def _append(self) -> None:
        await self.caught_up.wait()
        if not await self._commit([Pending(self._host.noop(), _Nobody())]):
            return
        while True:
            if not self._queue:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
            if not await self._commit(self._batch()):
                return

    def _batch(self) -> list[Pending]:
        batch = [self._next()]
        size = batch[0].size_bytes
        # A membership travels alone, so that the key that holds it changes with its entry.
        while self._queue and not batch[0].membership and not self._queue[0].membership:
            size += self._queue[0].size_bytes
            if size > self._limit_bytes:
                break
            batch.append(self._next())
        return batch

    async def _commit(self, batch: list[Pending]) -> bool:
        """Append `batch`; False when leadership is lost. Until that is so, its outcome is found out."""
        first = self.index + 1
        entries = [
            Committed(index, self.term, self._host.stamp(pending.data), pending.membership)
            for index, pending in enumerate(batch, first)
        ]
        outcome: bool | ProposalError = False
        try:
            outcome = await self._write(entries)
        finally:
            # Also when it is cancelled because the lease ran out.
            if outcome is False:
                for entry, pending in zip(entries, batch, strict=True):
                    pending.owner.left(entry.index, self.term)
        if isinstance(outcome, TooLarge) and len(batch) > 1:
            # This etcd takes less than most: smaller batches from now on, these proposals first.
            self._limit_bytes = sum(pending.size_bytes for pending in batch) // 2
            self._put_back(batch)
        elif isinstance(outcome, ProposalError):
            for pending in batch:
                pending.owner.refused(outcome)
        elif outcome:
            self.index, self.last_term = entries[-1].index, self.term
            self._take(entries)
            for entry, pending in zip(entries, batch, strict=True):
                pending.owner.committed(entry.index, self.term)
        return outcome is not False

    async def _write(self, entries: Sequence[Committed]) -> bool | ProposalError:
        """True: appended; False: leadership is lost, or may be; an error: not appended, and this goes on leading.

        The same transaction is tried until its outcome is known: the key `head` lets it happen once at most.
        """
        keys, last = self._keys, entries[-1]
        head = encode_head(last.index, self.term)
        when = [self.own_key, HasValue(keys.head, encode_head(self.index, self.last_term))]
        then: list[Operation] = [Put(keys.batch(last.index), encode_batch(entries)), Put(keys.head, head)]
        if last.membership:
            then.append(Put(keys.membership, last.membership))
        delay_s, sure = self._settings.retry_s, True
        while self.lease.valid:
            try:
                outcome = await self._etcd.transact(when, then, [Get(keys.head)])
                return outcome.succeeded or outcome.found[keys.head].value == head
            except RequestTooLarge as error:
                return await self._happened(head) or TooLarge(f"etcd: {error}")
            except NoSpace as error:
                if await self._happened(head):
                    return True
                if sure:
                    return Overloaded(f"etcd has no space left: {error}")
            except (Unreachable, Refused) as error:
                sure = False
                self._log.warning("append is tried again", error=str(error), index=last.index)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, self._settings.retry_max_s)
        return False

    async def _happened(self, head: bytes) -> bool:
        try:
            outcome = await self._etcd.transact([], [Get(self._keys.head)])
        except (Unreachable, Refused):
            return False
        return outcome.found[self._keys.head].value == head


class _Nobody:
    """Owner of the first entry of a term."""

    def committed(self, index: int, term: int) -> None: ...

    def refused(self, error: ProposalError) -> None: ...

    def left(self, index: int, term: int) -> None: ...
