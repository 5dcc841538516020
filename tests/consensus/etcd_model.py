"""etcd as its documentation describes it, in memory on virtual time: revisions, transactions, leases, watches.

What may happen to a request: it is lost, its answer is lost, or it arrives long after its sender gave up.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from node.consensus.etcd.store import (
    Compacted,
    Condition,
    CreatedAt,
    Delete,
    Event,
    Get,
    KeyValue,
    LeaseGone,
    Operation,
    Outcome,
    Page,
    Put,
    RequestTooLarge,
    Unreachable,
)
from tests.sim.loop import SimLoop

T = TypeVar("T")
REQUEST_LIMIT_BYTES = 3 << 19


@dataclass(slots=True)
class _Lease:
    seconds: int
    ends_at: float


class EtcdModel:
    """The whole etcd cluster: one thing that is linearizable."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.revision = 1
        self.compacted = 0
        self.keys: dict[bytes, KeyValue] = {}
        self._lease_of: dict[bytes, int] = {}
        self._leases: dict[int, _Lease] = {}
        self._last_lease = 0
        self._history: list[Event] = []
        self._waiting: list[asyncio.Future[None]] = []

    def transact(
        self, when: Sequence[Condition], then: Sequence[Operation], otherwise: Sequence[Operation]
    ) -> Outcome:
        size = sum(len(operation.value) for operation in then if isinstance(operation, Put))
        if size > REQUEST_LIMIT_BYTES:
            raise RequestTooLarge(f"{size} bytes")
        succeeded = all(self._holds(condition) for condition in when)
        chosen = then if succeeded else otherwise
        if any(isinstance(one, Put) and one.lease and one.lease not in self._leases for one in chosen):
            raise LeaseGone("lease not found")
        changes = [one for one in chosen if not isinstance(one, Get)]
        if changes:
            self._begin()
        found: dict[bytes, KeyValue] = {}
        for operation in chosen:
            if isinstance(operation, Put):
                self._put(operation)
            elif isinstance(operation, Delete):
                self._delete(operation.key, operation.end)
            elif operation.key in self.keys:
                found[operation.key] = self.keys[operation.key]
        self._end()
        return Outcome(succeeded, self.revision, found)

    def _holds(self, condition: Condition) -> bool:
        pair = self.keys.get(condition.key)
        if isinstance(condition, CreatedAt):
            return (pair.create_revision if pair is not None else 0) == condition.revision
        return pair is not None and pair.value == condition.value

    def _begin(self) -> None:
        self.revision += 1

    def _put(self, put: Put) -> None:
        before = self.keys.get(put.key)
        created = before.create_revision if before is not None else self.revision
        self.keys[put.key] = KeyValue(put.key, put.value, created, self.revision)
        self._lease_of[put.key] = put.lease
        self._history.append(Event(put.key, put.value, created, self.revision))

    def _delete(self, first: bytes, end: bytes) -> None:
        for key in sorted(key for key in self.keys if key == first or (end and first <= key < end)):
            del self.keys[key]
            self._lease_of.pop(key, None)
            self._history.append(Event(key, None, 0, self.revision))

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def page(self, first: bytes, end: bytes, limit: int, revision: int) -> Page:
        """As of now: nobody deletes what a reader of an older revision may still want, but behind a snapshot."""
        if revision and revision < self.compacted:
            raise Compacted(f"revision {revision}")
        found = sorted(key for key in self.keys if first <= key < end)
        found = [key for key in found if not revision or self.keys[key].mod_revision <= revision]
        return Page(self.revision, [self.keys[key] for key in found[:limit]], len(found) > limit)

    def grant(self, seconds: int) -> tuple[int, int]:
        self._last_lease += 1
        self._leases[self._last_lease] = _Lease(seconds, 0.0)
        self.keep_alive(self._last_lease)
        return self._last_lease, seconds

    def keep_alive(self, lease: int) -> int:
        if lease not in self._leases:
            raise LeaseGone("lease not found")
        held = self._leases[lease]
        held.ends_at = self._loop.time() + held.seconds
        self._loop.call_at(held.ends_at, self._expire, lease, context=self._loop.neutral.copy())
        return held.seconds

    def extend_leases(self) -> None:
        """As a new leader of etcd does."""
        for lease in self._leases:
            self.keep_alive(lease)

    def _expire(self, lease: int) -> None:
        if lease in self._leases and self._leases[lease].ends_at <= self._loop.time():
            self.revoke(lease)

    def revoke(self, lease: int) -> None:
        if self._leases.pop(lease, None) is None:
            raise LeaseGone("lease not found")
        keys = [key for key, of in self._lease_of.items() if of == lease]
        if keys:
            self._begin()
            for key in sorted(keys):
                self._delete(key, b"")
        self._end()

    def compact(self, revision: int) -> None:
        self.compacted = max(self.compacted, revision)

    def events(self, first: bytes, end: bytes, revision: int) -> list[Event]:
        """From `revision` on."""
        if revision < self.compacted:
            raise Compacted(f"revision {revision}")
        start = bisect_left(self._history, revision, key=lambda event: event.revision)
        return [event for event in self._history[start:] if first <= event.key < end]

    async def changed(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future


@dataclass(slots=True)
class Weather:
    """Chances are per request."""

    lost: float = 0.0
    answer_lost: float = 0.0
    late: float = 0.0
    """Chance that a request of which nobody heard arrives `late_s` after it was sent."""
    late_s: float = 5.0
    watch_ends: float = 0.0
    """Chance per batch of events."""
    delay_s: tuple[float, float] = (0.0002, 0.002)


class ModelClient:
    """Implements store.Etcd for one member. `cut` says whether it reaches etcd at all."""

    def __init__(
        self, model: EtcdModel, rng: random.Random, weather: Weather, cut: Callable[[], bool], timeout_s: float
    ) -> None:
        self._model, self._rng, self._weather, self._cut, self._timeout_s = model, rng, weather, cut, timeout_s

    async def transact(
        self, when: Sequence[Condition], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Outcome:
        return await self._ask(lambda: self._model.transact(when, then, otherwise))

    async def page(self, first: bytes, end: bytes, limit: int, revision: int = 0) -> Page:
        return await self._ask(lambda: self._model.page(first, end, limit, revision))

    async def grant(self, seconds: int) -> tuple[int, int]:
        return await self._ask(lambda: self._model.grant(seconds))

    async def keep_alive(self, lease: int, timeout_s: float) -> int:
        return await self._ask(lambda: self._model.keep_alive(lease), timeout_s)

    async def revoke(self, lease: int) -> None:
        await self._ask(lambda: self._model.revoke(lease))

    async def compact(self, revision: int) -> None:
        await self._ask(lambda: self._model.compact(revision))

    async def close(self) -> None: ...

    async def watch(self, first: bytes, end: bytes, revision: int) -> AsyncIterator[list[Event]]:
        while True:
            await asyncio.sleep(self._rng.uniform(*self._weather.delay_s))
            events = [] if self._cut() else self._model.events(first, end, revision)
            if self._rng.random() < self._weather.watch_ends:
                raise Unreachable("the watch ended")
            if events:
                # Part of what is there, but never part of a revision.
                upto = self._rng.choice(events).revision
                revision = upto + 1
                yield [event for event in events if event.revision <= upto]
            elif self._cut():
                await asyncio.sleep(0.05)
            else:
                await self._model.changed()

    async def _ask(self, apply: Callable[[], T], timeout_s: float = 0.0) -> T:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        future: asyncio.Future[T] = loop.create_future()
        weather, rng = self._weather, self._rng
        lost = self._cut() or rng.random() < weather.lost
        answer_lost = rng.random() < weather.answer_lost
        late = rng.random() < weather.late

        def arrive() -> None:
            result: Any
            try:
                result = apply()
            except Exception as error:
                result = error
            if not answer_lost and not lost:
                loop.call_later(rng.uniform(*weather.delay_s), answer, result, context=loop.neutral.copy())

        def answer(result: Any) -> None:
            if future.done() or self._cut():
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        if not lost:
            loop.call_later(rng.uniform(*weather.delay_s), arrive, context=loop.neutral.copy())
        elif late:
            loop.call_later(rng.uniform(0, weather.late_s), arrive, context=loop.neutral.copy())
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                return await future
        except TimeoutError:
            raise Unreachable("no answer") from None
