"""A log in etcd that begins with a state from elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence

from cortex.v1 import raft_pb2
from node.consensus.etcd.keys import Keys, encode_head
from node.consensus.etcd.snapshots import CHUNK_BYTES, cut_evenly
from node.consensus.etcd.store import (
    Condition,
    CreatedAt,
    Delete,
    Etcd,
    Get,
    Operation,
    Outcome,
    Put,
    Refused,
    Unreachable,
)
from node.core.faults import Code, Fault

_TRIES = 5
_RETRY_S = 0.5


async def import_state(etcd: Etcd, keys: Keys, meta: raft_pb2.SnapshotMeta, chunks: Iterator[bytes]) -> None:
    """Write the state and make it, in one step at the end, what the cluster begins with.

    `meta` says everything but size and hash, which it has on return. Raises Fault; then no cluster lives there, and
    it may be tried again.
    """
    if keys.cluster in (await _do(etcd, [], [Get(keys.cluster)])).found:
        raise _in_use(keys)
    # What an earlier try left.
    await _do(etcd, [CreatedAt(keys.cluster, 0)], [Delete(*keys.all_chunks)])
    digest, meta.size_bytes = hashlib.sha256(), 0
    for number, chunk in enumerate(cut_evenly(chunks)):
        digest.update(chunk)
        meta.size_bytes += len(chunk)
        await _do(etcd, [CreatedAt(keys.cluster, 0)], [Put(keys.chunk(meta.index, number), chunk)])
    meta.sha256 = digest.digest()
    await _verify(etcd, keys, meta)
    begin: list[Operation] = [
        Put(keys.cluster, meta.cluster_id.encode()),
        Put(keys.head, encode_head(meta.index, meta.term)),
        Put(keys.base, b"%d" % meta.term),
        Put(keys.membership, meta.membership),
        Put(keys.snapshot, meta.SerializeToString()),
    ]
    if not (await _do(etcd, [CreatedAt(keys.cluster, 0)], begin)).succeeded:
        # Perhaps by this very transaction, whose answer was lost.
        found = (await _do(etcd, [], [Get(keys.snapshot)])).found
        if keys.snapshot not in found or found[keys.snapshot].value != meta.SerializeToString():
            raise _in_use(keys)


async def _verify(etcd: Etcd, keys: Keys, meta: raft_pb2.SnapshotMeta) -> None:
    """Read it back."""
    digest = hashlib.sha256()
    for number in range(-(-meta.size_bytes // CHUNK_BYTES)):
        key = keys.chunk(meta.index, number)
        found = (await _do(etcd, [], [Get(key)])).found
        digest.update(found[key].value if key in found else b"")
    if digest.digest() != meta.sha256:
        message = "What was written to etcd reads back differently."
        raise Fault(Code.INTERNAL, message, "See whether something else writes under this prefix, and try again.")


async def _do(etcd: Etcd, when: Sequence[Condition], then: Sequence[Operation]) -> Outcome:
    for tries in range(_TRIES):
        try:
            return await etcd.transact(when, then)
        except Unreachable as error:
            if tries == _TRIES - 1:
                message = f"etcd does not answer: {error}."
                raise Fault(Code.NO_LEADER, message, "See whether it runs, and try again.") from None
            await asyncio.sleep(_RETRY_S)
        except Refused as error:
            message = f"etcd refused: {error}."
            raise Fault(Code.INVALID, message, "Give it room (--quota-backend-bytes), and try again.") from None
    raise AssertionError


def _in_use(keys: Keys) -> Fault:
    message = f"A cluster lives in etcd under {keys.prefix.decode()} already."
    return Fault(Code.ALREADY_EXISTS, message, "Choose another prefix, or delete its keys if it is not needed.")
