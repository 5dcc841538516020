"""A voter whose host applies what is committed, so that its state can be copied, sent and installed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

from cortex.v1 import raft_pb2
from node.consensus.membership import Membership
from node.consensus.port import Committed, StateCopy
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.snapshots import Snapshots
from node.consensus.raftos.wire import Data
from tests.consensus.rigs import CLUSTER, ME, SEGMENT_BYTES, B, C, Host, Ours
from tests.sim.engine_state import AppliedState, Copy, newest_state

SMALL: dict[str, Any] = {
    "segment_bytes": 4096,
    "snapshot_entries": 20,
    "keep_entries": 5,
    "piece_bytes": 100,
    "max_pieces": 3,
    "piece_retry_s": 0.5,
    "snapshot_retry_s": 2.0,
}
"""Limits under which a test sees in twenty entries what a cluster sees in a hundred thousand."""


class Keeper(Host):
    """A host that keeps its state in memory; a restart finds the newest snapshot, or what `saved` says."""

    def __init__(self) -> None:
        super().__init__()
        self.state = AppliedState()
        self.copies = 0
        self.open_copies = 0
        self.most_open_copies = 0
        self.installs = 0
        self.fail_copy = False
        self.copying: Callable[[], Any] = lambda: None
        """Awaited while a copy is being made, when it returns something."""

    def committed(self) -> None:
        assert self.engine is not None
        self.state.apply(self.engine.entries(self.state.index, self.engine.commit_index - self.state.index))

    def applied(self) -> tuple[int, int, bytes]:
        return self.state.index, 0, b""

    async def copy_state(self) -> StateCopy:
        self.copies += 1
        self.open_copies += 1
        self.most_open_copies = max(self.most_open_copies, self.open_copies)
        copy = _CountedCopy(self, AppliedState(list(self.state.lines)))
        if (waiting := self.copying()) is not None:
            await waiting
        if self.fail_copy:
            self.open_copies -= 1
            raise OSError("the state cannot be copied")
        return copy

    def installed(self) -> None:
        self.installs += 1


class _CountedCopy(Copy):
    def __init__(self, keeper: Keeper, state: AppliedState) -> None:
        super().__init__(state, 100)
        self._keeper = keeper

    def close(self) -> None:
        self._keeper.open_copies -= 1
        super().close()


class Kept(Ours):
    """Ours with a Keeper as host."""

    def __init__(self, voters: int = 3, me: str = ME, **limits: Any) -> None:
        super().__init__(voters=voters, settings=RaftSettings(**{**SMALL, **limits}), me=me)
        self.host: Keeper = Keeper()

    async def start(self) -> None:
        snapshots = Snapshots(self.machine.disk("snapshots"), CLUSTER)
        newest = newest_state(snapshots)
        if newest is None or newest.index <= self.host.state.index:
            newest = AppliedState(list(self.host.state.lines))
        installs, self.host = self.host.installs, Keeper()
        self.host.state, self.host.installs = newest, installs
        await super().start()

    async def begin_anew(self) -> None:
        """What a daemon does when a snapshot was installed."""
        await self.life.spawn(self.engine.stop())
        self.machine.kill()
        await self.start()

    async def write(self, count: int, size: int = 60) -> None:
        """Propose so many entries at a leader and wait until they are committed; the peers must be played."""
        calls = [self.propose(f"{number}".ljust(size, ".")) for number in range(count)]
        await asyncio.gather(*calls)

    async def take_snapshot(self) -> int:
        """Take one now; its last entry. Raises OSError."""
        return await self.engine._life.take()

    def acknowledge_appends(self, *peers: str) -> None:
        """From now on these peers answer every append as if they had all."""

        def answer(data: dict[str, Any]) -> None:
            if data["type"] == "append_entries" and self.sent[-1]["to"] in peers:
                last = data["prev_log_index"] + len(data["entries"])
                asyncio.get_running_loop().call_soon(
                    self.appended, self.sent[-1]["to"], data["term"], last, data["request_id"]
                )

        self.on_sent = answer

    @property
    def held(self) -> list[int]:
        """Indexes of the entries in memory."""
        return [entry.index for entry in self.engine._log.entries]

    @property
    def base(self) -> tuple[int, int]:
        return self.engine._log.base_index, self.engine._log.base_term

    def piece(
        self,
        leader: str,
        term: int,
        meta: raft_pb2.SnapshotMeta,
        offset: int = 0,
        data: bytes = b"",
        request: int = 1,
    ) -> None:
        """A piece of a snapshot arrives; without `data` it asks how much is here."""
        self.give(
            {
                "type": "install_snapshot",
                "sender": leader,
                "term": term,
                "meta": meta,
                "offset": offset,
                "data": data,
                "request_id": request,
            }
        )

    def received(
        self, peer: str, term: int, index: int, next_offset: int, *, installed: bool = False, request: int = 1
    ) -> None:
        """A peer says how much it has of the snapshot at `index`."""
        self.give(
            {
                "type": "install_snapshot_response",
                "sender": peer,
                "term": term,
                "index": index,
                "next_offset": next_offset,
                "installed": installed,
                "request_id": request,
            }
        )


async def alone(**limits: object) -> Kept:
    """A single voter that leads."""
    voter = Kept(voters=1, **limits)
    await voter.start()
    while voter.role != "leader":
        await voter.settle()
    return voter


async def taken(voter: Kept) -> None:
    """Wait for the next snapshot, and until the journal was cut behind it."""
    before = voter.engine.snapshot_index
    while voter.engine.snapshot_index == before:
        await voter.settle()
    await voter.settle()


async def a_leader(entries: int = 60, **limits: Any) -> tuple[Kept, int]:
    """It leads with C's help, has taken a snapshot and forgot what B needs, which was silent; and its term."""
    voter = Kept(**limits)
    await voter.start()
    term = await voter.lead()
    voter.acknowledge_appends(C)
    await voter.write(entries)
    while not voter.engine.snapshot_index:
        await voter.settle()
    await voter.settle()
    assert voter.engine.snapshot_index == entries + 1
    assert voter.base[0] > 0
    return voter, term


def pieces(voter: Kept, peer: str = B) -> list[Data]:
    """What left of a snapshot for `peer` since the last call."""
    return [data for data in voter.taken("install_snapshot") if data["to"] == peer]


def a_state(last: int, term: int = 1) -> AppliedState:
    """Of entries 1 .. last, all of one term."""
    state = AppliedState()
    state.apply([Committed(index, term, f"{index}/{term}".encode()) for index in range(1, last + 1)])
    return state


def meta_of(state: AppliedState, membership: Membership, cluster_id: str = CLUSTER) -> raft_pb2.SnapshotMeta:
    data = state.encode()
    return raft_pb2.SnapshotMeta(
        cluster_id=cluster_id,
        index=state.index,
        term=state.lines[-1][0],
        membership=membership.encode(),
        size_bytes=len(data),
        sha256=hashlib.sha256(data).digest(),
        level=1,
    )


__all__ = ["SEGMENT_BYTES", "Keeper", "Kept", "a_leader", "a_state", "alone", "meta_of", "pieces", "taken"]
