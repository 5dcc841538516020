"""The log as etcd has it, read as it grows, and who leads: one watch tells of both in the order of revisions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import cast

import structlog

from cortex.v1 import raft_pb2
from node.consensus.entries import Entries
from node.consensus.etcd.keys import Keys, decode_batch, decode_head, encode_head
from node.consensus.etcd.settings import EtcdSettings
from node.consensus.etcd.store import Compacted, CreatedAt, Etcd, Event, Get, KeyValue, Put, Refused, Unreachable
from node.consensus.membership import Membership
from node.consensus.port import Committed
from node.core.faults import Code, Fault


@dataclass(frozen=True, slots=True)
class Holder:
    """Of the leader's key, which `revision` created."""

    id: str
    revision: int


class Behind(Exception):
    """The entries after the last one here are no longer in etcd: its snapshot has them."""


class _Gap(Exception):
    """The watch left something out."""


class Following:
    """Reads and watches until it is cancelled.

    `first` are the members of a log that begins. `took` is told of new entries, then `changed` of every news.
    """

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        settings: EtcdSettings,
        cluster_id: str,
        first: Membership,
        entries: Entries,
        own_epoch: int,
        took: Callable[[Sequence[Committed]], None],
        changed: Callable[[], None],
    ) -> None:
        self._etcd, self._keys, self._settings = etcd, keys, settings
        self._cluster_id, self._first = cluster_id, first
        self._entries, self._own_epoch = entries, own_epoch
        self._took, self._changed = took, changed
        self._log = structlog.get_logger()
        self._news = 0
        self._applied = self.begun_at = entries.base_index
        self._ahead_bytes = 0
        self._kept_bytes = 0
        self._complained = ""
        self.room = asyncio.Event()
        """Cleared while too much waits to be applied here."""
        self.room.set()
        self.synced = False
        """Whether everything that was in etcd at some moment since the last start or loss of it is here."""
        self.holder: Holder | None = None
        self.heir = ""
        self.base_term = 0
        self.snapshot_index = 0
        """Last entry of the newest snapshot in etcd; 0: there is none."""
        self.recovery_epoch: int | None = None
        """Of the log in etcd; None before it was read."""
        self.membership = b""
        """As of the last time that everything was read."""

    async def run(self) -> None:
        """Raises Fault when what etcd has cannot be this cluster's log, and Behind."""
        delay_s = self._settings.retry_s
        while True:
            try:
                revision = await self._read()
                delay_s = self._settings.retry_s
                self._complained = ""
                await self._watch(revision + 1)
            except (Compacted, _Gap):
                continue
            except (Unreachable, Refused) as error:
                self._lost(error)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, self._settings.retry_max_s)

    def take(self, entries: Sequence[Committed]) -> None:
        """Append what is new of `entries`. Raises _Gap when something before them is missing."""
        last = self._entries.last_index
        for entry in entries:
            known = self._entries.term_at(entry.index)
            if entry.index <= last and known not in (0, entry.term):
                raise _replaced(f"entry {entry.index} has another term than before")
        fresh = [entry for entry in entries if entry.index > last]
        if not fresh:
            return
        if fresh[0].index != last + 1:
            raise _Gap
        self._entries.append(fresh)
        self._ahead_bytes += sum(len(entry.data) for entry in fresh)
        self._took(fresh)

    def read_from(self, applied: int) -> None:
        """The entries up to `applied` are applied here: they make room for others."""
        applied = min(applied, self._entries.last_index)
        if applied > self._applied:
            done = self._entries.between(self._applied, applied)
            self._ahead_bytes -= sum(len(entry.data) for entry in done)
            self._applied = applied
            self._trim(sum(len(entry.data) for entry in done))
        if self._ahead_bytes > self._settings.max_ahead_bytes:
            self.room.clear()
        else:
            self.room.set()

    def _trim(self, more_bytes: int) -> None:
        """Drop applied entries from memory, now and then rather than one by one."""
        settings = self._settings
        self._kept_bytes += more_bytes
        kept = self._applied - self._entries.base_index
        if kept > 2 * settings.keep_entries or self._kept_bytes > 2 * settings.keep_bytes:
            upto = self._applied - settings.keep_entries
            if self._kept_bytes > 2 * settings.keep_bytes:
                upto = self._applied
            dropped = self._entries.between(self._entries.base_index, upto)
            self._kept_bytes -= sum(len(entry.data) for entry in dropped)
            self._entries.drop(upto)

    def _lost(self, error: Exception) -> None:
        if self.synced or str(error) != self._complained:
            self._complained = str(error)
            self._log.warning("etcd does not answer", error=str(error))
        self.synced, self.holder = False, None
        self._changed()

    async def _read(self) -> int:
        """Take everything that etcd has; the revision as of which that is."""
        keys = self._keys
        names = (keys.cluster, keys.head, keys.leader, keys.heir, keys.base, keys.membership, keys.snapshot)
        last = self._entries.last_index
        outcome = await self._etcd.transact([], [Get(key) for key in names])
        found = outcome.found
        if keys.cluster not in found:
            await self._claim()
            return await self._read()
        if found[keys.cluster].value.decode() != self._cluster_id:
            message = f"Another cluster lives in etcd under {keys.prefix.decode()}."
            raise Fault(Code.INVALID, message, "Choose another prefix, or give the secret of that cluster.")
        index, term = decode_head(found[keys.head].value)
        self._check_epoch(found.get(keys.snapshot), last)
        self._check_end(index, term, last)
        await self._load(index, outcome.revision)
        self.base_term = int(found[keys.base].value)
        self.membership = found[keys.membership].value if keys.membership in found else b""
        self.heir = found[keys.heir].value.decode() if keys.heir in found else ""
        self.holder = _holder(found.get(keys.leader))
        if keys.snapshot in found:
            self.snapshot_index = _snapshot_index(found[keys.snapshot].value)
        self.synced = True
        self._changed()
        return outcome.revision

    async def _claim(self) -> None:
        """Begin an empty log, unless somebody just did. Raises Unreachable where that is not for this member."""
        keys = self._keys
        if not self._first.members:
            raise Unreachable(f"no cluster lives in etcd under {keys.prefix.decode()} yet")
        name = Put(keys.cluster, self._cluster_id.encode())
        empty = [Put(keys.head, encode_head(0, 0)), Put(keys.base, b"0")]
        members = Put(keys.membership, self._first.encode())
        await self._etcd.transact([CreatedAt(keys.cluster, 0)], [name, *empty, members])

    def _check_epoch(self, snapshot: KeyValue | None, last: int) -> None:
        """A log of another recovery is another one, however alike the indexes are. Raises Fault, Behind."""
        meta = raft_pb2.SnapshotMeta.FromString(snapshot.value) if snapshot is not None else raft_pb2.SnapshotMeta()
        if last and meta.recovery_epoch != self._own_epoch:
            if meta.recovery_epoch > self._own_epoch and meta.index > last:
                raise Behind
            raise _replaced(f"it is of recovery {meta.recovery_epoch}, the rows here are of {self._own_epoch}")
        self.recovery_epoch = meta.recovery_epoch

    def _check_end(self, index: int, term: int, last: int) -> None:
        """`last` was here when etcd was asked; meanwhile this member may have appended more."""
        if index < last:
            raise _replaced(f"it ends at entry {index}, but {last} were applied here")
        known = self._entries.term_at(index)
        if known and known != term:
            raise _replaced(f"its last entry {index} has another term than here")

    async def _load(self, upto: int, revision: int) -> None:
        """Take entries up to `upto`, as they were at `revision`."""
        keys = self._keys
        while self._entries.last_index < upto:
            await self._have_room()
            first = keys.batch(self._entries.last_index + 1)
            page = await self._etcd.page(first, keys.log[1], self._settings.page_keys, revision)
            for pair in page.keys:
                try:
                    self.take(decode_batch(pair.value))
                except _Gap:
                    raise Behind from None
            if not page.keys:
                raise Behind
            self._changed()

    async def _watch(self, revision: int) -> None:
        """Follow for ever. Now and then, when all is silent, see whether that is right."""
        watch = asyncio.get_running_loop().create_task(self._consume(revision))
        try:
            while True:
                news = self._news
                await asyncio.wait([watch], timeout=self._settings.probe_s)
                if watch.done():
                    await watch
                elif news == self._news and self.room.is_set() and await self._missed():
                    return
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError, Unreachable, Refused, _Gap):
                await watch

    async def _missed(self) -> bool:
        outcome = await self._etcd.transact([], [Get(self._keys.head), Get(self._keys.leader)])
        index, _ = decode_head(outcome.found[self._keys.head].value)
        return index != self._entries.last_index or _holder(outcome.found.get(self._keys.leader)) != self.holder

    async def _consume(self, revision: int) -> None:
        watch = cast("AsyncGenerator[list[Event], None]", self._etcd.watch(*self._keys.watched, revision))
        async with aclosing(watch) as changes:
            async for events in changes:
                self._news += 1
                for event in events:
                    self._see(event)
                self._changed()
                await self._have_room()

    async def _have_room(self) -> None:
        if self._ahead_bytes > self._settings.max_ahead_bytes:
            self.room.clear()
            await self.room.wait()

    def _see(self, event: Event) -> None:
        keys = self._keys
        if event.key == keys.leader:
            self.holder = Holder(event.value.decode(), event.create_revision) if event.value is not None else None
        elif event.key == keys.heir:
            self.heir = event.value.decode() if event.value is not None else ""
        elif event.key == keys.snapshot and event.value is not None:
            self.snapshot_index = _snapshot_index(event.value)
        elif keys.is_batch(event.key) and event.value is not None:
            self.take(decode_batch(event.value))


def _holder(pair: KeyValue | None) -> Holder | None:
    return Holder(pair.value.decode(), pair.create_revision) if pair is not None else None


def _snapshot_index(meta: bytes) -> int:
    return int(raft_pb2.SnapshotMeta.FromString(meta).index)


def _replaced(why: str) -> Fault:
    return Fault(
        Code.INTERNAL,
        f"The log in etcd is not the one that this daemon followed: {why}.",
        "See whether etcd was restored from a backup; if it is the log to go on with, move the data folder away.",
    )
