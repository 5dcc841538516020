"""What opening or using a store can end in, each with a remedy for the operator."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf.message import DecodeError

_REBUILD = (
    "Stop the daemon, move {path} with its -wal and -shm files out of the data folder and start it again: "
    "the rows are rebuilt from the log."
)

_CHECK_DISK = "Check that its folder is writable and that its disk has space and is healthy."


class StoreError(Exception):
    """Base of the store's errors: `message` is one sentence of cause, `remedy` one for the operator."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy


class StoreDamaged(StoreError):
    """The file is no store of Cortex, or its contents cannot be trusted."""


class StoreTooNew(StoreError):
    """A later release wrote this store."""


class StoreUnavailable(StoreError):
    """The disk refused: nothing of the transaction was kept. Trying again later may work."""


_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT})


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn the errors of sqlite3, protobuf and the file system into a StoreError that names the file."""
    try:
        yield
    except DecodeError as error:
        raise StoreDamaged(f"A row in {path} cannot be read: {error}.", _REBUILD.format(path=path)) from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _DAMAGE or isinstance(error, sqlite3.IntegrityError):
            raise StoreDamaged(f"The store {path} is damaged: {error}.", _REBUILD.format(path=path)) from error
        raise StoreUnavailable(f"The store {path} cannot be used: {error}.", _CHECK_DISK) from error
    except OSError as error:
        raise StoreUnavailable(f"The store {path} cannot be opened: {error.strerror}.", _CHECK_DISK) from error
