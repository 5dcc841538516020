"""The store keeps exactly the rows that it was given, and says up to which index."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cortex.v1.types_pb2 import Batch, Event, Node, Setting, StoredReply, SubmitKey, Task
from node.core.model import (
    COMPLETED,
    DEAD_LETTER,
    ENDED,
    QUEUED,
    RUNNING,
    Change,
    Key,
    Outcome,
    Row,
    Table,
    reply_key,
    row_digest,
)
from node.core.state import ClusterState
from node.store import Store, StoreDamaged, StoreTooNew, StoreUnavailable, TaskQuery
from node.store.connect import SCHEMA_VERSION
from node.store.past import Aged
from node.store.rows import TaskCodec, codecs
from tests.node.messages import messages

NOTHING = Outcome((), None)  # type: ignore[arg-type]


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state.sqlite" if request.param == "file" else ":memory:")
    opened.open()
    yield opened
    opened.close()


def new(table: Table, key: str, row: Row) -> Change:
    return Change(table, key, None, row)


def task(number: int, state: int = QUEUED, **fields: object) -> Task:
    return Task(id=f"t{number:04}", state=state, created_index=number + 1, **fields)  # type: ignore[arg-type]


def digest_of(rows: dict[Key, Row]) -> int:
    return sum(row_digest(key.table, key.id, row) for key, row in rows.items()) % (1 << 128)


def test_a_new_store_holds_nothing_at_index_zero(store: Store) -> None:
    assert (store.saved().index, store.saved().digest) == (0, 0)
    assert store.load_live() == []
    assert store.recount_digest() == (store.saved(), 0)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(row=messages(Task))
def test_a_task_comes_back_bit_for_bit(row: Task) -> None:
    codec = TaskCodec()
    with sqlite3.connect(":memory:") as db:
        marks = ",".join("?" * len(codec.columns))
        values = db.execute(f"SELECT {marks}", codec.encode(row)).fetchone()
    back = codec.decode(values)
    assert back.SerializeToString(deterministic=True) == row.SerializeToString(deterministic=True)


@settings(max_examples=60, deadline=None)
@given(row=messages(Event), index=st.integers(0, 2**62), number=st.integers(0, 2**62))
def test_an_event_comes_back_bit_for_bit(row: Event, index: int, number: int) -> None:
    row.id, row.index = f"{index}-{number}", index
    codec = codecs()[Table.EVENTS]
    back = codec.decode(codec.encode(row))
    assert back.SerializeToString(deterministic=True) == row.SerializeToString(deterministic=True)


def test_a_field_without_a_column_is_kept() -> None:
    codec = TaskCodec({"id": "id", "state": "state"})
    row = task(1, COMPLETED, name="sleep", actor="ann", losses=3)
    row.placement.SetInParent()
    back = codec.decode(codec.encode(row))
    assert back == row
    assert back.HasField("placement")
    assert not back.HasField("result")


def test_every_table_comes_back_by_key_and_by_digest(store: Store) -> None:
    rows: dict[Key, Row] = {
        Key(Table.TASKS, "a"): Task(id="a", state=RUNNING, node="n1"),
        Key(Table.NODES, "n1"): Node(id="n1", hostname="one", online=True),
        Key(Table.EVENTS, "3-0"): Event(id="3-0", index=3, task="a"),
        Key(Table.REPLIES, reply_key("c", "r")): StoredReply(client="c", request_id="r", reply=b"\0\xff"),
        Key(Table.SUBMIT_KEYS, "k"): SubmitKey(key="k", task_id="a"),
        Key(Table.SETTINGS, "max_queue_depth"): Setting(name="max_queue_depth", value="5"),
        Key(Table.BATCHES, reply_key("c", "b")): Batch(client="c", id="b", count=9, next=3, keys=b"\0\xff"),
    }
    digest = digest_of(rows)
    store.save([new(*key, row) for key, row in rows.items()], 3, 1, 99, digest)
    assert store.get(rows) == rows
    assert store.recount_digest() == (store.saved(), digest)
    live = store.load_live()
    assert [type(row) for row in live] == [Node, Setting, Batch, Task]
    absent = [
        Key(Table.TASKS, "b"),
        Key(Table.EVENTS, "3-1"),
        Key(Table.EVENTS, "no event"),
        Key(Table.NODES, "n2"),
    ]
    assert store.get(absent) == {}


def test_get_answers_many_keys_of_which_some_are_there(store: Store) -> None:
    store.save([new(Table.TASKS, f"t{n:04}", task(n)) for n in range(700)], 1, 1, 1, 0)
    keys = [Key(Table.TASKS, f"t{n:04}") for n in range(0, 1400, 2)]
    found = store.get(keys)
    assert sorted(key.id for key in found) == [f"t{n:04}" for n in range(0, 700, 2)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.sampled_from([None, QUEUED, RUNNING, COMPLETED, DEAD_LETTER]))),
        max_size=6,
    )
)
def test_merged_saves_equal_the_state_that_made_them(batches: list[list[tuple[int, int | None]]]) -> None:
    """Rows, counts, texts and digest after any sequence of changes are those of the rows that are left."""
    store = Store(":memory:")
    store.open()
    state, rows = ClusterState(), dict[str, Task]()
    for index, batch in enumerate(batches, 1):
        changes: list[Change] = []
        for number, step in batch:
            old = rows.get(f"t{number:04}")
            row = None if step is None else task(number, step, modified_index=index, name=f"N{index}")
            if old is None and row is None:
                continue
            changes.append(Change(Table.TASKS, f"t{number:04}", old, row))
            rows.pop(f"t{number:04}", None)
            if row is not None:
                rows[row.id] = row
        state.commit(NOTHING._replace(changes=tuple(changes)), index, 1, index)
        store.save(changes, index, 1, index, state.digest)
    assert store.recount_digest() == (store.saved(), state.digest)
    by_state = store.counts().by_state
    assert by_state == {s: n for s in by_state if (n := sum(row.state == s for row in rows.values()))}
    assert sum(by_state.values()) == len(rows)
    live = store.load_live()
    assert {row.id for row in live if isinstance(row, Task)} == {
        row.id for row in rows.values() if row.state in (QUEUED, RUNNING)
    }
    store.close()


def test_a_restart_continues_from_the_saved_index(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    first = Store(path)
    first.open()
    first.save([new(Table.TASKS, "t0001", task(1))], 7, 3, 1234, 55)
    first.close()
    second = Store(path)
    second.open()
    saved = second.saved()
    assert (saved.index, saved.term, saved.at_us, saved.digest) == (7, 3, 1234, 55)
    with pytest.raises(ValueError, match="index 6 on a store at 7"):
        second.save([], 6, 3, 1234, 55)
    with pytest.raises(ValueError, match="index 7 on a store at 7"):
        second.save([new(Table.TASKS, "t0002", task(2))], 7, 3, 1234, 55)
    assert second.saved() == saved
    second.close()


@pytest.mark.parametrize("point", ["begin", "rows", "commit"])
@pytest.mark.parametrize("place", ["file", "memory"])
def test_a_save_that_fails_leaves_the_previous_index_and_rows(point: str, place: str, tmp_path: Path) -> None:
    armed: list[str] = []

    def fail(where: str) -> None:
        if where in armed:
            raise KeyboardInterrupt

    store = Store(tmp_path / "s" if place == "file" else ":memory:", failpoint=fail)
    store.open()
    store.save([new(Table.TASKS, "t0001", task(1))], 1, 1, 1, 11)
    armed.append(point)
    with pytest.raises(KeyboardInterrupt):
        store.save([new(Table.TASKS, "t0002", task(2))], 2, 1, 2, 22)
    armed.clear()
    assert (store.saved().index, store.saved().digest) == (1, 11)
    assert store.get([Key(Table.TASKS, "t0002")]) == {}
    assert store.counts().by_state == {QUEUED: 1}
    store.save([new(Table.TASKS, "t0002", task(2))], 2, 1, 2, 22)
    assert store.counts().by_state == {QUEUED: 2}
    store.close()


def test_an_image_is_the_state_at_the_save_before_it() -> None:
    store = Store(":memory:")
    store.open()
    store.save([new(Table.TASKS, "t0001", task(1))], 1, 1, 1, 11)
    image = store.image()
    store.save([new(Table.TASKS, "t0002", task(2))], 2, 1, 2, 22)
    store.close()
    back = Store.from_image(image)
    assert back.saved().index == 1
    assert back.counts().by_state == {QUEUED: 1}
    back.save([new(Table.TASKS, "t0002", task(2))], 2, 1, 2, 22)
    assert back.counts().by_state == {QUEUED: 2}
    back.close()


def test_readers_do_not_wait_for_a_writer_and_see_no_half_save(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def look(where: str) -> None:
        if where == "commit":
            page = watched.list_tasks(TaskQuery())
            seen.append((page.index, page.total))

    watched = Store(tmp_path / "s", failpoint=look)
    watched.open()
    watched.save([new(Table.TASKS, "t0001", task(1))], 1, 1, 1, 0)
    watched.save([new(Table.TASKS, "t0002", task(2))], 2, 1, 2, 0)
    assert seen == [(0, 0), (1, 1)]
    watched.close()


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.open()
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    store.close()


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(b"certainly no database" * 100)
    with pytest.raises(StoreDamaged) as caught:
        Store(path).open()
    assert str(path) in caught.value.message
    assert "rebuilt from the log" in caught.value.remedy


def test_a_database_of_another_program_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(StoreDamaged, match="another program"):
        Store(path).open()
    with sqlite3.connect(path) as db:
        assert [name for (name,) in db.execute("SELECT name FROM sqlite_master")] == ["recipes"]


def test_a_flipped_page_is_damaged_not_silently_read(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = Store(path)
    store.open()
    store.save([new(Table.TASKS, f"t{n:04}", task(n, name="x" * 200)) for n in range(500)], 1, 1, 1, 0)
    store.close()
    data = bytearray(path.read_bytes())
    for page in range(4096 * 60, len(data), 4096):
        data[page : page + 4] = b"\xde\xad\xbe\xef"
    path.write_bytes(data)
    store = Store(path)
    store.open()
    with pytest.raises(StoreDamaged):
        store.recount_digest()
    store.close()


def test_a_store_of_a_later_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = Store(path)
    store.open()
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET schema_version = schema_version + 1")
    with pytest.raises(StoreTooNew) as caught:
        Store(path).open()
    assert f"schema {SCHEMA_VERSION + 1}" in caught.value.message
    assert "release" in caught.value.remedy


def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        Store(tmp_path / "none" / "s").open()
    assert "No such file" in caught.value.message


def test_an_event_with_a_foreign_id_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="<9>"):
        store.save([new(Table.EVENTS, "8-0", Event(id="8-0", index=9))], 9, 1, 1, 0)
    assert store.saved().index == 0


def test_expired_rows_are_named_oldest_first(store: Store) -> None:
    replies = [StoredReply(client="c", request_id=str(n), at_us=100 - n) for n in range(5)]
    keys = [SubmitKey(key=str(n), ended_at_us=n * 10) for n in range(5)]
    changes = [new(Table.REPLIES, reply_key("c", row.request_id), row) for row in replies]
    changes += [new(Table.SUBMIT_KEYS, row.key, row) for row in keys]
    store.save(changes, 1, 1, 1, 0)
    assert [key.id for key in store.expired_replies(98)] == [reply_key("c", "4"), reply_key("c", "3")]
    assert [key.id for key in store.expired_replies(200, limit=1)] == [reply_key("c", "4")]
    assert [key.id for key in store.expired_submit_keys(31)] == ["1", "2", "3"]
    store.save([Change(Table.REPLIES, reply_key("c", "4"), replies[4], None)], 2, 1, 2, 0)
    assert [key.id for key in store.expired_replies(98)] == [reply_key("c", "3")]


def test_the_past_is_named_oldest_first(store: Store) -> None:
    ended = [
        task(n, sorted(ENDED)[n % 5], completed_at_us=100 - n, submit_key="k" if n == 7 else "") for n in range(10)
    ]
    for row in ended:
        row.dead_lettered_at_us = row.completed_at_us if row.state == DEAD_LETTER else 0
    events = [Event(id=f"{n}-{m}", index=n, at_us=n) for n in (1, 2, 10) for m in (0, 1)]
    changes = [new(Table.TASKS, row.id, row) for row in ended] + [new(Table.EVENTS, row.id, row) for row in events]
    store.save(changes, 10, 1, 1, 0)
    old = [Aged("t0008", 92), Aged("t0006", 94), Aged("t0005", 95)]
    assert store.ended_tasks(96, 0, 10) == old
    assert store.ended_tasks(96, 94, 10) == [old[0], Aged("t0007", 93), *old[1:]]
    assert store.ended_tasks(96, 0, 2) == old[:2]
    assert store.old_dead_letters(96, 0, 10) == [Aged("t0009", 91)]
    assert [item.id for item in store.old_events(10, 3)] == ["1-0", "1-1", "2-0"]
    assert store.old_events(1, 3) == []


def test_another_task_under_an_id_that_went_in_the_same_save_has_its_own_place(store: Store) -> None:
    first, between, second = task(1), task(2), task(1)
    second.created_index = 9
    store.save([new(Table.TASKS, each.id, each) for each in (first, between)], 3, 1, 3, 0)
    gone = Change(Table.TASKS, first.id, first, None)
    store.save([gone, new(Table.TASKS, second.id, second)], 9, 1, 9, 0)
    assert store.get([Key(Table.TASKS, "t0001")]) == {Key(Table.TASKS, "t0001"): second}
    assert [row.id for row in store.list_tasks(TaskQuery()).tasks] == ["t0001", "t0002"]


def test_what_lies_beyond_the_last_id_is_not_looked_up(store: Store) -> None:
    asked: list[str] = []
    assert store._cold is not None
    store._cold.raw.set_trace_callback(asked.append)
    assert store.get([Key(Table.TASKS, "t0001")]) == {}
    store.save([new(Table.TASKS, "t0002", task(2)), new(Table.TASKS, "t0003", task(3))], 1, 1, 0, 0)
    store.save([Change(Table.TASKS, "t0003", task(3), None)], 2, 1, 0, 0)
    asked.clear()
    assert store.get([Key(Table.TASKS, "t0004"), Key(Table.REPLIES, reply_key("ann", "1"))]) == {}
    assert asked == []
    keys = [Key(Table.TASKS, name) for name in ("t0001", "t0002", "t0003", "t0005")]
    assert store.get(keys) == {keys[1]: task(2)}
    assert asked


def test_the_last_ids_are_known_after_a_restart(tmp_path: Path) -> None:
    reply = StoredReply(client="ann", request_id="7", reply=b"x")
    for _ in range(2):
        store = Store(tmp_path / "state.sqlite")
        store.open()
        if not store.saved().index:
            rows = [new(Table.TASKS, "t0009", task(9)), new(Table.REPLIES, reply_key("ann", "7"), reply)]
            store.save(rows, 1, 1, 0, 0)
        found = store.get([Key(Table.TASKS, "t0009"), Key(Table.REPLIES, reply_key("ann", "7"))])
        assert len(found) == 2
        store.close()
