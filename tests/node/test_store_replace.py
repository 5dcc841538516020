"""A copy takes the place of a store whole or not at all, and only when its rows are those of its digest."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.store import Store, StoreDamaged, StoreError, StoreTooNew
from node.store.copy import CHUNK_BYTES
from tests.node.test_store_copy import save

_CHILD = """
import os, signal, sys
from pathlib import Path
from node.store import Store

def fail(point):
    if point == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

store = Store(Path(sys.argv[1]), failpoint=fail)
store.open()
store.replace([Path(sys.argv[2]).read_bytes()])
"""


def image_at(folder: Path, index: int) -> bytes:
    store = Store(folder / "source.sqlite")
    store.open()
    for each in range(1, index + 1):
        save(store, each, tasks=40)
    copy = store.copy()
    image = b"".join(copy.chunks())
    copy.close()
    store.close()
    return image


def chunks(image: bytes) -> Iterator[bytes]:
    for start in range(0, len(image), 1000):
        yield image[start : start + 1000]


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_store_is_replaced_by_a_copy(kind: str, tmp_path: Path) -> None:
    image = image_at(tmp_path, 5)
    store = Store(tmp_path / "state.sqlite" if kind == "file" else ":memory:")
    store.open()
    save(store, 1)
    store.replace(chunks(image))
    assert store.saved().index == 5
    assert store.recount_digest()[1] == store.saved().digest
    save(store, 6)
    store.close()
    if kind == "file":
        store.open()
        assert store.saved().index == 6
        store.close()
        assert sorted(file.name for file in tmp_path.iterdir()) == ["source.sqlite", "state.sqlite"]


@pytest.mark.parametrize(
    ("point", "stands"), [("written", 2), ("checked", 2), ("cleared", 2), ("renamed", 5), ("never", 5)]
)
def test_killed_while_it_is_replaced(point: str, stands: int, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(image_at(tmp_path, 5))
    path = tmp_path / "state.sqlite"
    store = Store(path)
    store.open()
    save(store, 1)
    save(store, 2)
    store.close()
    child = [sys.executable, "-c", _CHILD, str(path), str(tmp_path / "image"), point]
    done = subprocess.run(child, check=False, capture_output=True)
    assert done.returncode == (-signal.SIGKILL if point != "never" else 0), done.stderr
    store.open()
    saved, digest = store.recount_digest()
    assert (saved.index, saved.digest) == (stands, digest)
    assert not list(tmp_path.glob("state.sqlite.new*"))
    store.replace([(tmp_path / "image").read_bytes()])
    assert store.saved().index == 5
    store.close()


def _cut(image: bytes) -> bytes:
    return image[: len(image) // 2]


def _garbage(image: bytes) -> bytes:
    return b"x" * len(image)


def _edited(sql: str) -> Callable[[bytes], bytes]:
    def edit(image: bytes) -> bytes:
        with sqlite3.connect(":memory:") as db:
            db.deserialize(image[:18] + b"\1\1" + image[20:])
            db.execute(sql)
            db.commit()
            return db.serialize()

    return edit


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (_cut, StoreDamaged),
        (_garbage, StoreDamaged),
        (_edited("DELETE FROM te_tasks WHERE id = 't000003-7'"), StoreDamaged),
        (_edited("UPDATE te_tasks SET state = 4 WHERE id = 't000003-7'"), StoreDamaged),
        (_edited("UPDATE meta SET schema_version = 99"), StoreTooNew),
        (_edited("PRAGMA application_id = 1"), StoreDamaged),
    ],
    ids=["cut", "garbage", "a row less", "a row changed", "too new", "of another program"],
)
def test_what_is_no_whole_copy_is_refused(
    spoil: Callable[[bytes], bytes], error: type[StoreError], tmp_path: Path
) -> None:
    image = spoil(image_at(tmp_path, 5))
    path = tmp_path / "state.sqlite"
    store = Store(path)
    store.open()
    save(store, 1)
    with pytest.raises(error):
        store.replace(chunks(image))
    store.open()
    assert store.recount_digest()[0].index == 1
    store.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["source.sqlite", "state.sqlite"]


def test_a_copy_longer_than_one_chunk(tmp_path: Path) -> None:
    store = Store(tmp_path / "source.sqlite")
    store.open()
    save(store, 1, tasks=5_000)
    copy = store.copy()
    parts = list(copy.chunks())
    assert len(parts) > 1
    assert {len(part) for part in parts[:-1]} == {CHUNK_BYTES}
    other = Store(tmp_path / "state.sqlite")
    other.open()
    other.replace(parts)
    assert other.saved() == store.saved()
    other.close()
    store.close()


def test_a_store_that_is_set_aside_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    store = Store(path)
    store.open()
    save(store, 1)
    store.set_aside()
    assert (store.saved().index, store.load_live()) == (0, [])
    store.close()
    aside = Store(Path(f"{path}.aside"))
    aside.open()
    assert aside.saved().index == 1
    aside.close()
    store.open()
    save(store, 1, tasks=2)
    store.set_aside()
    store.close()
    aside.open()
    assert sum(aside.counts().by_state.values()) == 2
    aside.close()
