"""What the disk of a stopped daemon holds, looked at on a copy: nothing of the daemon's own is changed."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cortex.v1 import raft_pb2
from node.consensus.membership import Membership
from node.consensus.raftos.journal import Base, Journal, JournalDamaged, Recovered
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.snapshot_format import SnapshotBroken, read_head
from node.consensus.raftos.snapshots import Snapshots, is_snapshot
from node.core.faults import Code, Fault
from node.env import Env, RealDisk, RealFile
from node.recovery.files import open_snapshot
from node.startup import open_newest
from node.store.errors import StoreDamaged, StoreError
from node.store.store import FILE, Saved, Store

JOURNAL, SNAPSHOTS = "raft", "snapshots"
_COPY = "examined-"


@dataclass(slots=True)
class Examined:
    """A data folder's log, snapshot and rows. A flaw is one sentence, empty when there is none."""

    work: Path
    """The copy that was looked at, with a store that may be used."""
    journal: Recovered | None = None
    journal_flaw: str = ""
    snapshot: raft_pb2.SnapshotMeta | None = None
    """The newest whole one."""
    snapshot_flaws: list[str] = field(default_factory=list)
    saved: Saved | None = None
    store_flaw: str = ""
    snapshot_lost: str = ""
    """Why no start goes on from this log, although the rows can stand in for the snapshot that it needs."""
    lost_flaw: str = ""
    """Why the rows could not be made anew, either."""

    known_members: bytes = b""
    """Of a broken snapshot whose head is whole, for rows that stand in for it; the log may say more."""

    @property
    def membership(self) -> Membership:
        """The last one known here; empty when nothing says it."""
        return self.membership_at(self.last_index)

    def membership_at(self, index: int) -> Membership:
        """In force at an entry that is not older than the snapshot; empty when nothing says it."""
        found = self.snapshot.membership if self.snapshot is not None else self.known_members
        for entry in self.journal.entries if self.journal is not None else ():
            if entry.index <= index:
                found = entry.membership or found
        return Membership.decode(found) if found else Membership()

    @property
    def saved_index(self) -> int:
        return self.saved.index if self.saved is not None else 0

    @property
    def last_index(self) -> int:
        """The last entry that is here in any form."""
        journal = self.journal.last_index if self.journal is not None else 0
        return max(journal, self.snapshot.index if self.snapshot is not None else 0, self.saved_index)

    @property
    def committed_index(self) -> int:
        """Entries up to there were surely committed: they were applied here."""
        return max(self.saved_index, self.snapshot.index if self.snapshot is not None else 0)

    @property
    def term(self) -> int:
        """The highest that anything here names."""
        terms = [self.saved.term if self.saved is not None else 0]
        terms += [self.snapshot.term] if self.snapshot is not None else []
        terms += [self.journal.term] if self.journal is not None else []
        return max(terms)


@contextmanager
def examined(data: Path, cluster_id: str) -> Iterator[Examined]:
    """Copy what a voter keeps, look at all of it, and remove the copy afterwards. Raises Fault."""
    if not (data / JOURNAL).is_dir() and not (data / SNAPSHOTS).is_dir():
        message = f"The folder {data} holds no log: no voter has run on it."
        raise Fault(Code.NOT_FOUND, message, "Name the data folder of a voter, as DATA/n1 of `cortex up`.")
    try:
        for left in data.glob(f"{_COPY}*"):
            shutil.rmtree(left)
        work = Path(tempfile.mkdtemp(prefix=_COPY, dir=data))
        try:
            yield _examine(data, work, cluster_id)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        message = f"The folder {data} cannot be read or written: {error.strerror or error}."
        raise Fault(Code.INVALID, message, "Check who may write it, its disk, and that it has room.") from None


def _examine(data: Path, work: Path, cluster_id: str) -> Examined:
    found = Examined(work)
    for file in sorted(file for file in (data / SNAPSHOTS).glob("*") if is_snapshot(file.name)):
        try:
            open_snapshot(file)
        except Fault as fault:
            found.snapshot_flaws.append(fault.message)
    _copy_folder(data / SNAPSHOTS, work / SNAPSHOTS)
    found.snapshot = Snapshots(RealDisk(work / SNAPSHOTS), cluster_id).latest()
    _read_journal(data, found)
    _read_store(data, found, cluster_id)
    if found.journal is None and found.saved is not None:
        _try_rows(data, found, found.saved, cluster_id)
    return found


def _read_journal(data: Path, found: Examined) -> None:
    _copy_folder(data / JOURNAL, found.work / JOURNAL)
    base = Base(found.snapshot.index, found.snapshot.term) if found.snapshot is not None else Base()
    disk = RealDisk(found.work / JOURNAL)
    journal = Journal(disk, random.Random(0), RaftSettings().segment_bytes)
    try:
        found.journal = journal.recover(base)
        journal.close()
    except JournalDamaged as fault:
        found.journal_flaw = fault.message


def _try_rows(data: Path, found: Examined, saved: Saved, cluster_id: str) -> None:
    """Whether it is only the snapshot that the log lacks, and the rows, which were checked, can be made one.

    That loses nothing that this voter promised: votes and entries are in the log, every frame of which is whole,
    and a running voter makes its snapshots of the same rows. So the log must hold the entry that the rows end with,
    of the same term, and something before it: one that ends earlier lost its end, and is as damaged as it says.
    """
    shutil.rmtree(found.work / JOURNAL)
    _copy_folder(data / JOURNAL, found.work / JOURNAL)
    journal = Journal(RealDisk(found.work / JOURNAL), random.Random(0), RaftSettings().segment_bytes)
    try:
        recovered = journal.recover(Base(saved.index, saved.term))
        journal.close()
    except JournalDamaged:
        return
    if not recovered.base.index < saved.index <= recovered.last_index:
        return
    members = _members_of_broken(data, recovered.base.index, saved.index, cluster_id)
    changes = [entry for entry in recovered.entries if entry.index <= saved.index and entry.membership]
    # Else nothing says any more who the members were.
    if members or changes:
        found.snapshot_lost, found.journal_flaw = found.journal_flaw, ""
        found.journal, found.snapshot, found.known_members = recovered, None, members


def _members_of_broken(data: Path, after: int, upto: int, cluster_id: str) -> bytes:
    """Of a snapshot that ends between these entries; its head has a checksum of its own."""
    files = [file for file in (data / SNAPSHOTS).glob("*") if is_snapshot(file.name.removesuffix(".broken"))]
    for file in sorted(files, reverse=True):
        opened_file = RealFile(file, create=False)
        try:
            meta, _ = read_head(opened_file)
        except SnapshotBroken:
            continue
        finally:
            opened_file.close()
        if meta.cluster_id == cluster_id and after <= meta.index <= upto:
            return bytes(meta.membership)
    return b""


def _try_anew(found: Examined, cluster_id: str) -> None:
    """Whether a snapshot and the log lead to rows; they are what a start would begin with."""
    try:
        open_newest(Env.real(found.work), cluster_id, lambda: opened(found.work / FILE)).close()
    except StoreError as error:
        found.lost_flaw = f"The snapshot cannot stand in for them: {error.message}"


def opened(path: Path) -> Store:
    """Raises StoreError."""
    store = Store(path)
    store.open()
    return store


def _read_store(data: Path, found: Examined, cluster_id: str) -> None:
    for file in data.glob(f"{FILE}*"):
        if file.name in (FILE, f"{FILE}-wal"):
            shutil.copy2(file, found.work / file.name)
    store = Store(found.work / FILE)
    try:
        store.open()
        store.check()
        found.saved = store.saved()
        if found.journal is not None and found.saved.index > found.journal.last_index:
            # The rows are of committed entries: it is the log that lost them.
            end = found.journal.last_index
            found.journal_flaw = f"The journal ends at entry {end} but {found.saved.index} were applied here."
    except StoreDamaged as error:
        found.store_flaw, found.saved = error.message, None
        store.set_aside()
        _try_anew(found, cluster_id)
    except StoreError as error:
        raise Fault(Code.INVALID, error.message, error.remedy) from None
    finally:
        store.close()


def _copy_folder(source: Path, to: Path) -> None:
    to.mkdir(mode=0o700)
    for file in source.iterdir() if source.is_dir() else ():
        if file.is_file():
            shutil.copy2(file, to / file.name)
