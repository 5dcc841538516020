"""The state beside the log: a copy of it stands in etcd in pieces, and members that lag begin with that."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator

import structlog

from cortex.v1 import raft_pb2
from node.consensus.etcd.keys import Keys
from node.consensus.etcd.leading import Leading
from node.consensus.etcd.settings import MARK, MARK_FOLDER, EtcdSettings
from node.consensus.etcd.store import Delete, Etcd, Get, Operation, Put, Refused, Unreachable
from node.consensus.membership import Membership
from node.consensus.port import Host, StateCopy, Trouble, TroubleKind
from node.consensus.raftos.snapshot_format import SnapshotBroken
from node.consensus.raftos.snapshots import Snapshots
from node.core.faults import Code, Fault
from node.env import Env

CHUNK_BYTES = 1 << 20
"""Of the state in one key. Readers count on it."""


_IN_VAIN = 3
"""Failures after which an operator must know of them."""


class Superseded(Exception):
    """Another member leads: it is not for this one to write any more."""


class StateStore:
    """Takes snapshots as the leader, and installs them as a member that is behind."""

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        settings: EtcdSettings,
        env: Env,
        host: Host,
        cluster_id: str,
        membership_at: Callable[[int], Membership],
    ) -> None:
        self._etcd, self._keys, self._settings, self._host = etcd, keys, settings, host
        self._env = env
        self._cluster_id, self._membership_at = cluster_id, membership_at
        self._offload = env.make_offload("snapshots")
        self._log = structlog.get_logger()
        self._task: asyncio.Task[None] | None = None
        self._not_before = -math.inf
        self._failures = 0
        self.trouble: Trouble | None = None
        """Why no snapshot could be taken, time and again; None when all is well, or while another member leads."""
        self.index = 0
        """Last entry of the newest snapshot in etcd, as far as is known here."""
        self.log_bytes = 0
        """Of entries that came since."""

    def tick(self, leading: Leading | None, applied: int) -> None:
        """Begin to take a snapshot when one is due."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        if leading is None:
            self._failures, self.trouble = 0, None
        if leading is None or self._task is not None or loop.time() < self._not_before:
            return
        if applied - self.index >= settings.snapshot_entries or self.log_bytes >= settings.snapshot_bytes:
            self._task = loop.create_task(self._take_quietly(leading))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _take_quietly(self, leading: Leading) -> None:
        try:
            await self.take(leading)
            self._failures, self.trouble = 0, None
        except (OSError, Unreachable, Refused, Superseded) as error:
            self._failures += 1
            if self._failures >= _IN_VAIN:
                self.trouble = Trouble(TroubleKind.LOG_GROWS, str(error))
            self._not_before = asyncio.get_running_loop().time() + self._settings.snapshot_retry_s
            self._log.error("no snapshot was taken, the log in etcd grows on", error=str(error))
        finally:
            self._task = None

    async def take(self, leading: Leading) -> int:
        """Put a snapshot into etcd and cut the log; its index. Raises OSError, Unreachable, Refused, Superseded."""
        copy = await self._host.copy_state()
        try:
            if copy.index <= self.index:
                return self.index
            bytes_before = self.log_bytes
            try:
                membership = self._membership_at(copy.index)
            except LookupError as error:
                raise OSError(str(error)) from error
            meta = await self._put(copy, membership, leading)
        finally:
            await self._offload(copy.close)
        self.index, self.log_bytes = meta.index, self.log_bytes - bytes_before
        await self._cut(meta.index, leading)
        self._log.info("snapshot taken", index=meta.index, size_bytes=meta.size_bytes)
        return meta.index

    async def _put(self, copy: StateCopy, membership: Membership, leading: Leading) -> raft_pb2.SnapshotMeta:
        chunks, digest, size = cut_evenly(copy.chunks()), hashlib.sha256(), 0
        for number in itertools.count():
            chunk = await self._offload(lambda: next(chunks, b""))
            if not chunk:
                break
            digest.update(chunk)
            size += len(chunk)
            await self._do(leading, [Put(self._keys.chunk(copy.index, number), chunk)])
        meta = raft_pb2.SnapshotMeta(
            cluster_id=self._cluster_id,
            index=copy.index,
            term=copy.term,
            membership=membership.encode(),
            size_bytes=size,
            sha256=digest.digest(),
            level=copy.level,
            recovery_epoch=copy.recovery_epoch,
            at_us=copy.at_us,
        )
        await self._do(leading, [Put(self._keys.snapshot, meta.SerializeToString())])
        return meta

    async def _cut(self, index: int, leading: Leading) -> None:
        """Delete what the snapshot has, but for entries that a member a little behind may still want."""
        keys = self._keys
        upto = max(index - self._settings.keep_log_entries, 0)
        # A batch is named by its last entry: those named at or below `upto` go whole.
        revision = await self._do(
            leading, [Delete(keys.log[0], keys.batch(upto + 1)), Delete(*keys.older_chunks(index))]
        )
        await self._etcd.compact(revision)

    async def _do(self, leading: Leading, operations: list[Operation]) -> int:
        """Carry it out as the leader, however often it takes; the revision after it."""
        delay_s = self._settings.retry_s
        while leading.lease.valid:
            try:
                outcome = await self._etcd.transact([leading.own_key], operations)
            except Unreachable:
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, self._settings.retry_max_s)
                continue
            if outcome.succeeded:
                return outcome.revision
            break
        raise Superseded("another member leads, or may")

    async def mark(self) -> None:
        """Leave word in the data folder that its log is in etcd."""

        def write() -> None:
            disk = self._env.open_disk(MARK_FOLDER)
            file = disk.open(MARK, create=True)
            file.write(0, self._keys.prefix)
            file.sync()
            file.close()
            disk.sync_folder()

        try:
            await self._offload(write)
        except OSError as error:
            self._log.warning("the data folder does not say that its log is in etcd", error=str(error))

    async def install(self) -> None:
        """Bring the newest snapshot onto this disk and tell the host. Raises OSError or Fault."""
        delay_s = self._settings.retry_s
        snapshots = Snapshots(self._env.open_disk("snapshots"), self._cluster_id)
        await self._offload(snapshots.latest)
        while True:
            try:
                index = await self._fetch(snapshots)
                break
            except (Unreachable, Refused, SnapshotBroken) as error:
                self._log.warning("the snapshot in etcd is asked for again", error=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, self._settings.retry_max_s)
        await self._offload(snapshots.prune)
        self._log.info("a snapshot is here, this member begins anew with it", index=index)
        self._host.installed()

    async def _fetch(self, snapshots: Snapshots) -> int:
        meta = await self._meta()
        have = await self._offload(lambda: snapshots.begin(meta))
        while have < meta.size_bytes:
            key = self._keys.chunk(meta.index, have // CHUNK_BYTES)
            found = (await self._etcd.transact([], [Get(key)])).found.get(key)
            if found is None:
                raise SnapshotBroken("a newer one has replaced it")
            piece, offset = found.value[have % CHUNK_BYTES :], have
            have = await self._offload(lambda offset=offset, piece=piece: snapshots.add(offset, piece))  # type: ignore[misc]
            if have == offset:
                await self._offload(snapshots.discard)
                raise SnapshotBroken(f"the piece at byte {offset} has the wrong size")
        await self._offload(snapshots.finish)
        return int(meta.index)

    async def _meta(self) -> raft_pb2.SnapshotMeta:
        key = self._keys.snapshot
        found = (await self._etcd.transact([], [Get(key)])).found.get(key)
        if found is None:
            message = "The log in etcd does not begin where this daemon ends, and there is no snapshot in it."
            raise Fault(Code.INTERNAL, message, "Import a snapshot of the cluster with `cortexd migrate`.")
        return raft_pb2.SnapshotMeta.FromString(found.value)


def cut_evenly(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of CHUNK_BYTES, the last one perhaps shorter."""
    rest = bytearray()
    for chunk in chunks:
        rest += chunk
        while len(rest) >= CHUNK_BYTES:
            yield bytes(rest[:CHUNK_BYTES])
            del rest[:CHUNK_BYTES]
    if rest:
        yield bytes(rest)
