"""The snapshots of one voter: which there are, which counts, and those that are being written or received.

A file has its name only once it is whole: it is written as a draft, synced, read back, renamed, and the folder
synced. A draft that was received is resumed after a restart; every piece of it was synced before the next was
written, so only the last one can be torn.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import structlog

from cortex.v1 import raft_pb2
from node.consensus.raftos.damage import OtherCluster
from node.consensus.raftos.snapshot_format import (
    SnapshotBroken,
    check_state,
    head_of,
    read_head,
    start_of,
    write_file,
)
from node.env import Disk, File

PIECE_BYTES = 1 << 20
"""No piece of a received snapshot is larger."""
_WHOLE, _TAKEN, _RECEIVED, _BROKEN = ".snap", ".snap.new", ".snap.part", ".snap.broken"
_NAMED = re.compile(r"[0-9]{20}(\.snap(?:\.new|\.part|\.broken)?)")


class Abandoned(OSError):
    """The voter stops: nobody waits for this snapshot any more."""

    def __init__(self) -> None:
        super().__init__("this voter has stopped")


class _Foreign(SnapshotBroken):
    """A snapshot of another cluster, whole perhaps."""

    def __init__(self, found: str, own: str) -> None:
        super().__init__(f"it belongs to cluster {found}, this is {own}")
        self.found, self.own = found, own


@dataclass(slots=True)
class _Draft:
    """A snapshot that is being received."""

    meta: raft_pb2.SnapshotMeta
    file: File
    start: int
    have: int


class Snapshots:
    """The snapshots of one voter. Methods block and raise OSError: call them through an Offload.

    latest() comes first. write() may run beside the others; those must not run beside each other.
    halt() and leave() may be called from anywhere, and end what runs with Abandoned.
    """

    def __init__(self, disk: Disk, cluster_id: str) -> None:
        self._disk = disk
        self._cluster_id = cluster_id
        self._log = structlog.get_logger()
        self._latest: raft_pb2.SnapshotMeta | None = None
        self._recovered = False
        self._draft: _Draft | None = None
        self._halted = False
        self._left = False

    def halt(self) -> None:
        """What is being written or verified ends soon, and its draft is removed."""
        self._halted = True

    def leave(self) -> None:
        """Nobody waits any more, and the folder may be another's: nothing in it is touched from now on."""
        self._halted = self._left = True

    def _check_halted(self) -> None:
        if self._halted:
            raise Abandoned

    def latest(self) -> raft_pb2.SnapshotMeta | None:
        """The newest snapshot that is whole. The first call verifies it, and puts aside what is broken.

        Raises OtherCluster, and nothing was changed.
        """
        if not self._recovered:
            self._recover()
            self._recovered = True
        return self._latest

    def _recover(self) -> None:
        for name in self._disk.names():
            if name.endswith(_WHOLE) and not is_snapshot(name):
                self._log.warning("a file that is no snapshot of this voter is left alone", file=name)
        for name in _names(self._disk, _TAKEN):
            self._disk.remove(name)
        for name in reversed(_names(self._disk, _WHOLE)):
            try:
                self._latest = self._verified(name, name)
                return
            except _Foreign as error:
                # It is the secret that is wrong: with the right one this snapshot will be needed.
                raise OtherCluster(error.found, error.own) from error
            except SnapshotBroken as error:
                self._put_aside(name, str(error))

    def _put_aside(self, name: str, why: str) -> None:
        """Rename a broken snapshot; one is kept."""
        self._log.error("a snapshot is broken and was put aside", file=name, why=why, renamed=_aside(name))
        for old in _names(self._disk, _BROKEN):
            self._disk.remove(old)
        self._disk.rename(name, _aside(name))
        self._disk.sync_folder()

    def kept_broken(self) -> str:
        """Name of the broken snapshot that is kept; empty when there is none."""
        return next(iter(_names(self._disk, _BROKEN)), "")

    def flaw(self, meta: raft_pb2.SnapshotMeta) -> str:
        """What is wrong with a snapshot that was whole once; empty when it still is. Raises Abandoned."""
        name = _name(meta.index, _WHOLE)
        try:
            return "" if self._verified(name, name) == meta else "it is another one"
        except Abandoned:
            raise
        except (SnapshotBroken, OSError) as error:
            return str(error)

    def put_aside(self, meta: raft_pb2.SnapshotMeta, why: str) -> None:
        """Keep a broken one under another name. A newer one, or one that was written in its place, must stand."""
        name = _name(meta.index, _WHOLE)
        if self._latest is not None and self._latest.index > meta.index and name in self._disk.names():
            self._put_aside(name, why)

    def write(self, meta: raft_pb2.SnapshotMeta, chunks: Iterable[bytes]) -> raft_pb2.SnapshotMeta:
        """Save a state; its meta, with size and hash. Verified and durable on return."""
        name = _name(meta.index, _TAKEN)
        if name in self._disk.names():
            self._disk.remove(name)
        file = self._disk.open(name, create=True)
        try:
            final = write_file(file, meta, self._cluster_id, self._until_halted(chunks))
        except Exception:
            file.close()
            self._remove_draft(name)
            raise
        file.close()
        try:
            self._keep(name, final)
        except Abandoned:
            self._remove_draft(name)
            raise
        except SnapshotBroken as error:
            self._remove_draft(name)
            raise OSError(f"what was written reads back differently: {error}") from error
        return final

    def _until_halted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._check_halted()
            yield chunk

    def _remove_draft(self, name: str) -> None:
        if not self._left:
            self._disk.remove(name)

    def _keep(self, draft: str, meta: raft_pb2.SnapshotMeta) -> None:
        """Give a draft its name if it is whole."""
        self._verified(draft, _name(meta.index, _WHOLE))
        self._check_halted()
        if _name(meta.index, _WHOLE) in self._disk.names():
            self._copy_aside(_name(meta.index, _WHOLE))
        self._disk.rename(draft, _name(meta.index, _WHOLE))
        self._disk.sync_folder()
        if self._latest is None or meta.index >= self._latest.index:
            self._latest = meta

    def _copy_aside(self, name: str) -> None:
        """Keep what is replaced, where there is room: the name itself must always be a snapshot's."""
        self._log.error("a snapshot is broken and is replaced", file=name, copy=_aside(name))
        for old in _names(self._disk, _BROKEN):
            self._disk.remove(old)
        source = self._disk.open(name)
        copy = self._disk.open(_aside(name), create=True)
        try:
            for offset in range(0, source.size(), PIECE_BYTES):
                copy.write(offset, source.read(offset, PIECE_BYTES))
            copy.sync()
        except OSError as error:
            self._log.warning("the broken snapshot is not kept", file=name, error=str(error))
            self._disk.remove(_aside(name))
        finally:
            source.close()
            copy.close()

    def read(self, meta: raft_pb2.SnapshotMeta, offset: int, limit: int) -> bytes:
        """Bytes of the state from `offset` on. Raises FileNotFoundError when it was pruned."""
        file = self._disk.open(_name(meta.index, _WHOLE))
        try:
            return file.read(start_of(meta) + offset, min(limit, max(meta.size_bytes - offset, 0)))
        finally:
            file.close()

    def prune(self, keep: Collection[int] = ()) -> None:
        """Remove what is older than the newest, save those at the indexes in `keep`, and drafts nobody needs."""
        if self._latest is None:
            return
        latest = self._latest.index
        kept = {_name(index, _WHOLE) for index in (latest, *keep)}
        if self._draft is not None and self._draft.meta.index <= latest:
            self._end_draft()
        for name in (*_names(self._disk, _WHOLE), *_names(self._disk, _RECEIVED)):
            if name <= _name(latest, _WHOLE) and name not in kept:
                self._disk.remove(name)

    # Receiving

    def begin(self, meta: raft_pb2.SnapshotMeta) -> int:
        """Receive this snapshot from now on, and no other; how many bytes of it are here already."""
        if self._draft is not None and self._draft.meta == meta:
            return self._draft.have
        self._end_draft()
        name = _name(meta.index, _RECEIVED)
        for other in _names(self._disk, _RECEIVED):
            if other != name:
                self._disk.remove(other)
        self._draft = self._resumed(name, meta) or self._created(name, meta)
        return self._draft.have

    def _resumed(self, name: str, meta: raft_pb2.SnapshotMeta) -> _Draft | None:
        if name not in self._disk.names():
            return None
        file = self._disk.open(name)
        try:
            found, start = read_head(file)
            if found != meta:
                raise SnapshotBroken("it is another one")
        except SnapshotBroken:
            file.close()
            self._disk.remove(name)
            return None
        have = max(min(file.size() - start, meta.size_bytes) - PIECE_BYTES, 0)
        file.truncate(start + have)
        return _Draft(meta, file, start, have)

    def _created(self, name: str, meta: raft_pb2.SnapshotMeta) -> _Draft:
        start = start_of(meta)
        file = self._disk.open(name, create=True)
        try:
            file.write(0, head_of(meta, start))
            file.sync()
            self._disk.sync_folder()
        except OSError:
            file.close()
            self._disk.remove(name)
            raise
        return _Draft(meta, file, start, 0)

    def add(self, offset: int, data: bytes) -> int:
        """Write the piece at `offset` if it is the next one; how many bytes are here then."""
        draft = self._draft
        if draft is None:
            raise ValueError("begin() comes first")
        if offset != draft.have or not data or len(data) > min(PIECE_BYTES, draft.meta.size_bytes - draft.have):
            return draft.have
        try:
            draft.file.write(draft.start + offset, data)
            draft.file.sync()
        except OSError:
            # What a failed sync leaves in the page cache cannot be trusted to be on the disk.
            self.discard()
            raise
        draft.have += len(data)
        return draft.have

    def finish(self) -> raft_pb2.SnapshotMeta:
        """The draft has all its bytes: verify and keep it. Raises SnapshotBroken, and the draft is gone."""
        draft = self._draft
        if draft is None:
            raise ValueError("begin() comes first")
        self._end_draft()
        name = _name(draft.meta.index, _RECEIVED)
        try:
            self._keep(name, draft.meta)
        except SnapshotBroken:
            self._disk.remove(name)
            raise
        return draft.meta

    def discard(self) -> None:
        """Remove the draft."""
        if self._draft is not None:
            name = _name(self._draft.meta.index, _RECEIVED)
            self._end_draft()
            self._disk.remove(name)

    def close(self) -> None:
        """Close the draft; it is resumed by the next begin() of the same snapshot."""
        self._end_draft()

    def _end_draft(self) -> None:
        if self._draft is not None:
            self._draft.file.close()
            self._draft = None

    def _verified(self, name: str, whole_name: str) -> raft_pb2.SnapshotMeta:
        """Meta of a file whose every byte was read. Raises SnapshotBroken."""
        file = self._disk.open(name)
        try:
            meta, start = read_head(file)
            if meta.cluster_id != self._cluster_id:
                raise _Foreign(meta.cluster_id, self._cluster_id)
            if _name(meta.index, _WHOLE) != whole_name:
                raise SnapshotBroken(f"it holds entry {meta.index}, which its name does not say")
            check_state(file, meta, start, self._check_halted)
            return meta
        finally:
            file.close()


def newest_index(disk: Disk) -> int:
    """Index of the newest snapshot by the names alone, whole or not; 0 when there is none."""
    return max((int(name.removesuffix(_WHOLE)) for name in _names(disk, _WHOLE)), default=0)


def is_snapshot(name: str) -> bool:
    """Whether a file of this name counts as a snapshot; others in the folder are nobody's business."""
    return bool((found := _NAMED.fullmatch(name)) and found[1] == _WHOLE)


def _name(index: int, suffix: str) -> str:
    return f"{index:020d}{suffix}"


def _names(disk: Disk, suffix: str) -> list[str]:
    """Files of this kind, older ones first; what only looks like one is left out."""
    return sorted(name for name in disk.names() if (found := _NAMED.fullmatch(name)) and found[1] == suffix)


def _aside(name: str) -> str:
    return name.removesuffix(_WHOLE) + _BROKEN
