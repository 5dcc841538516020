"""A copy of the store holds one saved state whole, whatever is saved while it is made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Setting, Task
from node.core.model import QUEUED, Change, Table, row_digest
from node.store import Store, StoreUnavailable
from node.store.copy import StoreCopy


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state.sqlite" if request.param == "file" else ":memory:")
    opened.open()
    yield opened
    opened.close()


def save(store: Store, index: int, tasks: int = 1) -> None:
    """One more entry with new tasks, and the right digest for it."""
    saved = store.saved()
    rows = [Task(id=f"t{index:06}-{number}", state=QUEUED, created_index=index) for number in range(tasks)]
    changes = [Change(Table.TASKS, row.id, None, row) for row in rows]
    digest = (saved.digest + sum(row_digest(Table.TASKS, row.id, row) for row in rows)) % (1 << 128)
    store.save(changes, index, 3, 1_000 + index, digest)


def opened(copy: StoreCopy) -> Store:
    return Store.from_image(b"".join(copy.chunks()))


def test_a_copy_holds_what_was_saved_and_says_up_to_where(store: Store) -> None:
    epoch = Setting(name="recovery_epoch", value="2")
    save(store, 1, tasks=300)
    digest = (store.saved().digest + row_digest(Table.SETTINGS, epoch.name, epoch)) % (1 << 128)
    store.save([Change(Table.SETTINGS, epoch.name, None, epoch)], 2, 3, 1_002, digest)
    copy = store.copy()
    assert (copy.index, copy.term, copy.at_us, copy.recovery_epoch) == (2, 3, 1_002, 2)
    other = opened(copy)
    assert other.recount_digest() == (store.saved(), store.saved().digest)
    assert other.counts().by_state == {QUEUED: 300}
    other.close()
    copy.close()


def test_saves_go_on_while_a_copy_is_made(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.sqlite")
    store.open()
    save(store, 1, tasks=2_000)
    over, index = threading.Event(), 1
    copies: list[StoreCopy] = []

    def keep_copying() -> None:
        while not over.is_set():
            copies.append(store.copy())

    thread = threading.Thread(target=keep_copying)
    thread.start()
    try:
        # As many as it takes until a few copies were made beside them.
        while len(copies) < 5:
            index += 1
            save(store, index)
    finally:
        over.set()
        thread.join()
    for copy in copies:
        other = opened(copy)
        saved, digest = other.recount_digest()
        assert saved.index == copy.index
        assert saved.digest == digest
        other.close()
        copy.close()
    assert copies[-1].index > 1
    store.close()
    assert [file.name for file in tmp_path.iterdir()] == ["state.sqlite"]


def test_a_copy_that_is_under_way_ends_with_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.sqlite")
    store.open()
    save(store, 1)
    store.end_copies()
    with pytest.raises(StoreUnavailable, match="given up"):
        store.copy()
    store.close()
    assert [file.name for file in tmp_path.iterdir()] == ["state.sqlite"]


def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.sqlite")
    store.open()
    save(store, 1)
    store.copy()
    store.close()
    assert len(list(tmp_path.iterdir())) == 2
    store.open()
    assert store.saved().index == 1
    store.close()
    assert [file.name for file in tmp_path.iterdir()] == ["state.sqlite"]
