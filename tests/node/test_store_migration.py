"""A store of an older release becomes one of this release, with all that it held."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Node, Task, Workflow
from node.core.model import COMPLETED, DEAD_LETTER, QUEUED, RUNNING, Change, Key, Table
from node.store import Store, StoreDamaged, TaskQuery
from node.store import connect as connect_module
from node.store.connect import SCHEMA_VERSION
from node.store.moment_workflows import WorkflowQuery

V1 = Path(__file__).with_name("store_v1.sql")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "state.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript(V1.read_text())
    return path


def schema(path: Path) -> list[tuple[str, str, str]]:
    """What the database consists of, comments and spaces aside."""
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master ORDER BY type, name").fetchall()
    return [(kind, name, re.sub(r" ?([(),]) ?", r"\1", " ".join(sql.split()))) for kind, name, sql in rows]


def test_rows_counts_and_texts_survive(old: Path) -> None:
    store = Store(old)
    store.open()
    saved, digest = store.recount_digest()
    assert (saved.index, saved.term, saved.at_us) == (6, 2, 1000)
    assert saved.digest == digest
    assert store.counts().by_state == {QUEUED: 1, RUNNING: 1, COMPLETED: 2, DEAD_LETTER: 1}
    found = store.list_tasks(TaskQuery(text="/bin/echo"))
    assert ([row.id for row in found.tasks], found.total) == (["t4", "t3", "t2", "t1", "t0"], 5)
    assert [row.id for row in store.list_dead_letters().tasks] == ["t4"]
    dead = store.get([Key(Table.TASKS, "t4")])[Key(Table.TASKS, "t4")]
    assert isinstance(dead, Task)
    assert list(dead.spec.argv) == [b"/bin/Echo", b"h\xffi 4"]
    assert list(dead.unstartable_nodes) == ["n1"]
    assert dead.result.exit_code == 4
    assert Node(id="n1", hostname="one", state=2, online=True) in store.load_live()
    store.close()


def test_the_operation_of_a_task_is_found_after_it_got_a_column(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    rows = [Task(id=f"t{n}", state=QUEUED, created_index=n, operation="op" if n % 2 else "") for n in range(1, 5)]
    store = Store(path)
    store.open()
    store.save([Change(Table.TASKS, row.id, None, row) for row in rows], 5, 1, 1, 0)
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE te_workflow_counts")
        db.execute("DROP INDEX te_tasks_by_operation")
        db.execute("ALTER TABLE te_tasks DROP COLUMN operation")
        for row in rows:
            db.execute("UPDATE te_tasks SET extra = ? WHERE id = ?", (extra(row), row.id))
        db.execute("UPDATE meta SET schema_version = 6")
    store = Store(path)
    store.open()
    assert [row.id for row in store.list_tasks(TaskQuery(operation="op")).tasks] == ["t3", "t1"]
    assert list(store.get([Key(Table.TASKS, "t3")]).values()) == [rows[2]]
    store.close()


def test_workflows_are_counted_after_their_counts_got_a_table(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    rows = [Workflow(id=f"w{n}", state=2 if n % 3 else 3, created_index=n) for n in range(1, 8)]
    store = Store(path)
    store.open()
    store.save([Change(Table.WORKFLOWS, row.id, None, row) for row in rows], 8, 1, 1, 0)
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE te_workflow_counts")
        db.execute("UPDATE meta SET schema_version = 7")
    store = Store(path)
    store.open()
    totals = [store.list_workflows(WorkflowQuery(states=states)).total for states in ((), (2,), (3,), (4,))]
    assert totals == [7, 5, 2, 0]
    store.close()


def extra(row: Task) -> bytes | None:
    """What stood beside the columns while there was none for the operation."""
    return Task(operation=row.operation).SerializeToString() if row.operation else None


def test_a_migrated_store_equals_a_new_one(old: Path, tmp_path: Path) -> None:
    for path in (old, tmp_path / "new.sqlite"):
        store = Store(path)
        store.open()
        store.close()
    assert schema(old) == schema(tmp_path / "new.sqlite")


def test_migrating_twice_changes_nothing(old: Path) -> None:
    for _ in range(3):
        store = Store(old)
        store.open()
        assert store.recount_digest()[1] == store.saved().digest
        store.close()
    with sqlite3.connect(old) as db:
        assert db.execute("SELECT schema_version FROM meta").fetchone() == (SCHEMA_VERSION,)


def test_a_migration_that_is_cut_short_starts_again(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = schema(old)
    run = connect_module._run

    def cut(db: sqlite3.Connection, name: str) -> None:
        run(db, name)
        raise KeyboardInterrupt

    monkeypatch.setattr(connect_module, "_run", cut)
    with pytest.raises(KeyboardInterrupt):
        Store(old).open()
    assert schema(old) == before
    monkeypatch.undo()
    store = Store(old)
    store.open()
    assert store.counts().by_state[COMPLETED] == 2
    store.close()


def test_a_store_without_its_index_is_damaged(old: Path) -> None:
    with sqlite3.connect(old) as db:
        db.execute("DELETE FROM meta")
    with pytest.raises(StoreDamaged, match="which state it holds"):
        Store(old).open()


def test_a_store_without_its_tables_is_damaged(old: Path) -> None:
    with sqlite3.connect(old) as db:
        db.execute("DROP TABLE meta")
    with pytest.raises(StoreDamaged, match="no such table"):
        Store(old).open()
