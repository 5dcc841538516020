"""A process that is killed in the middle of a save leaves the save before it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Task
from node.core.model import QUEUED, Change, Table, recount
from node.store import Store, StoreUnavailable

ROWS = 5_000

_CHILD = """
import os, signal, sys
from pathlib import Path
from tests.node.test_store_crash import entry
from node.store import Store

def fail(point):
    if point == sys.argv[2] and armed:
        os.kill(os.getpid(), signal.SIGKILL)

armed = False
store = Store(Path(sys.argv[1]), failpoint=fail)
store.open()
store.save(*entry(1))
armed = True
store.save(*entry(2))
"""


def rows_of(index: int) -> list[Task]:
    return [Task(id=f"t{n:05}", state=QUEUED, created_index=1, modified_index=index) for n in range(ROWS)]


def entry(index: int) -> tuple[list[Change], int, int, int, int]:
    """All rows change, so that a torn save could not hide."""
    before = rows_of(index - 1) if index > 1 else [None] * ROWS
    rows = rows_of(index)
    changes = [Change(Table.TASKS, new.id, old, new) for old, new in zip(before, rows, strict=True)]
    return changes, index, 1, index, recount(rows)


@pytest.mark.parametrize("point", ["begin", "rows", "commit"])
def test_killed_during_a_save(point: str, tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    done = subprocess.run([sys.executable, "-c", _CHILD, str(path), point], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    store = Store(path)
    store.open()
    saved, digest = store.recount_digest()
    assert (saved.index, saved.digest) == (1, digest)
    assert store.counts().by_state == {QUEUED: ROWS}
    store.save(*entry(2))
    saved, digest = store.recount_digest()
    assert (saved.index, saved.digest) == (2, digest)
    store.close()


def test_a_disk_that_is_full_loses_the_save_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.sqlite")
    store.open()
    store.save(*entry(1))
    assert store._writer_connection is not None
    raw = store._writer_connection.raw
    (pages,) = raw.execute("PRAGMA page_count").fetchone()
    raw.execute(f"PRAGMA max_page_count = {pages}")
    grown = [Change(Table.TASKS, f"x{n}", None, Task(id=f"x{n}", name="x" * 500)) for n in range(1_000)]
    with pytest.raises(StoreUnavailable) as caught:
        store.save(grown, 2, 1, 2, 0)
    assert "full" in caught.value.message
    assert "space" in caught.value.remedy
    assert store.saved().index == 1
    raw.execute("PRAGMA max_page_count = 1000000")
    store.save(*entry(2))
    assert store.recount_digest()[1] == store.saved().digest
    store.close()
