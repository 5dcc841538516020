"""`cortexd snapshot`: save, inspect, restore."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cortex.v1 import raft_pb2, types_pb2
from node.consensus.membership import Membership
from node.consensus.raftos.journal import Base, Journal
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.snapshots import Snapshots
from node.core.faults import Code, Fault
from node.core.model import LEVEL
from node.env import Env, RealDisk
from node.recovery.examine import JOURNAL, SNAPSHOTS, Examined, examined, opened
from node.recovery.files import SnapshotFile, open_snapshot, save_snapshot
from node.recovery.replay import rebase, replay
from node.startup import open_newest
from node.store.census import census
from node.store.errors import StoreError
from node.store.replace import sync_folder
from node.store.store import FILE, Store


@dataclass(frozen=True, slots=True)
class Content:
    """What is in a snapshot: its meta, rows by kind, tasks by state, whether this cluster's secret fits."""

    meta: raft_pb2.SnapshotMeta
    rows: dict[str, int]
    tasks: dict[str, int]


def inspect(path: Path) -> Content:
    """Verify a snapshot, down to the digest over its rows, and count what it holds. Raises Fault."""
    file = open_snapshot(path)
    with working_folder(Path(tempfile.gettempdir())) as work, store_of(file, work) as store:
        tasks = {_state_name(state): count for state, count in sorted(store.counts().by_state.items())}
        return Content(file.meta, census(work / FILE), tasks)


def _state_name(state: int) -> str:
    return types_pb2.TaskState.Name(types_pb2.TaskState.ValueType(state)).removeprefix("TASK_STATE_").lower()


def save_stopped(data: Path, cluster_id: str, path: Path) -> raft_pb2.SnapshotMeta:
    """Save what the folder of a stopped voter holds, as far as it was known to be committed. Raises Fault."""
    with examined(data, cluster_id) as found:
        if found.journal_flaw or found.journal is None:
            raise Fault(Code.WRONG_STATE, found.journal_flaw, "See `cortexd repair`, or save from another voter.")
        with translated():
            store = open_newest(Env.real(found.work), cluster_id, lambda: opened(found.work / FILE))
            try:
                if store.saved().index < found.committed_index:
                    replay(store, [one for one in found.journal.entries if one.index <= found.committed_index])
                membership = found.membership_at(store.saved().index)
                return save_snapshot(path, meta_of(store, cluster_id, membership), chunks_of(store))
            finally:
                store.close()


def restore(path: Path, data: Path, cluster_id: str, node_id: str, address: str) -> raft_pb2.SnapshotMeta:
    """Make of an empty folder one from which `node_id` goes on alone in the next recovery epoch. Raises Fault."""
    used = [name for name in (JOURNAL, SNAPSHOTS, FILE) if (data / name).exists()]
    if used:
        message = f"The folder {data} is in use: it has {', '.join(used)}."
        raise Fault(Code.ALREADY_EXISTS, message, "Name a new folder, with nothing but the cluster's secret in it.")
    file = open_snapshot(path)
    if file.meta.level > LEVEL:
        message = f"The snapshot needs feature level {file.meta.level}; this release knows {LEVEL}."
        raise Fault(Code.UNSUPPORTED, message, "Restore it with the release that made it, or a later one.")
    with working_folder(data) as work, store_of(file, work) as store:
        meta = begin_alone(store, data, cluster_id, node_id, address, file.meta.term, "cortexd snapshot restore")
    begin_log(data, meta)
    return meta


def begin_alone(
    store: Store, data: Path, cluster_id: str, node_id: str, address: str, term: int, actor: str
) -> raft_pb2.SnapshotMeta:
    """Put a snapshot into the folder `data` that holds the rows of `store` in the next recovery epoch.

    It counts at the next start from the moment in which it has its name, and voids the log that is there.
    Where none is there, one that begins behind it must follow: see begin_log(). Raises Fault.
    """
    with translated():
        state = rebase(store, {node_id: address}, Env.real(data).clock.wall_us(), term, actor)
        membership = Membership.of_voters({node_id: address})
        meta = meta_of(store, cluster_id, membership)
        assert meta.index == state.index
        return Snapshots(RealDisk(data / SNAPSHOTS), cluster_id).write(meta, chunks_of(store))


def make_snapshot(data: Path, found: Examined, cluster_id: str) -> raft_pb2.SnapshotMeta:
    """Put a snapshot of the rows that were looked at in the place of the broken one. Raises Fault."""
    with translated():
        store = opened(found.work / FILE)
        try:
            snapshots = Snapshots(RealDisk(data / SNAPSHOTS), cluster_id)
            snapshots.latest()
            membership = found.membership_at(store.saved().index)
            return snapshots.write(meta_of(store, cluster_id, membership), chunks_of(store))
        finally:
            store.close()


def begin_log(data: Path, meta: raft_pb2.SnapshotMeta) -> None:
    """Make the log that goes on behind a snapshot, in the place of what is there: without one no voter starts.

    Raises Fault.
    """
    with translated():
        if (data / JOURNAL).exists():
            shutil.rmtree(data / JOURNAL)
        journal = Journal(RealDisk(data / JOURNAL), Env.real(data).random, RaftSettings().segment_bytes)
        journal.begin_behind(Base(meta.index, meta.term))
        journal.close()
        sync_folder(data)


@contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    """A folder for one piece of work. Raises Fault."""
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="cortexd-", dir=parent))
    except OSError as error:
        message = f"The folder {parent} cannot be written: {error.strerror}."
        raise Fault(Code.INVALID, message, "Make it writable, or name another one.") from None
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def store_of(file: SnapshotFile, work: Path) -> Iterator[Store]:
    """The rows of a snapshot, checked, as a store in `work`."""
    with translated():
        store = opened(work / FILE)
        try:
            store.replace(file.chunks())
            yield store
        finally:
            store.close()


@contextmanager
def translated() -> Iterator[None]:
    """What the store and the disk raise becomes Fault."""
    try:
        yield
    except StoreError as error:
        raise Fault(Code.INVALID, error.message, error.remedy) from None
    except OSError as error:
        message = f"The disk refused: {error.strerror or error}."
        raise Fault(Code.INVALID, message, "Check who may write the folder, and that it has room.") from None


def meta_of(store: Store, cluster_id: str, membership: Membership) -> raft_pb2.SnapshotMeta:
    """Without size and hash."""
    copy = store.copy()
    try:
        return raft_pb2.SnapshotMeta(
            cluster_id=cluster_id,
            index=copy.index,
            term=copy.term,
            membership=membership.encode(),
            level=copy.level,
            recovery_epoch=copy.recovery_epoch,
            at_us=copy.at_us,
        )
    finally:
        copy.close()


def chunks_of(store: Store) -> Iterator[bytes]:
    """The bytes of a copy."""
    copy = store.copy()
    try:
        yield from copy.chunks()
    finally:
        copy.close()
