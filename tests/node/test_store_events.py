"""Lists of events by whatever they are chosen, oldest and newest first, page by page; the ledger of double runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.v1.types_pb2 import DoubleRun, Event
from node.core.faults import Code, Fault
from node.core.model import Change, row_key
from node.store import EventQuery, Store
from node.store.asof import Moment

SUBMITTED, ASSIGNED, FAILED, CORDONED, ALARM = 1, 2, 5, 18, 38
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "task": st.sampled_from(("", "t1", "t2")),
            "node": st.sampled_from(("", "n1", "n2")),
            "workflow": st.sampled_from(("", "w1")),
            "operation": st.sampled_from(("", "o1")),
            "actor": st.sampled_from(("", "ann", "bob")),
            "type": st.sampled_from((SUBMITTED, ASSIGNED, FAILED, CORDONED, ALARM)),
        }
    ),
    max_size=40,
)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "task": st.sampled_from(("t1", "t9")),
        "node": st.sampled_from(("n1", "n9")),
        "workflow": st.just("w1"),
        "operation": st.just("o1"),
        "actor": st.sampled_from(("ann", "nobody")),
        "audit": st.booleans(),
        "types": st.sampled_from(
            ((FAILED,), (FAILED, CORDONED), (ASSIGNED, FAILED), (CORDONED, ALARM), (SUBMITTED,))
        ),
        "since_us": st.integers(0, 400),
        "through_index": st.integers(1, 25),
        "newest_first": st.booleans(),
    },
)


def opened(*rows: Event | DoubleRun) -> Store:
    store = Store(":memory:")
    store.open()
    store.save([Change(*row_key(row), None, row) for row in rows], 1_000, 1, 1, 0)
    return store


def matches(row: Event, query: dict[str, Any]) -> bool:
    node_only = query.get("node") and query.get("types") and set(query["types"]) <= {CORDONED, ALARM}
    led = any(query.get(name) for name in ("task", "operation", "workflow"))
    return (
        all(
            not query.get(name) or getattr(row, name) == query[name]
            for name in ("task", "node", "workflow", "actor")
        )
        and (not query.get("operation") or row.operation == query["operation"])
        and (not query.get("audit") or bool(row.actor))
        and (not query.get("types") or row.type in query["types"])
        and row.at_us >= query.get("since_us", 0)
        and row.index <= query.get("through_index", 10**6)
        # What nodes' own types are asked for of a node has no task.
        and (not node_only or led or not row.task)
    )


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, query=QUERIES, limit=st.integers(1, 9))
def test_pages_hold_all_that_matches_in_order(
    rows: list[dict[str, Any]], query: dict[str, Any], limit: int
) -> None:
    # Two events an entry, ten microseconds between entries.
    made = []
    for number, row in enumerate(rows):
        index = 1 + number // 2
        made.append(Event(id=f"{index}-{number % 2}", index=index, at_us=index * 10, **row))
    store = opened(*made)
    expected = [row.id for row in made if matches(row, query)]
    if query.get("newest_first"):
        expected.reverse()
    found: list[str] = []
    cursor = ""
    while True:
        page = store.list_events(EventQuery(**query, limit=limit, cursor=cursor))
        found += [event.id for event in page.events]
        cursor = page.next_cursor
        if not cursor:
            break
    assert found == expected
    assert page.index == query.get("through_index", 1_000)
    store.close()


def test_double_runs_are_listed_newest_first_of_one_task_or_all() -> None:
    store = opened(
        Event(id="1-0", index=1, type=FAILED, at_us=1),
        *(DoubleRun(id=f"{n}-0", task=f"t{n % 2}", index=n, at_us=n, reason="lost") for n in range(1, 8)),
    )
    first = store.list_double_runs(limit=4)
    assert [row.index for row in first.double_runs] == [7, 6, 5, 4]
    rest = store.list_double_runs(limit=4, cursor=first.next_cursor)
    assert ([row.index for row in rest.double_runs], rest.next_cursor) == ([3, 2, 1], "")
    assert [row.index for row in store.list_double_runs("t1").double_runs] == [7, 5, 3, 1]
    then, at = store.reads.list_double_runs_at("", 2, "", Moment(5, 0, 9))
    assert ([row.index for row in then.double_runs], at.index) == ([5, 4], 5)
    later, _ = store.reads.list_double_runs_at("t1", 2, then.next_cursor, Moment(5, 0, 9))
    assert [row.index for row in later.double_runs] == [3, 1]
    with pytest.raises(Fault) as caught:
        store.list_double_runs(cursor="!")
    assert caught.value.code == Code.INVALID
    store.close()


def test_the_last_events_of_a_snapshot_come_oldest_first() -> None:
    store = opened(*(Event(id=f"{n}-0", index=n, at_us=n) for n in range(1, 30)))
    assert [event.index for event in store.reads.recent_events(25)] == [26, 27, 28, 29]
    store.close()
