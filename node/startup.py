"""What a voter begins with: its store, or the newest snapshot where that has more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import structlog

from cortex.v1 import raft_pb2
from node.consensus.raftos.snapshots import PIECE_BYTES, Snapshots, newest_index
from node.env import Env
from node.store.checks import ROWS_LIMIT
from node.store.store import Store


def open_newest(env: Env, cluster_id: str, open_store: Callable[[], Store]) -> Store:
    """The store; one that is older than the newest whole snapshot is replaced by it first.

    Blocks. Raises StoreError, OSError.
    """
    store = open_store()
    try:
        disk, saved = env.open_disk("snapshots"), store.saved()
        # Reading a snapshot whole takes time, and mostly the store is ahead of it.
        if newest_index(disk) <= saved.index:
            return store
        snapshots = Snapshots(disk, cluster_id)
        meta = snapshots.latest()
        if meta is not None and meta.index > saved.index:
            store.replace(_chunks(snapshots, meta), ROWS_LIMIT)
            log = structlog.get_logger()
            log.info("the store begins with a snapshot", index=meta.index, former=saved.index)
    except BaseException:
        store.close()
        raise
    return store


def _chunks(snapshots: Snapshots, meta: raft_pb2.SnapshotMeta) -> Iterator[bytes]:
    for offset in range(0, meta.size_bytes, PIECE_BYTES):
        yield snapshots.read(meta, offset, PIECE_BYTES)
