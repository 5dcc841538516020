"""Connections to the database: opening, settings, schema and migrations."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from threading import RLock

from node.store.errors import StoreDamaged, StoreTooNew, translated
from node.store.rows import task_operation, task_text

SCHEMA_VERSION = 8
APPLICATION_ID = 0x43545831
MEMORY = ":memory:"

# Checkpointing keeps the write-ahead log near this; one large transaction may exceed it for a while.
_WAL_LIMIT_BYTES = 64 * 1024 * 1024


class Connection:
    """One connection of sqlite3 and the lock that lets several threads take turns on it."""

    def __init__(self, path: str, *, cache_kib: int, read_only: bool = False) -> None:
        self._lock = RLock()
        self.path = path
        with translated(path):
            self.raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            self.raw.execute(f"PRAGMA cache_size = -{cache_kib}")
            self.raw.execute("PRAGMA temp_store = MEMORY")
            self.raw.execute(f"PRAGMA query_only = {int(read_only)}")
            self.raw.create_function("task_text", 3, task_text, deterministic=True)
            self.raw.create_function("task_operation", 1, task_operation, deterministic=True)

    @contextmanager
    def transaction(self, begin: str = "BEGIN") -> Iterator[sqlite3.Connection]:
        """Everything inside sees, or makes, one state of the database. Raises StoreError."""
        with self._lock, translated(self.path):
            self.raw.execute(begin)
            try:
                yield self.raw
                self.raw.execute("COMMIT")
            except BaseException:
                if self.raw.in_transaction:
                    self.raw.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._lock:
            self.raw.close()


def open_writer(path: Path | str) -> Connection:
    """The writing connection, with the schema of this release. Raises StoreError."""
    text = str(path)
    if text != MEMORY:
        with translated(text):
            os.close(os.open(text, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = Connection(text, cache_kib=16_384)
    try:
        with translated(text):
            connection.raw.execute("PRAGMA journal_mode = WAL")
            connection.raw.execute("PRAGMA synchronous = NORMAL")
            connection.raw.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_image(image: bytes) -> Connection:
    """As open_writer(), of a database in memory that holds what serialize() or a copy gave. Raises StoreError."""
    connection = Connection(MEMORY, cache_kib=8_192)
    with translated(MEMORY):
        # A copy of a file says that there is a write-ahead log beside it, which memory has not.
        connection.raw.deserialize(image[:18] + b"\1\1" + image[20:])
    prepare(connection)
    return connection


def prepare(connection: Connection) -> None:
    """Bring the database to SCHEMA_VERSION, each step in a transaction of its own; nothing to do is no error."""
    with connection.transaction("BEGIN IMMEDIATE") as db:
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            _run(db, "schema.sql")
            db.execute("INSERT INTO meta VALUES (1, ?, 0, 0, 0, zeroblob(16))", (SCHEMA_VERSION,))
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    version = schema_version(connection)
    if version > SCHEMA_VERSION:
        raise StoreTooNew(
            f"The store {connection.path} has schema {version}; this release knows {SCHEMA_VERSION}.",
            "Start the release that wrote it, or move the store away so that it is rebuilt from the log.",
        )
    for step in range(version + 1, SCHEMA_VERSION + 1):
        with connection.transaction("BEGIN IMMEDIATE") as db:
            _run(db, f"migrations/{step:04}.sql")
            db.execute("UPDATE meta SET schema_version = ?", (step,))


def schema_version(connection: Connection) -> int:
    """Version that the database says it has. Raises StoreDamaged when it is no store of Cortex."""
    with connection.transaction() as db:
        found = db.execute("PRAGMA application_id").fetchone()[0]
        if found != APPLICATION_ID:
            raise StoreDamaged(
                f"{connection.path} is a database of another program.",
                "Point the daemon at a data folder of its own, or move that file away.",
            )
        row = db.execute("SELECT schema_version FROM meta").fetchone()
        if row is None or row[0] < 1:
            raise StoreDamaged(
                f"The store {connection.path} does not say which state it holds.",
                "Stop the daemon, move it away and start again: the rows are rebuilt from the log.",
            )
        return int(row[0])


def _run(db: sqlite3.Connection, name: str) -> None:
    """Execute a script inside the open transaction, which executescript() would commit first."""
    text = resources.files("node.store").joinpath(name).read_text(encoding="utf-8")
    lines = (line.split("--", 1)[0] for line in text.splitlines())
    for statement in "\n".join(lines).split(";"):
        if statement.strip():
            db.execute(statement)
