"""SaveSnapshot: a copy of the whole state, streamed to whoever backs it up."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import raft_pb2
from node.consensus.port import StateCopy
from node.core.faults import Code, Fault
from node.env import Env
from node.replica import Replica


class SnapshotStreams:
    """Of one daemon, one at a time: each copy takes as much room on the disk as the state."""

    def __init__(self, env: Env, replica: Replica, cluster_id: str) -> None:
        self._replica = replica
        self._cluster_id = cluster_id
        self._offload = env.make_offload("backup")
        self._busy = False

    async def stream(self) -> AsyncIterator[pb.SaveSnapshotReply]:
        """Meta without size and hash, the state in order, the whole meta. Raises Fault."""
        if self._busy:
            raise Fault(
                Code.OVERLOADED,
                "This daemon is sending a snapshot already.",
                "Try again when that one is through, or ask another daemon.",
            )
        self._busy = True
        try:
            copy = await self._replica.copy_state()
            try:
                async for reply in self._pieces(copy):
                    yield reply
            finally:
                await self._offload(copy.close)
        except OSError as error:
            raise Fault(
                Code.INTERNAL,
                f"No copy of the state could be made: {error}",
                "Make room on the file system of the daemon's data folder, which holds the copy for a while.",
            ) from None
        finally:
            self._busy = False

    async def _pieces(self, copy: StateCopy) -> AsyncIterator[pb.SaveSnapshotReply]:
        try:
            membership = self._replica.consensus.membership_at(copy.index)
        except LookupError as error:
            message = f"The state cannot be saved yet: {error}."
            raise Fault(Code.NO_LEADER, message, "Try again in a second, or ask another daemon.") from None
        meta = raft_pb2.SnapshotMeta(
            cluster_id=self._cluster_id,
            index=copy.index,
            term=copy.term,
            membership=membership.encode(),
            level=copy.level,
            recovery_epoch=copy.recovery_epoch,
            at_us=copy.at_us,
        )
        yield pb.SaveSnapshotReply(meta=meta)
        chunks: Iterator[bytes] = copy.chunks()
        digest = hashlib.sha256()
        while data := await self._offload(lambda: next(chunks, b"")):
            digest.update(data)
            meta.size_bytes += len(data)
            yield pb.SaveSnapshotReply(data=data)
        meta.sha256 = digest.digest()
        yield pb.SaveSnapshotReply(meta=meta)
