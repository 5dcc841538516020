"""Pages that stay put, totals that respect the filter, and plans that use the indexes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.v1.types_pb2 import Event, Task, TaskSpec
from node.core.faults import Code, Fault
from node.core.model import (
    ASSIGNED,
    CANCELLED,
    COMPLETED,
    DEAD_LETTER,
    FAILED,
    PENDING,
    QUEUED,
    RUNNING,
    Change,
    Table,
)
from node.store import EventQuery, Store, TaskQuery

STATES = [PENDING, QUEUED, ASSIGNED, RUNNING, COMPLETED, FAILED, CANCELLED, DEAD_LETTER]


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    opened.open()
    yield opened
    opened.close()


def task(number: int, state: int = QUEUED, *, index: int | None = None, **fields: object) -> Task:
    row = Task(id=f"t{number:05}", state=state, created_index=number if index is None else index, **fields)  # type: ignore[arg-type]
    if state == DEAD_LETTER:
        row.dead_lettered_at_us = 10_000 - number
    return row


class Filler:
    """Saves rows one entry after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.rows: dict[str, Task] = {}
        self._index = store.saved().index

    def put(self, *rows: Task) -> None:
        self._save([Change(Table.TASKS, row.id, self.rows.get(row.id), row) for row in rows])
        self.rows |= {row.id: row for row in rows}

    def drop(self, *ids: str) -> None:
        self._save([Change(Table.TASKS, key, self.rows.pop(key), None) for key in ids])

    def _save(self, changes: list[Change]) -> None:
        self._index += 1
        self._store.save(changes, self._index, 1, self._index, 0)


def walk(store: Store, query: Callable[[str], TaskQuery]) -> tuple[list[str], list[int]]:
    """Ids of all pages, and the totals that they said."""
    ids: list[str] = []
    totals: list[int] = []
    cursor = ""
    while True:
        page = store.list_tasks(query(cursor))
        ids += [row.id for row in page.tasks]
        totals.append(page.total)
        cursor = page.next_cursor
        if not cursor:
            return ids, totals


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "states": st.lists(st.sampled_from(STATES), min_size=1, max_size=4).map(tuple),
        "node": st.sampled_from(["", "n1", "n2", "none"]),
        "workflow": st.sampled_from(["", "w1", "none"]),
        "text": st.sampled_from(["", "T0000", "alpha", "ALPHA", "beta run", "%", "zzz"]),
    },
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(STATES), st.sampled_from(["", "n1", "n2"]), st.sampled_from(["", "w1"]),
        st.sampled_from(["alpha", "Beta", "50%"]), st.integers(1, 4),
    ),
    max_size=25,
)  # fmt: skip


def matches(row: Task, query: TaskQuery) -> bool:
    text = f"{row.id}\n{row.name}\n{row.spec.shell_command.decode()}".lower()
    return (
        (not query.states or row.state in query.states)
        and (not query.node or row.node == query.node)
        and (not query.workflow or row.workflow_id == query.workflow)
        and query.text.lower() in text
    )


@settings(max_examples=120, deadline=None)
@given(rows=ROWS, filters=FILTERS, limit=st.integers(1, 7))
def test_pages_hold_all_that_matches_newest_first(
    rows: list[tuple[int, str, str, str, int]], filters: dict[str, object], limit: int
) -> None:
    store = Store(":memory:")
    store.open()
    made = []
    for number, (state, node, workflow, name, index) in enumerate(rows):
        row = task(number, state, index=index, node=node, workflow_id=workflow, name=name)
        row.spec.shell_command = f"{name} run".encode()
        made.append(row)
    Filler(store).put(*made)
    query = TaskQuery(limit=limit, **filters)  # type: ignore[arg-type]
    expected = [row for row in made if matches(row, query)]
    expected.sort(key=lambda row: (row.created_index, row.id), reverse=True)
    ids, totals = walk(store, lambda cursor: TaskQuery(limit=limit, cursor=cursor, **filters))  # type: ignore[arg-type]
    assert ids == [row.id for row in expected]
    assert set(totals) == {len(expected)}
    store.close()


def test_a_run_with_another_command_is_found_by_that(store: Store) -> None:
    filler = Filler(store)
    for run, command in ((1, b"make all"), (1, b"make all"), (2, b"make check")):
        filler.put(task(1, run=run, spec=TaskSpec(shell_command=command)))
    assert [len(store.list_tasks(TaskQuery(text=text)).tasks) for text in ("make all", "make check")] == [0, 1]


@pytest.mark.parametrize("filters", [{}, {"states": (QUEUED, RUNNING)}, {"node": "n1"}, {"text": "job"}])
def test_what_comes_goes_and_changes_between_pages_repeats_and_hides_nothing(
    store: Store, filters: dict[str, object]
) -> None:
    rng = random.Random(5)
    filler = Filler(store)
    filler.put(*(task(n, rng.choice((QUEUED, RUNNING)), node="n1", name="job") for n in range(1, 200)))
    stay = {f"t{n:05}" for n in range(1, 200, 3)}
    seen: list[str] = []
    cursor, number = "", 1000
    while True:
        page = store.list_tasks(TaskQuery(limit=10, cursor=cursor, **filters))  # type: ignore[arg-type]
        seen += [row.id for row in page.tasks]
        cursor = page.next_cursor
        if not cursor:
            break
        number += 1
        filler.put(task(number, QUEUED, node="n1", name="job"))
        others = sorted(set(filler.rows) - stay)
        filler.drop(rng.choice(others))
        changed = filler.rows[rng.choice(sorted(stay))]
        filler.put(task(changed.created_index, rng.choice((QUEUED, RUNNING)), node="n1", name="job"))
    assert len(seen) == len(set(seen))
    assert stay <= set(seen)
    assert seen == sorted(seen, reverse=True)


def test_tasks_of_one_entry_are_paged_too(store: Store) -> None:
    Filler(store).put(*(task(n, index=7) for n in range(25)))
    ids, _ = walk(store, lambda cursor: TaskQuery(limit=10, cursor=cursor))
    assert ids == [f"t{n:05}" for n in reversed(range(25))]


def test_totals_and_index_are_of_the_same_moment(store: Store) -> None:
    filler = Filler(store)
    filler.put(task(1, QUEUED), task(2, RUNNING, node="n1"), task(3, COMPLETED, node="n1"))
    page = store.list_tasks(TaskQuery(limit=1))
    assert (page.total, page.index) == (3, 1)
    filler.put(task(1, COMPLETED))
    filler.drop("t00003")
    assert store.list_tasks(TaskQuery(states=(COMPLETED,))).total == 1
    assert store.list_tasks(TaskQuery(states=(COMPLETED, COMPLETED, RUNNING))).total == 2
    counts = store.counts()
    assert (counts.by_state, counts.index) == ({COMPLETED: 1, RUNNING: 1}, 3)


def test_dead_letters_come_latest_first(store: Store) -> None:
    filler = Filler(store)
    filler.put(*(task(n, DEAD_LETTER) for n in range(1, 8)), task(9, COMPLETED))
    first = store.list_dead_letters(limit=3)
    assert ([row.id for row in first.tasks], first.total) == (["t00001", "t00002", "t00003"], 7)
    filler.put(task(2, QUEUED))
    second = store.list_dead_letters(limit=3, cursor=first.next_cursor)
    assert ([row.id for row in second.tasks], second.total) == (["t00004", "t00005", "t00006"], 6)
    third = store.list_dead_letters(limit=3, cursor=second.next_cursor)
    assert ([row.id for row in third.tasks], third.next_cursor) == (["t00007"], "")


def event(index: int, number: int, **fields: object) -> Event:
    return Event(id=f"{index}-{number}", index=index, at_us=index * 10, **fields)  # type: ignore[arg-type]


@pytest.fixture
def events(store: Store) -> Store:
    rows = [event(i, n, task=f"t{i % 3}", node=f"n{n}" if n else "") for i in range(1, 13) for n in range(3)]
    rows.append(event(99, 0, node="n1"))
    for row in rows:
        store.save([Change(Table.EVENTS, row.id, None, row)], store.saved().index + 1, 1, 1, 0)
    return store


def event_ids(store: Store, **query: object) -> list[str]:
    found: list[str] = []
    cursor = ""
    while True:
        page = store.list_events(EventQuery(limit=4, cursor=cursor, **query))  # type: ignore[arg-type]
        found += [row.id for row in page.events]
        cursor = page.next_cursor
        if not cursor:
            return found


def test_events_come_oldest_first_by_task_node_and_time(events: Store) -> None:
    everything = [f"{i}-{n}" for i in range(1, 13) for n in range(3)] + ["99-0"]
    assert event_ids(events) == everything
    assert event_ids(events, task="t1") == [f"{i}-{n}" for i in (1, 4, 7, 10) for n in range(3)]
    assert event_ids(events, node="n2") == [f"{i}-2" for i in range(1, 13)]
    assert event_ids(events, node="n1")[-1] == "99-0"
    assert event_ids(events, task="t1", node="n1") == ["1-1", "4-1", "7-1", "10-1"]
    assert event_ids(events, since_us=115) == ["12-0", "12-1", "12-2", "99-0"]
    assert event_ids(events, since_us=120) == ["12-0", "12-1", "12-2", "99-0"]
    assert event_ids(events, task="t0", since_us=61) == [f"{i}-{n}" for i in (9, 12) for n in range(3)]
    assert event_ids(events, since_us=991) == []
    newest = events.list_events(EventQuery(newest_first=True, limit=2)).events
    assert [row.id for row in newest] == ["99-0", "12-2"]


def test_prefixes(store: Store) -> None:
    Filler(store).put(*(Task(id=key, state=QUEUED) for key in ("ab", "abc", "abd", "b", "a%", "z\U0010fffe")))
    assert store.ids_with_prefix("ab") == ["ab"]
    assert store.ids_with_prefix("abc") == ["abc"]
    assert store.ids_with_prefix("a") == ["a%", "ab"]
    assert store.ids_with_prefix("a%") == ["a%"]
    assert store.ids_with_prefix("z") == ["z\U0010fffe"]
    assert store.ids_with_prefix("ac") == []
    assert store.ids_with_prefix("", limit=9) == ["a%", "ab", "abc", "abd", "b", "z\U0010fffe"]


@pytest.mark.parametrize(
    "cursor", ["x", "====", "äö", "MSAy" * 500, "LTEgYQ", "MQ", "OTk5OTk5OTk5OTk5OTk5OTk5OTkgYQ"]
)
def test_a_cursor_that_no_list_returned_is_refused(store: Store, cursor: str) -> None:
    for call in (
        lambda: store.list_tasks(TaskQuery(cursor=cursor)),
        lambda: store.list_events(EventQuery(cursor=cursor)),
        lambda: store.list_dead_letters(cursor=cursor),
    ):
        with pytest.raises(Fault) as caught:
            call()
        assert caught.value.code == Code.INVALID
        assert "without a cursor" in caught.value.remedy


@pytest.mark.parametrize("limit", [-1, 1001])
def test_a_limit_out_of_range_is_refused(store: Store, limit: int) -> None:
    for call in (
        lambda: store.list_tasks(TaskQuery(limit=limit)),
        lambda: store.list_events(EventQuery(limit=limit)),
        lambda: store.list_dead_letters(limit=limit),
    ):
        with pytest.raises(Fault, match="1-1000"):
            call()
