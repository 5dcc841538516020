"""Store: the rows of the replicated state in SQLite, saved behind the log and read as history.

save() and the reads may be called from different threads: they use different connections, and in write-ahead mode
neither waits for the other. A database in memory has one connection, on which they take turns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cortex.v1.types_pb2 import Workflow
from node.core.model import LIVE, LIVE_OPERATION, LIVE_WORKFLOW, Change, Key, Row, Table
from node.store import double_runs, events, operations, past, queries, workflows
from node.store.checks import DIGEST_BYTES, check_whole, count_digest
from node.store.connect import MEMORY, Connection, open_image, open_writer
from node.store.copy import COPY_SUFFIX, StoreCopy, copy_of_file, copy_of_memory
from node.store.errors import StoreDamaged
from node.store.moment_workflows import WorkflowPage, WorkflowQuery
from node.store.past import Aged
from node.store.replace import remove_leftovers, replace_file, set_aside
from node.store.rows import Codec, codecs
from node.store.slow import SlowReads
from node.store.writer import Writer

FILE = "state.sqlite"

# Rows looked up by one statement.
_GET_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Saved:
    """The entry up to which everything is saved, and the digest of the state at it."""

    index: int
    term: int
    at_us: int
    digest: int


class Store:
    """One database. `path` is its file, or ":memory:".

    `failpoint` is called with "begin", "rows" and "commit" inside each save(); what it raises undoes the save.
    """

    def __init__(self, path: Path | str, *, failpoint: Callable[[str], None] | None = None) -> None:
        self._path = path
        self._codecs = codecs()
        self._failpoint = failpoint or (lambda _: None)
        self._writer_connection: Connection | None = None
        self._cold: Connection | None = None
        self._history: Connection | None = None
        self._slow: Connection | None = None
        self._reads: SlowReads | None = None
        # The last id of tables whose new ids mostly come behind all others: what lies beyond is not looked up.
        self._last: dict[Table, str] = {}
        self._copies = 0
        self._copying = True

    def open(self) -> None:
        """Create or migrate the database. Raises StoreDamaged, StoreTooNew or StoreUnavailable."""
        if str(self._path) != MEMORY:
            remove_leftovers(Path(self._path))
        self._begin(open_writer(self._path))

    def _begin(self, writer: Connection) -> None:
        self._writer_connection = writer
        self._last = {}
        # What is damaged is told by whoever needs it.
        with suppress(StoreDamaged), writer.transaction() as db:
            for table in (Table.TASKS, Table.REPLIES):
                self._last[table] = (
                    db.execute(f"SELECT max(id) FROM {self._codecs[table].table}").fetchone()[0] or ""
                )
        if str(self._path) == MEMORY:
            self._cold = self._history = self._slow = writer
            self._reads = SlowReads(writer, self._codecs)
            return
        # Cold rows are on the path of apply: a slow list must not hold their connection.
        self._cold = Connection(str(self._path), cache_kib=8_192, read_only=True)
        self._history = Connection(str(self._path), cache_kib=8_192, read_only=True)
        self._slow = Connection(str(self._path), cache_kib=8_192, read_only=True)
        self._reads = SlowReads(self._slow, self._codecs)

    def close(self) -> None:
        if self._reads is not None:
            self._reads.close()
        for connection in {self._slow, self._history, self._cold, self._writer_connection} - {None}:
            assert connection is not None
            connection.close()
        self._writer_connection = self._cold = self._history = self._slow = self._reads = None

    @property
    def is_open(self) -> bool:
        return self._writer_connection is not None

    @property
    def reads(self) -> SlowReads:
        """What may take long: to be called off the event loop."""
        if self._reads is None:
            raise RuntimeError("the store is not open")
        return self._reads

    def saved(self) -> Saved:
        with _opened(self._cold).transaction() as db:
            return _saved(db)

    def save(self, changes: Sequence[Change], index: int, term: int, at_us: int, digest: int) -> None:
        """One transaction: the last change of each row in log order, and the index that they lead to.

        Raises StoreError when nothing was saved, ValueError when `index` lies before the saved one.
        """
        with _opened(self._writer_connection).transaction("BEGIN IMMEDIATE") as db:
            self._failpoint("begin")
            before = db.execute("SELECT saved_index FROM meta").fetchone()[0]
            if index < before or (index == before and changes):
                raise ValueError(f"save of index {index} on a store at {before}")
            written = Writer(db, self._codecs).write(changes)
            # Before the commit: until then whoever reads these takes them from what waits to be saved.
            for table in self._last.keys() & written.keys():
                self._last[table] = max(self._last[table], *[change.id for change in written[table]])
            self._failpoint("rows")
            db.execute(
                "UPDATE meta SET saved_index = ?, saved_term = ?, saved_at = ?, digest = ?",
                (index, term, at_us, digest.to_bytes(DIGEST_BYTES, "big")),
            )
            self._failpoint("commit")

    def load_live(self) -> list[Row]:
        """Rows that live in memory: nodes, settings, batches, and what has not ended.

        A workflow that lives has all its tasks there, those that have ended, too.
        """
        rows: list[Row] = []
        marks = _marks(LIVE)
        with _opened(self._cold).transaction() as db:
            rows += self._select(db, Table.NODES, "ORDER BY id")
            rows += self._select(db, Table.SETTINGS, "ORDER BY id")
            rows += self._select(db, Table.BATCHES, "ORDER BY id")
            rows += self._select(db, Table.OPERATIONS, f"WHERE state IN ({_marks(LIVE_OPERATION)})")
            rows += self._select(db, Table.WORKFLOWS, f"WHERE state IN ({_marks(LIVE_WORKFLOW)})")
            rows += self._select(db, Table.TASKS, f"WHERE state IN ({marks}) ORDER BY state, created_index, id")
            for workflow in [row for row in rows if isinstance(row, Workflow)]:
                where = f"WHERE workflow_id = ? AND workflow_id <> '' AND state NOT IN ({marks})"
                rows += self._select(db, Table.TASKS, f"{where} ORDER BY created_index, id", workflow.id)
        return rows

    def get(self, keys: Iterable[Key]) -> dict[Key, Row]:
        """Rows by key, whether live or ended; a key without a row is left out."""
        by_table: dict[Table, list[str]] = {}
        for key in set(keys):
            table, key_id = key
            if key_id <= self._last.get(table, key_id):
                by_table.setdefault(table, []).append(key_id)
        found: dict[Key, Row] = {}
        if not by_table:
            return found
        with _opened(self._cold).transaction() as db:
            for table, ids in by_table.items():
                codec = self._codecs[table]
                for row in self._by_ids(db, codec, ids):
                    found[Key(table, codec.key_of(row))] = row
        return found

    def _by_ids(self, db: sqlite3.Connection, codec: Codec, ids: list[str]) -> Iterable[Row]:
        wanted = [values for key in ids if (values := codec.key_values(key)) is not None]
        for start in range(0, len(wanted), _GET_CHUNK):
            chunk = wanted[start : start + _GET_CHUNK]
            # Few different statements, so that they stay prepared: the last key fills up to a power of two.
            chunk += [chunk[-1]] * ((1 << (len(chunk) - 1).bit_length()) - len(chunk))
            for values in db.execute(_lookup(codec, len(chunk)), [value for key in chunk for value in key]):
                yield codec.decode(values)

    def _select(self, db: sqlite3.Connection, table: Table, rest: str, *values: str) -> list[Row]:
        codec = self._codecs[table]
        sql = f"SELECT {', '.join(codec.columns)} FROM {codec.table} {rest}"
        return [codec.decode(found) for found in db.execute(sql, values)]

    def list_tasks(self, query: queries.TaskQuery) -> queries.TaskPage:
        """Tasks that match, newest first. Raises Fault for a bad cursor or limit."""
        with _opened(self._history).transaction() as db:
            return queries.list_tasks(db, self._codecs[Table.TASKS], query)

    def list_dead_letters(self, limit: int = 50, cursor: str = "") -> queries.TaskPage:
        """Dead-lettered tasks, the latest to be so first. Raises Fault for a bad cursor or limit."""
        with _opened(self._history).transaction() as db:
            return queries.list_dead_letters(db, self._codecs[Table.TASKS], limit, cursor)

    def list_events(self, query: events.EventQuery) -> events.EventPage:
        """Events that match, oldest first unless asked for otherwise. Raises Fault for a bad cursor or limit."""
        with _opened(self._history).transaction() as db:
            return events.list_events(db, self._codecs[Table.EVENTS], query)

    def list_double_runs(self, task: str = "", limit: int = 0, cursor: str = "") -> double_runs.DoubleRunPage:
        """Of one task or of all, newest first. Raises Fault for a bad cursor or limit."""
        with _opened(self._history).transaction() as db:
            return double_runs.list_double_runs(db, self._codecs[Table.DOUBLE_RUNS], task, limit, cursor)

    def counts(self) -> queries.Counts:
        """Tasks by state, ended ones too."""
        with _opened(self._history).transaction() as db:
            return queries.Counts(queries.counts(db), queries.saved_index(db))

    def ids_with_prefix(self, prefix: str, limit: int = 2) -> list[str]:
        """Ids of tasks that begin so, in order; the id that is equal to it comes first and alone."""
        with _opened(self._history).transaction() as db:
            return queries.ids_with_prefix(db, prefix, limit)

    def list_operations(self, *, live: bool = False, limit: int = 0, cursor: str = "") -> operations.OperationPage:
        """Operations, newest first. Raises Fault for a bad cursor or limit."""
        with _opened(self._history).transaction() as db:
            return operations.list_operations(
                db, self._codecs[Table.OPERATIONS], live=live, limit=limit, cursor=cursor
            )

    def operation_ids_with_prefix(self, prefix: str, limit: int = 2) -> list[str]:
        with _opened(self._history).transaction() as db:
            return [key for (key,) in operations.prefix_page(prefix, limit).rows(db)]

    def list_workflows(self, query: WorkflowQuery) -> WorkflowPage:
        """Workflows that match, newest first. Raises Fault for a bad cursor or limit."""
        with _opened(self._history).transaction() as db:
            return workflows.list_workflows(db, self._codecs[Table.WORKFLOWS], query)

    def workflow_ids_with_prefix(self, prefix: str, limit: int = 2) -> list[str]:
        with _opened(self._history).transaction() as db:
            return [key for (key,) in workflows.prefix_page(prefix, limit).rows(db)]

    def list_causes(self, limit: int = 100) -> tuple[list[operations.Cause], int]:
        """Causes of dead letters, those of most letters first, and the index that they are of. Raises Fault."""
        with _opened(self._history).transaction() as db:
            return operations.list_causes(db, self._codecs[Table.TASKS], limit), queries.saved_index(db)

    def list_letters(self, fingerprint: str, limit: int = 50, cursor: str = "") -> queries.TaskPage:
        """Dead letters of one cause, the latest first. Raises Fault for a bad cursor or limit."""
        with _opened(self._history).transaction() as db:
            return operations.list_letters(db, self._codecs[Table.TASKS], fingerprint, limit, cursor)

    def causes_with_prefix(self, prefix: str, limit: int = 2) -> list[str]:
        """Fingerprints of dead letters that begin so, in order."""
        with _opened(self._history).transaction() as db:
            return [key for (key,) in operations.causes_with_prefix(prefix, limit).rows(db)]

    def ended_tasks(self, before_us: int, keyed_before_us: int, limit: int) -> list[Aged]:
        """Tasks that ended before that, but for dead letters, oldest first.

        Those with a submit key must have ended before `keyed_before_us`, too.
        """
        with _opened(self._history).transaction() as db:
            return past.ended_tasks(db, before_us, keyed_before_us, limit)

    def ended_workflows(
        self, before_us: int, failed_before_us: int, keyed_before_us: int, limit: int
    ) -> list[past.AgedWorkflow]:
        """Workflows that ended before that, oldest first.

        Those that failed must have ended before `failed_before_us`, too, those with a key before `keyed_before_us`.
        """
        with _opened(self._history).transaction() as db:
            return past.ended_workflows(db, before_us, failed_before_us, keyed_before_us, limit)

    def old_dead_letters(self, before_us: int, keyed_before_us: int, limit: int) -> list[Aged]:
        """As ended_tasks(), of dead letters alone."""
        with _opened(self._history).transaction() as db:
            return past.dead_letters(db, before_us, keyed_before_us, limit)

    def letters(self, fingerprint: str, until_us: int, after: tuple[int, str], limit: int) -> list[Aged]:
        """Dead letters of one cause that died no later than that, oldest first, behind a position (time, id)."""
        with _opened(self._history).transaction() as db:
            return past.letters(db, fingerprint, until_us, after, limit)

    def letter_count(self, fingerprint: str, until_us: int) -> int:
        with _opened(self._history).transaction() as db:
            return past.letter_count(db, fingerprint, until_us)

    def cancelled_count(self, operation: str) -> int:
        with _opened(self._history).transaction() as db:
            return past.cancelled_count(db, operation)

    def old_events(self, before_us: int, limit: int) -> list[Aged]:
        """Events that happened before that, oldest first."""
        with _opened(self._history).transaction() as db:
            return past.events(db, before_us, limit)

    def old_double_runs(self, before_us: int, limit: int) -> list[Aged]:
        """Lines of the ledger of double runs from before that, oldest first."""
        with _opened(self._history).transaction() as db:
            return past.double_runs(db, before_us, limit)

    def double_run_count(self) -> int:
        with _opened(self._history).transaction() as db:
            return past.double_run_count(db)

    def ended_operations(self, before_us: int, limit: int) -> list[Aged]:
        """Operations that ended before that, oldest first."""
        with _opened(self._history).transaction() as db:
            return past.ended_operations(db, before_us, limit)

    def ended_operation_count(self) -> int:
        with _opened(self._history).transaction() as db:
            return past.ended_operation_count(db)

    def expired_replies(self, before_us: int, limit: int = 1_000) -> list[Aged]:
        """Keys of stored replies of entries older than that, oldest first."""
        with _opened(self._history).transaction() as db:
            return past.replies(db, before_us, limit)

    def expired_submit_keys(self, before_us: int, limit: int = 1_000) -> list[Aged]:
        """Submit keys whose task ended before that, oldest first."""
        with _opened(self._history).transaction() as db:
            return past.submit_keys(db, before_us, limit)

    def recount_digest(self) -> tuple[Saved, int]:
        """What was saved last, and the digest of all rows counted anew; they differ only if rows were lost."""
        with _opened(self._history).transaction() as db:
            return _saved(db), count_digest(db, self._codecs)

    def copy(self) -> StoreCopy:
        """A consistent copy as of the saved index, made beside saves and reads. Blocks. Raises StoreError."""
        writer = _opened(self._writer_connection)
        if str(self._path) == MEMORY:
            return copy_of_memory(writer)
        self._copies += 1
        to = Path(f"{self._path}{COPY_SUFFIX}{self._copies}")
        return copy_of_file(Path(self._path), to, lambda: self._copying and self._writer_connection is writer)

    def end_copies(self) -> None:
        """Give up what is being copied, and make no more: the daemon ends."""
        self._copying = False

    def replace(self, chunks: Iterable[bytes], rows_limit: int | None = None) -> None:
        """Make a copy's bytes, once they are checked, this store's rows; it is open afterwards.

        If there are more than `rows_limit` rows, the digest over them is not counted anew.
        A crash leaves the former rows or these. Raises StoreError, and then the former ones stand.
        """
        if str(self._path) == MEMORY:
            writer = open_image(b"".join(chunks))
            check_whole(writer, self._codecs, rows_limit)
            self.close()
            self._begin(writer)
            return
        self.close()
        check = partial(check_whole, codecs=self._codecs, rows_limit=rows_limit)
        replace_file(Path(self._path), chunks, check, self._failpoint)
        self.open()

    def set_aside(self) -> None:
        """Begin anew without rows, and keep the former file beside it; open afterwards. Raises StoreError."""
        self.close()
        if str(self._path) != MEMORY:
            set_aside(Path(self._path))
        self.open()

    def check(self) -> None:
        """Raises StoreDamaged unless the file is whole and its rows are those of its digest. Takes long."""
        check_whole(_opened(self._writer_connection), self._codecs)

    def image(self) -> bytes:
        """The whole database of a store in memory, for a simulated disk that forgets its last saves."""
        with _opened(self._writer_connection).transaction() as db:
            return db.serialize()

    @classmethod
    def from_image(cls, image: bytes, *, failpoint: Callable[[str], None] | None = None) -> Store:
        """An open store in memory that holds what image() or a copy returned."""
        store = cls(MEMORY, failpoint=failpoint)
        store._begin(open_image(image))
        return store


def _opened(connection: Connection | None) -> Connection:
    if connection is None:
        raise RuntimeError("the store is not open")
    return connection


def _marks(states: Iterable[int]) -> str:
    return ",".join(str(int(state)) for state in sorted(states))


def _saved(db: sqlite3.Connection) -> Saved:
    index, term, at_us, digest = db.execute("SELECT saved_index, saved_term, saved_at, digest FROM meta").fetchone()
    return Saved(index, term, at_us, int.from_bytes(digest, "big"))


def _lookup(codec: Codec, count: int) -> str:
    columns = ", ".join(codec.columns)
    if len(codec.keys) == 1:
        return f"SELECT {columns} FROM {codec.table} WHERE {codec.keys[0]} IN ({','.join('?' * count)})"
    # SQLite would walk the whole table for IN over rows of values.
    row = f"({','.join('?' * len(codec.keys))})"
    match = " AND ".join(f"t.{name} = k.column{place}" for place, name in enumerate(codec.keys, 1))
    return f"SELECT {columns} FROM (VALUES {','.join([row] * count)}) k CROSS JOIN {codec.table} t ON {match}"
