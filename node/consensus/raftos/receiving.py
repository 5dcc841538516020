"""A follower's side of installing snapshots: pieces become a draft, it becomes a snapshot, the host begins anew."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

import structlog

from cortex.v1 import raft_pb2
from node.consensus.port import Host
from node.consensus.raftos.loglife import LogLife
from node.consensus.raftos.snapshot_format import SnapshotBroken
from node.consensus.raftos.wire import Data
from node.consensus.raftos.writer import Writer

_MAX_WAITING = 16
"""Pieces that wait for the disk; more are dropped, and sent again."""
_SILENT_S = 10.0
"""After a word about a failure, which comes again with every piece."""


class Receiver:
    """Outlives the roles: a draft goes on under the next leader, if that one has the same snapshot."""

    def __init__(
        self, life: LogLife, writer: Writer, host: Host, answer: Callable[[Data, int, bool], None]
    ) -> None:
        """`answer` gets the piece, how much of the snapshot is here, and whether it is installed."""
        self._life, self._writer, self._host, self._answer = life, writer, host, answer
        self._logger = structlog.get_logger()
        self._waiting: deque[Data] = deque()
        self._task: asyncio.Task[None] | None = None
        self._wanted = (0, 0)
        """Term of the leader and index of the snapshot that is received."""
        self._installed = 0
        self._silent_until = -math.inf
        self._stopped = False

    def take(self, data: Data) -> None:
        """A piece of this term's leader."""
        meta: raft_pb2.SnapshotMeta = data["meta"]
        if meta.index <= max(self._installed, min(self._life.log.commit_index, self._writer.durable_index)):
            self._answer(data, meta.size_bytes, True)
            return
        if self._installed or (data["term"], meta.index) < self._wanted or len(self._waiting) >= _MAX_WAITING:
            return
        self._wanted = (data["term"], meta.index)
        self._waiting.append(data)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="receive a snapshot")

    def halt(self) -> None:
        """Take nothing more."""
        self._stopped = True
        self._waiting.clear()

    async def _work(self) -> None:
        try:
            while self._waiting and not self._stopped:
                data = self._waiting.popleft()
                if (data["term"], data["meta"].index) >= self._wanted:
                    await self._receive(data)
        except OSError as error:
            if not self._stopped:
                self._complain(error)
            self._waiting.clear()
        finally:
            self._task = None

    async def _receive(self, data: Data) -> None:
        meta: raft_pb2.SnapshotMeta = data["meta"]
        snapshots = self._life.snapshots

        def write() -> int:
            have = snapshots.begin(meta)
            if data["data"]:
                have = snapshots.add(data["offset"], data["data"])
            if have == meta.size_bytes:
                snapshots.finish()
            return have

        try:
            have = await self._life.pieces(write)
        except SnapshotBroken as error:
            self._complain(error)
            have = 0
        if self._stopped:
            return
        whole = 0 < have == meta.size_bytes
        if whole:
            self._installed = meta.index
            self._logger.info("a snapshot is here, this voter begins anew with it", index=meta.index)
        self._answer(data, have, whole)
        if whole:
            self._host.installed()

    def _complain(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._silent_until:
            self._silent_until = now + _SILENT_S
            self._logger.error("a snapshot cannot be received, it will be sent again", error=str(error))
