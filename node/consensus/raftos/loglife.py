"""The life of the log: when a snapshot is taken, and how much of the log is forgotten then."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

import structlog

from cortex.v1 import raft_pb2
from node.consensus.port import Host, Trouble, TroubleKind
from node.consensus.raftos.journal import Base
from node.consensus.raftos.log import Log
from node.consensus.raftos.memberships import Memberships
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.snapshots import Abandoned, Snapshots
from node.consensus.raftos.writer import Writer
from node.env import Env

_TRIM_STEP = 2000
"""Entries; freeing them takes a millisecond or two."""

_IN_VAIN = 3
"""Failures after which an operator must know of them."""
_MAX_DOUBLINGS = 5
"""Of the time until a snapshot is tried again."""
_LOOK_S = 10.0
"""Between two looks whether a broken snapshot is still kept."""


class LogLife:
    """Owns the snapshots of one engine. Starts before the writer does, which attach() makes known."""

    def __init__(self, env: Env, host: Host, cluster_id: str, settings: RaftSettings, log: Log) -> None:
        self._env, self._host, self._settings, self.log = env, host, settings, log
        self._cluster_id = cluster_id
        self._logger = structlog.get_logger()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[int] | None = None
        self._not_before = 0.0
        self._why = ""
        """Of the last failure."""
        self._failures = 0
        """Of snapshots, one after the other."""
        self._stopped = False
        self._checks: set[asyncio.Task[None]] = set()
        self._mark_bytes = 0
        """log.committed_bytes as of the newest snapshot."""
        self._held: dict[str, int] = {}
        self._suspects: set[int] = set()
        """Indexes of snapshots of which a peer could make nothing: they are looked at, or replaced."""
        self._broken = ""
        """What is wrong with the newest snapshot, for which another one must be taken first; empty: nothing."""
        self._rotten = ""
        """Which snapshot was broken, found out at any time; empty once an operator has removed it."""
        self._look_at = 0.0
        self.latest: raft_pb2.SnapshotMeta | None = None
        """The newest snapshot of this log."""

    async def start(self) -> Base:
        """Find the newest snapshot; its last entry. Raises OSError."""
        self.snapshots = Snapshots(self._env.open_disk("snapshots"), self._cluster_id)
        self._writing = self._env.make_offload("snapshot")
        self.pieces = self._env.make_offload("pieces")
        """In which snapshots are read and received."""
        self.latest = await self.pieces(self.snapshots.latest)
        self._rotten = await self.pieces(self._sweep)
        return Base(self.latest.index, self.latest.term) if self.latest is not None else Base()

    def _sweep(self) -> str:
        self.snapshots.prune()
        return self.snapshots.kept_broken()

    def attach(self, writer: Writer, memberships: Memberships) -> None:
        """The log was recovered."""
        self._writer, self._memberships = writer, memberships
        self._trim()

    @property
    def snapshot_index(self) -> int:
        """Last entry of the newest snapshot, 0 when there is none."""
        return self.latest.index if self.latest is not None else 0

    @property
    def trouble(self) -> Trouble | None:
        """What an operator must know of the disk: of the journal first, which costs most."""
        if self._writer.full:
            return Trouble(TroubleKind.DISK_FULL)
        if self._writer.stalled_s > self._settings.disk_stall_s:
            return Trouble(TroubleKind.DISK_HANGS)
        if self._failures >= _IN_VAIN:
            return Trouble(TroubleKind.LOG_GROWS, self._why)
        return Trouble(TroubleKind.SNAPSHOT_ROTTED, self._rotten) if self._rotten else None

    def tick(self) -> None:
        """Begin to take a snapshot when one is due."""
        if self._rotten and self._loop.time() >= self._look_at:
            self._look_at = self._loop.time() + _LOOK_S
            self._spawn(self._look(), "look for a broken snapshot")
        if self._task is None and self._loop.time() >= self._not_before and self._due():
            self._begin()

    def _due(self) -> bool:
        settings = self._settings
        if self._broken:
            return True
        count = self._host.applied()[0] - self.snapshot_index
        last_size = self.latest.size_bytes if self.latest is not None else 0
        limit_bytes = min(max(settings.snapshot_log_bytes, last_size), settings.max_log_bytes)
        return count >= settings.snapshot_entries or (
            count > 0 and self.log.committed_bytes - self._mark_bytes >= limit_bytes
        )

    async def take(self) -> int:
        """Take a snapshot now, or wait for the one that is being taken; its index.

        Raises OSError, which is Abandoned where this voter stops first.
        """
        if self._stopped:
            raise Abandoned
        task = self._begin()
        await asyncio.wait([task])
        if task.cancelled():
            raise Abandoned
        return task.result()

    def _begin(self) -> asyncio.Task[int]:
        if self._task is None:
            self._task = self._loop.create_task(self._take(), name="snapshot")
            self._task.add_done_callback(self._taken)
        return self._task

    def _taken(self, task: asyncio.Task[int]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._failures = 0
        elif not self._stopped:
            # Each may have filled the disk for a moment, which the journal needs, too.
            retry_s = self._settings.snapshot_retry_s * 2 ** min(self._failures, _MAX_DOUBLINGS)
            self._failures += 1
            self._why = str(error)
            self._not_before = self._loop.time() + retry_s
            self._logger.error("no snapshot was taken, the log grows on", error=str(error), retry_s=retry_s)

    async def _take(self) -> int:
        begun_at = self._loop.time()
        copy = await self._host.copy_state()
        try:
            if copy.index < self.snapshot_index and self._broken:
                raise OSError("the rows are of before the snapshot that is broken")
            if copy.index <= self.snapshot_index and not self._broken:
                return self.snapshot_index
            mark = self.log.committed_bytes
            # Everything behind the newest snapshot is known, and no copy is older than that.
            meta = raft_pb2.SnapshotMeta(
                index=copy.index,
                term=copy.term,
                membership=self._memberships.at(copy.index).encode(),
                level=copy.level,
                recovery_epoch=copy.recovery_epoch,
                at_us=copy.at_us,
            )
            written = await self._writing(lambda: self.snapshots.write(meta, copy.chunks()))
        finally:
            await self._writing(copy.close)
        former, self.latest, self._mark_bytes = self.latest, written, mark
        if self._broken and former is not None:
            flaw, self._broken = self._broken, ""
            await self.pieces(lambda: self.snapshots.put_aside(former, flaw))
            self._suspects.discard(former.index)
        took_s = round(self._loop.time() - begun_at, 3)
        self._logger.info("a snapshot was taken", index=written.index, size_bytes=written.size_bytes, took_s=took_s)
        await self._forget()
        return written.index

    # What turned out to be broken

    def suspects(self, meta: raft_pb2.SnapshotMeta) -> bool:
        """Whether this snapshot is not to be sent before it is known to be whole."""
        return meta.index in self._suspects

    def suspect(self, meta: raft_pb2.SnapshotMeta) -> None:
        """A peer could make nothing of it: read it again, and take another one if it is broken."""
        if meta.index not in self._suspects and not self._stopped:
            self._suspects.add(meta.index)
            self._spawn(self._check(meta), "check a snapshot")

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        self._checks.add(task := self._loop.create_task(work, name=name))
        task.add_done_callback(self._checks.discard)

    async def _look(self) -> None:
        """The trouble is over when the broken one was replaced, and removed by whoever looked at the disk."""
        with suppress(OSError):
            kept = await self.pieces(self.snapshots.kept_broken)
            if not kept and not self._broken:
                self._rotten = ""

    async def _check(self, meta: raft_pb2.SnapshotMeta) -> None:
        with suppress(Abandoned):
            flaw = await self._writing(lambda: self.snapshots.flaw(meta))
            if flaw:
                self._rotten, self._look_at = f"entry {meta.index}: {flaw}", self._loop.time() + _LOOK_S
            if flaw and meta.index == self.snapshot_index:
                # A start without a snapshot could not go on from this log: it stays until another one stands.
                self._broken = flaw
                self._logger.error(
                    "the newest snapshot is broken, another one is taken", index=meta.index, why=flaw
                )
                with suppress(OSError):
                    await self.take()
                return
            if flaw:
                await self.pieces(lambda: self.snapshots.put_aside(meta, flaw))
            self._suspects.discard(meta.index)

    # What is still needed of the past

    def hold(self, peer: str, index: int) -> None:
        """A peer is sent the snapshot that ends at `index`, and will need the log behind it."""
        self._held[peer] = index

    def release(self, peer: str) -> None:
        self._held.pop(peer, None)

    async def _forget(self) -> None:
        held = list(self._held.values())
        await self.pieces(lambda: self.snapshots.prune(held))
        self._trim()

    def _trim(self) -> None:
        """Forget what the newest snapshot has, save what slow followers are likely to need."""
        settings, log = self._settings, self.log
        upto = log.keep_point(
            min(self.snapshot_index, log.commit_index), settings.keep_entries, settings.keep_bytes
        )
        crowded = (
            log.last_log_index - log.base_index > settings.max_log_entries
            or log.held_bytes > settings.max_log_bytes
        )
        if not crowded:
            upto = min([upto, *self._held.values()])
        self._trim_some(upto)

    def _trim_some(self, upto: int) -> None:
        """In steps, between which messages get through."""
        log = self.log
        log.trim(min(upto, log.base_index + _TRIM_STEP))
        if log.base_index < upto and not self._stopped:
            self._loop.call_soon(self._trim_some, upto)
        elif log.base_index:
            self._memberships.forget_before(log.base_index)
            self._writer.truncate(log.base_index)

    async def read(self, meta: raft_pb2.SnapshotMeta, offset: int) -> bytes:
        """One piece of a snapshot. Raises OSError."""
        return await self.pieces(lambda: self.snapshots.read(meta, offset, self._settings.piece_bytes))

    def halt(self) -> None:
        """Begin nothing more, and give up what can be given up."""
        self._stopped = True
        self.snapshots.halt()

    async def stop(self) -> None:
        """End what is under way, and close the files. What does not end in time is left to itself."""
        self.halt()
        ending = self._loop.create_task(self._end(), name="end of snapshots")
        await asyncio.wait([ending], timeout=self._settings.stop_s)
        if not ending.done():
            # A copy, or a disk that hangs. Nothing that it leaves counts, and the next start sweeps it.
            self.snapshots.leave()
            for task in (ending, self._task, *self._checks):
                if task is not None:
                    task.cancel()
            self._logger.warning("a snapshot does not end and is left behind", waited_s=self._settings.stop_s)

    async def _end(self) -> None:
        if under_way := [*self._checks, *([self._task] if self._task is not None else [])]:
            await asyncio.wait(under_way)
        await self.pieces(self.snapshots.close)
