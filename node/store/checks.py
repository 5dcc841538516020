"""Whether a database is whole, and its rows those that its digest was made of."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from node.core.model import Table, row_digest
from node.store.connect import Connection
from node.store.errors import StoreDamaged
from node.store.rows import Codec

DIGEST_BYTES = 16
# Counting takes 8 s for so many; a cluster with more waits for no more than its structure.
ROWS_LIMIT = 1_000_000


def count_digest(db: sqlite3.Connection, codecs: Mapping[Table, Codec]) -> int:
    """The digest over all rows, counted anew."""
    total = 0
    for table, codec in codecs.items():
        for values in db.execute(f"SELECT {', '.join(codec.columns)} FROM {codec.table}"):
            row = codec.decode(values)
            total += row_digest(table, codec.key_of(row), row)
    return total & ((1 << 8 * DIGEST_BYTES) - 1)


def check_whole(connection: Connection, codecs: Mapping[Table, Codec], rows_limit: int | None = None) -> None:
    """Raises StoreDamaged. Of a database with more rows than `rows_limit` the rows are not looked at."""
    with connection.transaction() as db:
        found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreDamaged(f"The store {connection.path} is damaged: {found}.", "Take another copy.")
        if rows_limit is not None and _rows(db, codecs) > rows_limit:
            return
        index, digest = db.execute("SELECT saved_index, digest FROM meta").fetchone()
        if int.from_bytes(digest, "big") != count_digest(db, codecs):
            raise StoreDamaged(
                f"The copy as of index {index} has other rows than those that its digest was made of.",
                "Take another copy, from another daemon.",
            )


def _rows(db: sqlite3.Connection, codecs: Mapping[Table, Codec]) -> int:
    counts = (db.execute(f"SELECT count(*) FROM {codec.table}").fetchone()[0] for codec in codecs.values())
    return sum(int(count) for count in counts)
