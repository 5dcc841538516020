"""A consistent copy of the whole database, made on a connection of its own while saves and reads go on."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from cortex.v1.types_pb2 import Setting
from node.core import settings
from node.store.connect import Connection
from node.store.errors import StoreUnavailable, translated

COPY_SUFFIX = ".copy-"
NEW_SUFFIX = ".new"
CHUNK_BYTES = 1 << 20
# Between two steps a copy can be given up.
_STEP_PAGES = 2048


class StoreCopy:
    """Implements consensus.port.StateCopy. `source` is the copy's file, or its bytes."""

    def __init__(
        self, source: Path | bytes, index: int, term: int, at_us: int, recovery_epoch: int, level: int
    ) -> None:
        self._source: Path | bytes = source
        self.index = index
        self.term = term
        self.at_us = at_us
        self.level = level
        self.recovery_epoch = recovery_epoch

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the database, from the start. Raises OSError."""
        if isinstance(self._source, bytes):
            for start in range(0, len(self._source), CHUNK_BYTES):
                yield self._source[start : start + CHUNK_BYTES]
            return
        with self._source.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def close(self) -> None:
        """Remove it."""
        if isinstance(self._source, Path):
            self._source.unlink(missing_ok=True)


def copy_of_file(path: Path, to: Path, go_on: Callable[[], bool]) -> StoreCopy:
    """Copy the database at `path`, which others may write meanwhile, to the new file `to`.

    `go_on` is asked between the steps. Raises StoreError when it says no, or the disk refuses.
    """

    def step(_status: int, _left: int, _total: int) -> None:
        if not go_on():
            raise StoreUnavailable(f"The copy of {path} was given up.", "Ask again once the daemon runs.")

    source = Connection(str(path), cache_kib=1_024, read_only=True)
    try:
        # The transaction holds one state of the database until the copy has all of it.
        with source.transaction() as db:
            position = _position(db)
            with translated(str(to)):
                os.close(os.open(to, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                target = sqlite3.connect(to, isolation_level=None, check_same_thread=False)
                try:
                    # What is left of a copy after a crash is thrown away.
                    target.execute("PRAGMA synchronous = OFF")
                    db.backup(target, pages=_STEP_PAGES, progress=step, sleep=0)
                finally:
                    target.close()
        return StoreCopy(to, *position)
    except BaseException:
        _unlink(to)
        raise
    finally:
        source.close()


def copy_of_memory(connection: Connection) -> StoreCopy:
    """A copy of a database in memory."""
    with connection.transaction() as db:
        position = _position(db)
        return StoreCopy(db.serialize(), *position)


def _position(db: sqlite3.Connection) -> tuple[int, int, int, int, int]:
    index, term, at_us = db.execute("SELECT saved_index, saved_term, saved_at FROM meta").fetchone()
    epoch, level = (_setting(db, name) for name in (settings.RECOVERY_EPOCH, settings.FEATURE_LEVEL))
    return index, term, at_us, settings.recovery_epoch(epoch), settings.feature_level(level)


def _setting(db: sqlite3.Connection, name: str) -> Setting | None:
    found = db.execute("SELECT row FROM settings WHERE id = ?", (name,)).fetchone()
    return Setting.FromString(found[0]) if found else None


def _unlink(path: Path) -> None:
    # The journal of the backup lies beside it.
    for name in (path, Path(f"{path}-journal"), Path(f"{path}-wal"), Path(f"{path}-shm")):
        with suppress(OSError):
            name.unlink()
