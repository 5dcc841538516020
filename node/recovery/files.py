"""Snapshot files of operators: written whole or not at all, and read only when every byte is as its head says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cortex.v1 import raft_pb2
from node.consensus.raftos.snapshot_format import READ_BYTES, SnapshotBroken, check_state, read_head, write_file
from node.core.faults import Code, Fault
from node.env import RealFile
from node.store.replace import sync_file, sync_folder

_DRAFT = ".part"


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """One that was verified."""

    path: Path
    meta: raft_pb2.SnapshotMeta
    start: int
    """Where the state begins."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the state. Raises OSError."""
        file = RealFile(self.path, create=False)
        try:
            for offset in range(0, self.meta.size_bytes, READ_BYTES):
                yield file.read(self.start + offset, min(READ_BYTES, self.meta.size_bytes - offset))
        finally:
            file.close()


def open_snapshot(path: Path) -> SnapshotFile:
    """Verify length and hash. Raises Fault."""
    try:
        file = RealFile(path, create=False)
        try:
            meta, start = read_head(file)
            check_state(file, meta, start)
        finally:
            file.close()
    except SnapshotBroken as error:
        raise Fault(
            Code.INVALID,
            f"The snapshot {path} cannot be used: {error}.",
            "Take another copy of it, or save a new one with `cortexd snapshot save`.",
        ) from None
    except OSError as error:
        message = f"The snapshot {path} cannot be read: {error.strerror}."
        raise Fault(Code.INVALID, message, "Name a file that `cortexd snapshot save` made.") from None
    return SnapshotFile(path, meta, start)


def save_snapshot(path: Path, meta: raft_pb2.SnapshotMeta, chunks: Iterable[bytes]) -> raft_pb2.SnapshotMeta:
    """Write a new file; its whole meta. What is raised by `chunks` leaves nothing behind. Raises Fault."""
    if not path.name:
        raise Fault(Code.INVALID, f"{str(path)!r} names no file.", "Name a new file for the snapshot.")
    draft = path.with_name(path.name + _DRAFT)
    try:
        if path.exists():
            message = f"The file {path} is there already."
            raise Fault(Code.ALREADY_EXISTS, message, "Name another file, or remove that one first.")
        draft.unlink(missing_ok=True)
        file = RealFile(draft, create=True)
        try:
            whole = write_file(file, meta, meta.cluster_id, chunks)
        finally:
            file.close()
        open_snapshot(draft)
        os.link(draft, path)
        draft.unlink()
        sync_folder(path.parent)
    except OSError as error:
        raise Fault(
            Code.INVALID,
            f"The snapshot {path} cannot be written: {error.strerror or error}.",
            "Name a file in a folder that can be written and has room.",
        ) from None
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return whole


def copy_durably(source: Path, to: Path) -> None:
    """Copy a folder of files to a new one; all of it is on the disk on return. Raises OSError."""
    shutil.copytree(source, to)
    for file in sorted(to.rglob("*")):
        if file.is_dir():
            sync_folder(file)
        else:
            sync_file(file)
    sync_folder(to)
    sync_folder(to.parent)
