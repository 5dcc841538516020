"""Saves applied rows behind the critical path, merged over batches, each transaction with its applied index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence

from cortex.v1.types_pb2 import Event
from node.core.faults import Code, Fault
from node.core.model import Change, Key, Row, Table, has_ended, weigh
from node.env import Offload
from node.store.store import Store

# Weight of the changes that memory may be ahead of the store; beyond it nothing is applied until a save succeeds.
BOUND = 200_000
# Rows that change several times within it are written once. Whoever needs a row saved now says so: flush().
_INTERVAL_S = 0.2
# After which a stop leaves a save to itself: the rows come from the log again.
_STOP_S = 10.0
# Where this much came within the interval, more is on its way, and a longer one saves writing most of it twice.
_MANY = 500
_MANY_INTERVAL_S = 0.8
_ENOUGH = BOUND // 4
_RETRY_S = 1.0


_Mark = tuple[int, int, int, int]
"""Index, term, leader time and digest of the last entry applied; one is made for each."""


class Saver:
    """Collects changes and writes them in one transaction at a time."""

    def __init__(
        self,
        store: Store,
        offload: Offload,
        saved_index: int,
        on_saved: Callable[[Iterable[tuple[Key, int]]], None],
        on_health: Callable[[Exception | None], None],
    ) -> None:
        self._store = store
        self._offload = offload
        self._on_saved = on_saved
        self._on_health = on_health
        self.trouble: Exception | None = None
        """Why what was last tried is not saved."""
        self._changes: list[Change] = []
        self._in_flight: list[Change] = []
        # Of both lists together, and of the second one.
        self._weight = self._in_flight_weight = 0
        # By Key, or a plain tuple that equals it and is made in half the time.
        self._overlay: dict[tuple[Table, str], tuple[int, Row | None]] = {}
        self._mark: _Mark | None = None
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.saved_index = saved_index

    @property
    def full(self) -> bool:
        return self._weight > BOUND

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Try once more to save what is applied, then end. Raises Fault when that does not end."""
        self._stopping = True
        self._wake.set()
        self._urgent.set()
        if self._task is None:
            return
        done, _ = await asyncio.wait([self._task], timeout=_STOP_S)
        if not done:
            message = f"The rows could not be saved: the disk has not answered for {_STOP_S:.0f} s."
            raise Fault(Code.INTERNAL, message, "Look at the disk of the data folder, then start again.")
        self._task.result()

    def add(
        self,
        changes: Sequence[Change],
        index: int,
        term: int,
        at_us: int,
        digest: int,
        weight: int | None = None,
    ) -> None:
        """Have these saved, as of `index`; `weight` is theirs together, if known."""
        self._changes.extend(changes)
        self._weight += weigh(changes) if weight is None else weight
        events, overlay = Table.EVENTS, self._overlay
        for table, key, _, new in changes:
            if table is not events:
                overlay[table, key] = (index, new)
        if self._weight > _ENOUGH:
            self._urgent.set()
        self._mark = (index, term, at_us, digest)
        self._wake.set()

    def peek(self, key: Key) -> tuple[bool, Row | None]:
        """Whether a change of `key` waits, and the row that it led to."""
        found = self._overlay.get(key)
        return (False, None) if found is None else (True, found[1])

    def events(self, task_id: str) -> list[Event]:
        """Waiting events of a task, or of all for ""; costs one step per waiting change."""
        return [
            change.new
            for change in (*self._in_flight, *self._changes)
            if isinstance(change.new, Event) and task_id in ("", change.new.task)
        ]

    def _events(self, keys: Collection[Key]) -> dict[Key, Row | None]:
        """As peek(), of those events of which a change waits; costs one step per waiting change."""
        wanted = {key.id: key for key in keys}
        return {
            wanted[change.id]: change.new
            for change in (*self._in_flight, *self._changes)
            if change.table is Table.EVENTS and change.id in wanted
        }

    def rows(self, keys: Iterable[Key]) -> dict[Key, Row | None]:
        """What waits, over what the store has; None for what neither has."""
        found: dict[Key, Row | None] = {}
        missing: list[Key] = []
        for key in keys:
            known, row = self.peek(key)
            if known:
                found[key] = row
            else:
                missing.append(key)
        if missing:
            stored = self._store.get(missing)
            found.update({key: stored.get(key) for key in missing})
        # What is trimmed while a replica catches up may not be saved yet. Nothing else asks for events.
        events = [key for key in missing if key.table is Table.EVENTS]
        if events:
            found.update(self._events(events))
        return found

    @property
    def waiting(self) -> int:
        """Calls of flush() that are not answered yet."""
        return len(self._waiters)

    async def flush(self, index: int, timeout_s: float = 5.0) -> None:
        """Return once everything up to `index`, which must be applied, is saved. Raises Fault when that is late."""
        if self.saved_index >= index:
            return
        waiting = (index, asyncio.get_running_loop().create_future())
        self._waiters.append(waiting)
        self._urgent.set()
        try:
            async with asyncio.timeout(timeout_s):
                await waiting[1]
        except TimeoutError:
            message = f"This daemon has saved index {self.saved_index}, the request asks for {index}."
            remedy = "Ask another daemon; if this one's disk is full, free some space."
            raise Fault(Code.DEADLINE, message, remedy) from None
        finally:
            if waiting in self._waiters:
                self._waiters.remove(waiting)

    async def _run(self) -> None:
        while not (self._stopping and self._mark is None):
            await self._wake.wait()
            if not self._urgent.is_set():
                await self._pause(_INTERVAL_S)
            if not self._urgent.is_set() and self._weight > _MANY:
                await self._pause(_MANY_INTERVAL_S)
            self._wake.clear()
            self._urgent.clear()
            if self._mark is None:
                continue
            try:
                await self._save_once()
            except Exception as error:
                self.trouble = error
                self._on_health(error)
                self._wake.set()
                if self._stopping:
                    return
                await self._pause(_RETRY_S)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._urgent.wait()
        except TimeoutError:
            pass

    async def _save_once(self) -> None:
        mark = self._mark
        assert mark is not None
        self._in_flight = [*self._in_flight, *self._changes]
        self._changes = []
        self._in_flight_weight = self._weight
        self._mark = None
        batch = self._in_flight
        try:
            await self._offload(lambda: self._store.save(batch, *mark))
        except BaseException:
            self._mark = self._mark or mark
            raise
        self._in_flight = []
        self._weight -= self._in_flight_weight
        self._settle(batch, mark[0])
        if self.trouble is not None:
            self.trouble = None
            self._on_health(None)

    def _settle(self, batch: Sequence[Change], index: int) -> None:
        self.saved_index = index
        ended: list[tuple[Key, int]] = []
        events, overlay = Table.EVENTS, self._overlay
        for table, key_id, _, new in batch:
            if table is events:
                continue
            key = (table, key_id)
            found = overlay.get(key)
            if found is not None and found[0] <= index:
                del overlay[key]
            if new is not None and has_ended(new):
                ended.append((Key(table, key_id), index))
        waiting, self._waiters = self._waiters, []
        for wanted, waiter in waiting:
            if wanted <= index:
                if not waiter.done():
                    waiter.set_result(None)
            else:
                self._waiters.append((wanted, waiter))
                self._urgent.set()
        self._on_saved(ended)
