"""Workflows in the store: pages that stay put, totals that respect the filter, what is old enough to leave."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import Task, Workflow, WorkflowState
from node.core.faults import Code, Fault
from node.core.model import COMPLETED, DEAD_LETTER, QUEUED, Change, Row, row_key
from node.store import Store
from node.store.moment_workflows import WorkflowQuery
from node.store.past import AgedWorkflow

RUNNING = types_pb2.WORKFLOW_STATE_RUNNING
DONE = types_pb2.WORKFLOW_STATE_COMPLETED
FAILED = types_pb2.WORKFLOW_STATE_FAILED


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    opened.open()
    yield opened
    opened.close()


def put(store: Store, *rows: Row) -> None:
    changes = [Change(*row_key(row), None, row) for row in rows]
    store.save(changes, store.saved().index + 1, 1, 1, 0)


def workflow(number: int, state: WorkflowState.ValueType = RUNNING, **fields: object) -> Workflow:
    return Workflow(id=f"w{number:04}", name=f"Flow {number % 3}", state=state, created_index=number, **fields)  # type: ignore[arg-type]


def pages(store: Store, **query: object) -> list[str]:
    """Ids of all pages of three, which must agree with the total."""
    ids: list[str] = []
    cursor = ""
    while True:
        page = store.list_workflows(WorkflowQuery(limit=3, cursor=cursor, **query))  # type: ignore[arg-type]
        ids += [row.id for row in page.workflows]
        cursor = page.next_cursor
        if not cursor:
            assert page.total == len(ids)
            return ids


def test_newest_first_page_by_page(store: Store) -> None:
    put(store, *(workflow(number) for number in range(10)))
    assert pages(store) == [f"w{number:04}" for number in reversed(range(10))]


def test_a_page_goes_on_where_the_last_one_ended(store: Store) -> None:
    put(store, *(workflow(number) for number in range(6)))
    first = store.list_workflows(WorkflowQuery(limit=3))
    put(store, workflow(99))
    second = store.list_workflows(WorkflowQuery(limit=3, cursor=first.next_cursor))
    assert [row.id for row in second.workflows] == ["w0002", "w0001", "w0000"]
    assert second.total == 7


def test_filters(store: Store) -> None:
    put(store, *(workflow(number, (RUNNING, DONE, FAILED)[number % 3]) for number in range(12)))
    assert pages(store, states=(DONE,)) == ["w0010", "w0007", "w0004", "w0001"]
    both = pages(store, states=(DONE, FAILED, DONE))
    assert both == [f"w{number:04}" for number in reversed(range(12)) if number % 3]
    assert pages(store, text="flow 0") == ["w0009", "w0006", "w0003", "w0000"]
    assert pages(store, text="W0011") == ["w0011"]
    assert pages(store, text="w0011") == ["w0011"]
    assert pages(store, text="flow", states=(RUNNING,)) == ["w0009", "w0006", "w0003", "w0000"]


def test_totals_follow_what_comes_changes_and_goes(store: Store) -> None:
    was = workflow(1)
    put(store, was, workflow(2), workflow(3, DONE))
    now = workflow(1, FAILED)
    store.save([Change(*row_key(was), was, now)], store.saved().index + 1, 1, 1, 0)
    gone = workflow(2)
    store.save([Change(*row_key(gone), gone, None)], store.saved().index + 1, 1, 1, 0)
    by_state = [store.list_workflows(WorkflowQuery(states=(state,))).total for state in (RUNNING, DONE, FAILED)]
    assert by_state == [0, 1, 1]
    assert store.list_workflows(WorkflowQuery(states=(DONE, FAILED, DONE))).total == 2
    assert store.list_workflows(WorkflowQuery()).total == 2


@pytest.mark.parametrize("query", [WorkflowQuery(limit=1001), WorkflowQuery(cursor="nonsense!")])
def test_bad_pages_are_refused(store: Store, query: WorkflowQuery) -> None:
    with pytest.raises(Fault) as caught:
        store.list_workflows(query)
    assert caught.value.code == Code.INVALID


def test_prefixes(store: Store) -> None:
    put(store, workflow(10), workflow(11), workflow(200))
    assert store.workflow_ids_with_prefix("w001") == ["w0010", "w0011"]
    assert store.workflow_ids_with_prefix("w02") == ["w0200"]
    assert store.workflow_ids_with_prefix("x") == []


def test_a_row_comes_back_as_it_was(store: Store) -> None:
    row = workflow(1, context=[types_pb2.ContextItem(key="a", value=b"\xff")], max_failures=3, stopping=True)
    put(store, row)
    assert store.list_workflows(WorkflowQuery()).workflows == [row]


def test_what_is_old_enough_leaves_whole(store: Store) -> None:
    put(
        store,
        workflow(1, DONE, completed_at_us=10, count=2),
        workflow(2, FAILED, completed_at_us=11, count=3),
        workflow(3, DONE, completed_at_us=12, count=4, submit_key="k"),
        workflow(4, DONE, completed_at_us=90, count=5),
        workflow(5),
    )
    assert store.ended_workflows(50, 5, 5, 10) == [AgedWorkflow("w0001", 10, 2)]
    assert [item.id for item in store.ended_workflows(50, 50, 5, 10)] == ["w0001", "w0002"]
    assert [item.id for item in store.ended_workflows(50, 50, 50, 10)] == ["w0001", "w0002", "w0003"]
    assert [item.id for item in store.ended_workflows(99, 50, 50, 1)] == ["w0001"]


def test_members_do_not_leave_alone(store: Store) -> None:
    fields = {"created_index": 1, "completed_at_us": 5, "dead_lettered_at_us": 5}
    put(
        store,
        Task(id="t1", state=COMPLETED, **fields),  # type: ignore[arg-type]
        Task(id="t2", state=DEAD_LETTER, **fields),  # type: ignore[arg-type]
        Task(id="w.0", state=COMPLETED, workflow_id="w", **fields),  # type: ignore[arg-type]
        Task(id="w.1", state=DEAD_LETTER, workflow_id="w", **fields),  # type: ignore[arg-type]
    )
    assert [item.id for item in store.ended_tasks(9, 9, 10)] == ["t1"]
    assert [item.id for item in store.old_dead_letters(9, 9, 10)] == ["t2"]


def test_dependencies_come_and_go_with_their_task(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.sqlite")
    store.open()
    join = Task(id="w.2", state=QUEUED, workflow_id="w", created_index=1, member=2, depends_on=[0, 1])
    put(store, Task(id="w.0", workflow_id="w", created_index=1), Task(id="w.1", workflow_id="w", member=1), join)
    later = Task()
    later.CopyFrom(join)
    later.state = COMPLETED
    store.save([Change(*row_key(join), join, later)], store.saved().index + 1, 1, 1, 0)

    def found() -> list[tuple[str, ...]]:
        with sqlite3.connect(tmp_path / "state.sqlite") as db:
            return db.execute("SELECT * FROM te_task_dependencies ORDER BY 1, 2, 3").fetchall()

    assert found() == [("w", "w.2", "w.0"), ("w", "w.2", "w.1")]
    store.save([Change(*row_key(join), later, None)], store.saved().index + 1, 1, 1, 0)
    assert found() == []
    store.close()


def test_a_live_workflow_is_loaded_with_all_its_tasks(store: Store) -> None:
    live = [workflow(1, count=2), Task(id="w0001.0", state=COMPLETED, workflow_id="w0001", created_index=1)]
    live.append(Task(id="w0001.1", state=QUEUED, workflow_id="w0001", created_index=1, member=1))
    past = [workflow(2, DONE, count=1), Task(id="w0002.0", state=COMPLETED, workflow_id="w0002", created_index=2)]
    put(store, *live, *past)
    assert sorted(row_key(row).id for row in store.load_live()) == ["w0001", "w0001.0", "w0001.1"]
