"""A leader's side of installing snapshots: what goes to a peer whose next entry the log no longer holds.

The peer is asked how much it has, and sent what follows, a few pieces ahead of its answers. Whatever gets lost,
doubled or late only costs time: who does not get further is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from cortex.v1 import raft_pb2
from node.consensus.raftos.progress import Progress
from node.consensus.raftos.state import RaftState
from node.consensus.raftos.wire import Data

_PATIENCE = 3
"""After so many questions without an answer the log is no longer held back for a peer."""


@dataclass(slots=True)
class _Transfer:
    peer: str
    meta: raft_pb2.SnapshotMeta
    moved_at: float
    """When the peer last got further, or was asked."""
    begun: bool = False
    """The peer has answered: it gets this one, as long as the log goes on behind it; else the newest."""
    asking: bool = True
    """Nothing is sent before the peer has said how much it has."""
    unanswered: int = 0
    """Questions since the last answer."""
    acked: int = 0
    sent: int = 0
    reader: asyncio.Task[None] | None = None


class Sending:
    """The snapshots that one leader has on their way, one per peer at most."""

    def __init__(self, state: RaftState) -> None:
        self._state = state
        self._life = state.life
        self._log = structlog.get_logger()
        self.transfers: dict[str, _Transfer] = {}
        self._returning: dict[str, float] = {}
        """Peers that have theirs and begin anew with it, and until when the log waits for them."""

    def serve(self, progress: Progress, round_: int) -> None:
        """The peer needs entries that the log no longer holds: see that it gets a snapshot."""
        progress.rewind(progress.next_index)
        transfer, meta = self.transfers.get(progress.id), self._life.latest
        if transfer is not None and (transfer.begun or transfer.meta is meta) and self._reaches(transfer):
            return
        self.drop(progress.id)
        self._wait_no_more(progress.id)
        if meta is not None and not self._life.suspects(meta):
            self.transfers[progress.id] = transfer = _Transfer(progress.id, meta, self._state.loop.time())
            self._log.info(
                "a peer needs a snapshot", peer=progress.id, index=meta.index, size_bytes=meta.size_bytes
            )
            self._ask(transfer, round_)

    def _reaches(self, transfer: _Transfer) -> bool:
        """Whether the log still goes on behind what is sent."""
        return transfer.meta.index >= self._life.log.base_index

    def drop(self, peer: str) -> None:
        """It needs no snapshot, or not this one."""
        transfer = self.transfers.pop(peer, None)
        if transfer is not None:
            self._life.release(peer)
            if transfer.reader is not None:
                transfer.reader.cancel()

    def stop(self) -> None:
        for peer in list(self.transfers):
            self.drop(peer)
        for peer in list(self._returning):
            self._wait_no_more(peer)

    def tick(self, members: Mapping[str, Progress], round_: int) -> None:
        """Called at every heartbeat: whoever did not get further is asked again, who is gone is forgotten."""
        now = self._state.loop.time()
        for peer, until in list(self._returning.items()):
            if peer not in members or now >= until:
                self._wait_no_more(peer)
        for peer, transfer in list(self.transfers.items()):
            if peer not in members:
                self.drop(peer)
            elif now - transfer.moved_at >= self._state.settings.piece_retry_s:
                transfer.asking, transfer.moved_at = True, now
                transfer.unanswered += 1
                if transfer.unanswered > _PATIENCE:
                    self._life.release(peer)
                self._ask(transfer, round_)

    def answered(self, progress: Progress, data: Data) -> None:
        """The peer says how much it has."""
        transfer = self.transfers.get(progress.id)
        if transfer is None or data["index"] != transfer.meta.index:
            return
        if data["installed"]:
            self.drop(progress.id)
            progress.matched(transfer.meta.index)
            progress.rewind(progress.next_index)
            # Without what follows it would need the next snapshot when it is back, and so on for ever.
            self._life.hold(progress.id, transfer.meta.index)
            self._returning[progress.id] = self._state.loop.time() + self._state.settings.return_s
            return
        transfer.begun, transfer.unanswered = True, 0
        self._life.hold(progress.id, transfer.meta.index)
        have = min(data["next_offset"], transfer.meta.size_bytes)
        if transfer.asking:
            if not have and transfer.sent == transfer.meta.size_bytes:
                # It has had all, and refused it, or lost it: what is sent may be no snapshot any more.
                self._distrust(transfer)
                return
            transfer.asking = False
            transfer.acked = transfer.sent = have
        elif have > transfer.acked:
            transfer.acked, transfer.sent = have, max(transfer.sent, have)
            transfer.moved_at = self._state.loop.time()
        if transfer.reader is None:
            transfer.reader = self._state.loop.create_task(self._read(transfer, data["request_id"]))

    def accepted(self, progress: Progress) -> None:
        """The peer takes entries: who is back, and has all that the log may forget, is waited for no more."""
        if self._returning and progress.match_index >= self._life.snapshot_index:
            self._wait_no_more(progress.id)

    def _wait_no_more(self, peer: str) -> None:
        if self._returning.pop(peer, None) is not None:
            self._life.release(peer)

    async def _read(self, transfer: _Transfer, round_: int) -> None:
        """Send what the peer has room for."""
        window = self._state.settings.max_pieces * self._state.settings.piece_bytes
        try:
            while not transfer.asking and transfer.sent < min(transfer.acked + window, transfer.meta.size_bytes):
                offset = transfer.sent
                data = await self._life.read(transfer.meta, offset)
                if transfer.asking or transfer.sent != offset:
                    continue
                if not data:
                    raise OSError("the file is shorter than it was")
                transfer.sent += len(data)
                self._send(transfer, offset, data, round_)
        except OSError as error:
            self._log.warning("a snapshot cannot be read", index=transfer.meta.index, error=str(error))
            self._distrust(transfer)
        finally:
            transfer.reader = None

    def _distrust(self, transfer: _Transfer) -> None:
        """Send nothing more of it before it was read again; whoever needs one is served anew then."""
        self.drop(transfer.peer)
        self._life.suspect(transfer.meta)

    def _ask(self, transfer: _Transfer, round_: int) -> None:
        self._send(transfer, 0, b"", round_)

    def _send(self, transfer: _Transfer, offset: int, data: bytes, round_: int) -> None:
        message = {
            "type": "install_snapshot",
            "term": self._state.storage.term,
            "meta": transfer.meta,
            "offset": offset,
            "data": data,
            "request_id": round_,
        }
        self._state.server.send(message, transfer.peer)
