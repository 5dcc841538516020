"""Putting a copy of another store in the place of the database: whole or not at all, whenever the machine stops."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from node.store.connect import Connection, open_writer
from node.store.copy import COPY_SUFFIX, NEW_SUFFIX
from node.store.errors import StoreUnavailable, translated

ASIDE_SUFFIX = ".aside"
# What SQLite keeps beside a database.
_COMPANIONS = ("-wal", "-shm", "-journal")

Check = Callable[[Connection], None]


def replace_file(path: Path, chunks: Iterable[bytes], check: Check, failpoint: Callable[[str], None]) -> None:
    """Make the bytes of `chunks` the database at `path`, which nobody may have open.

    Brought to this release's schema and approved by `check` before it counts; whatever is raised before that leaves
    the former database as it was. Raises StoreError.
    """
    new = Path(f"{path}{NEW_SUFFIX}")
    with translated(str(path)):
        remove_leftovers(path)
        try:
            with open(new, "xb", opener=_private) as file:
                for chunk in chunks:
                    file.write(chunk)
            failpoint("written")
            connection = open_writer(new)
            try:
                check(connection)
            finally:
                # The last one to close writes everything into the file itself.
                connection.close()
            sync_file(new)
            failpoint("checked")
        except BaseException:
            remove_leftovers(path)
            raise
        # A log of the former database would be read as one of the new one.
        _remove_companions(path)
        sync_folder(path.parent)
        failpoint("cleared")
        new.rename(path)
        sync_folder(path.parent)
        failpoint("renamed")


def set_aside(path: Path) -> None:
    """Rename the database at `path`, which nobody may have open, so that it can be looked at; one is kept.

    Raises StoreUnavailable.
    """
    aside = Path(f"{path}{ASIDE_SUFFIX}")
    with translated(str(path)):
        _remove_companions(aside)
        if path.exists():
            path.rename(aside)
            sync_folder(path.parent)
        # SQLite throws away a log that has lost its database, but not when another one is put there.
        for companion in _COMPANIONS:
            file = Path(f"{path}{companion}")
            if file.exists():
                file.rename(f"{aside}{companion}")
        sync_folder(path.parent)


def remove_leftovers(path: Path) -> None:
    """Remove what copies and replacements left beside the database when the process ended."""
    try:
        for suffix in (COPY_SUFFIX, NEW_SUFFIX):
            for file in path.parent.glob(f"{path.name}{suffix}*"):
                file.unlink(missing_ok=True)
    except OSError as error:
        message = f"What is left of a copy beside {path} cannot be removed: {error.strerror}."
        raise StoreUnavailable(message, "Check who may write the data folder.") from error


def sync_file(path: Path) -> None:
    """Raises OSError."""
    _sync(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Make creations, renames and removals in it durable. Raises OSError."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CLOEXEC, 0o600)


def _remove_companions(path: Path) -> None:
    for companion in _COMPANIONS:
        Path(f"{path}{companion}").unlink(missing_ok=True)
