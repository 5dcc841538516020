"""What stands where a daemon's state machine does: one that applies nothing, one that applies into SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from cortex.v1.types_pb2 import StoredReply
from node.consensus.port import Consensus, StateCopy
from node.core.model import Change, Key, Table
from node.env import Env
from node.saver import Saver
from node.store.store import FILE, Store

# Rows that a value may become: each is new at first, and is overwritten after so many others.
_KEYS = 100_000
# Entries of one pass of the loop, as in a daemon.
_BATCH = 256
_PATIENCE_S = 60.0


class NoDaemon:
    """A host that applies nothing."""

    def attach(self, engine: Consensus) -> None:
        """The engine is made with its host, so it comes second."""

    def start(self) -> None:
        pass

    async def stop(self) -> None:
        """Once the engine has stopped."""

    async def applied_through(self, index: int) -> None:
        """Return once this host has applied `index`."""

    async def saved_through(self, index: int) -> None:
        """Return once this host has applied `index`, and its disk has that."""

    def stamp(self, proposal: bytes) -> bytes:
        return proposal

    def noop(self) -> bytes:
        return b""

    def committed(self) -> None:
        pass

    def role_changed(self) -> None:
        pass

    def observe_clock(self, peer: str, wall_us: int) -> None:
        pass

    def applied(self) -> tuple[int, int, bytes]:
        return 0, 0, b""

    def recovery_epoch(self) -> int:
        return 0

    def peer_digest(self, peer: str, index: int, digest: bytes) -> None:
        pass

    def agreed_digest(self) -> tuple[int, bytes]:
        return 0, b""

    def check_digest(self, index: int, digest: bytes) -> None:
        pass

    async def copy_state(self) -> StateCopy:
        raise OSError("there is no state")

    def installed(self) -> None:
        pass

    def fatal(self, error: Exception) -> None:
        raise error


class SqliteHost(NoDaemon):
    """Each value becomes a row of the daemon's own store, through the daemon's own saver: on the loop it is applied
    and answered, and transactions with the applied index follow in a thread. Snapshots are copies of the database.
    """

    def __init__(self, env: Env) -> None:
        self._env = env
        self._store = Store(env.data / FILE)
        self._store.open()
        self._saver = Saver(self._store, env.make_offload("saver"), 0, self._saved, self._save_health)
        self._copies = env.make_offload("copies")
        self._engine: Consensus | None = None
        self._pumping = False
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.index = 0

    def attach(self, engine: Consensus) -> None:
        self._engine = engine

    def start(self) -> None:
        self._saver.start()

    async def stop(self) -> None:
        self._pumping = True
        self._store.end_copies()
        await self._saver.stop()
        self._store.close()

    async def applied_through(self, index: int) -> None:
        if index > self.index:
            await self._waiting.setdefault(index, asyncio.get_running_loop().create_future())

    async def saved_through(self, index: int) -> None:
        await self.applied_through(index)
        await self._saver.flush(index, _PATIENCE_S)

    def committed(self) -> None:
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def applied(self) -> tuple[int, int, bytes]:
        return self.index, 0, b""

    async def copy_state(self) -> StateCopy:
        return await self._copies(self._store.copy)

    def _pump(self) -> None:
        """A batch in each pass of the loop, and none while SQLite is too far behind."""
        self._pumping = False
        assert self._engine is not None
        if self._saver.full:
            return
        for entry in self._engine.entries(self.index, _BATCH):
            index = self.index = entry.index
            key = str(index % _KEYS)
            row = StoredReply(request_id=key, index=index, at_us=index, reply=entry.data)
            self._saver.add((Change(Table.REPLIES, f"\0{key}", None, row),), index, entry.term, index, 0, 1)
            if self._waiting and (waiting := self._waiting.pop(index, None)) is not None and not waiting.done():
                waiting.set_result(None)
        if self.index < self._engine.commit_index:
            self.committed()

    def _saved(self, _ended: Iterable[tuple[Key, int]]) -> None:
        self.committed()

    def _save_health(self, error: Exception | None) -> None:
        if error is not None:
            raise error
