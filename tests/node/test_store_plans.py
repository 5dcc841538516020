"""Every list query walks an index in its order: nothing is sorted, no wide row is read that is not shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cortex.v1.types_pb2 import Event, StoredReply, SubmitKey, Task
from node.core.model import ENDED, LIVE, QUEUED, RUNNING, Change, Key, Row, Table, row_key
from node.store import EventQuery, Store, TaskQuery
from node.store.moment_workflows import WorkflowQuery
from node.store.queries import encode_cursor

FURTHER = encode_cursor(300, "t00300")
EVENTS_FURTHER = encode_cursor(300, "0")


@pytest.fixture(params=["empty", "filled", "analysed"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    opened = Store(":memory:")
    opened.open()
    if request.param != "empty":
        rows: list[Row] = []
        for n in range(600):
            state = sorted(LIVE | ENDED)[n % 9]
            rows.append(
                Task(
                    id=f"t{n:05}",
                    state=state,
                    created_index=n,
                    node=f"n{n % 5}",
                    workflow_id=f"w{n % 50}",
                    operation=f"o{n % 40}" if n % 2 else "",
                )
            )
            rows.append(Event(id=f"{n}-0", index=n, task=f"t{n:05}", node=f"n{n % 5}", at_us=n))
            rows.append(StoredReply(client="c", request_id=str(n), at_us=n))
            rows.append(SubmitKey(key=str(n), ended_at_us=n))
        opened.save([Change(*row_key(row), None, row) for row in rows], 600, 1, 1, 0)
    if request.param == "analysed":
        assert opened._writer_connection is not None
        opened._writer_connection.raw.execute("ANALYZE")
    yield opened
    opened.close()


def plans_of(store: Store, read: Callable[[], object]) -> dict[str, list[str]]:
    """Every SELECT that a read makes, with the lines of its plan."""
    assert store._history is not None
    db = store._history.raw
    made: list[str] = []
    db.set_trace_callback(made.append)
    read()
    db.set_trace_callback(None)
    selects = [sql for sql in made if sql.startswith("SELECT")]
    assert selects
    return {sql: [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in selects}


def tasks(**fields: object) -> Callable[[Store], object]:
    return lambda store: store.list_tasks(TaskQuery(**fields))  # type: ignore[arg-type]


def events(**fields: object) -> Callable[[Store], object]:
    return lambda store: store.list_events(EventQuery(**fields))  # type: ignore[arg-type]


BY_STATE = "SEARCH t USING INDEX te_tasks_by_state (state=? AND (created_index,id)<(?,?))"
BY_NODE = "SEARCH t USING INDEX te_tasks_by_node (assigned_node=? AND state=? AND (created_index,id)<(?,?))"
BY_WORKFLOW = "SEARCH t USING INDEX te_tasks_by_workflow (workflow_id=? AND (created_index,id)<(?,?))"
BY_OPERATION = "SEARCH t USING INDEX te_tasks_by_operation (operation=? AND (created_index,id)<(?,?))"
BY_TEXT = "SEARCH x USING PRIMARY KEY ((created_index,task_id)<(?,?))"
OLDEST = "(log_index,number)>(?,?) AND log_index<?)"
NEWEST = "log_index>? AND (log_index,number)<(?,?))"
EVENTS_BY = "SEARCH te_task_events USING INDEX te_task_events_"
BY_EVENT = f"SEARCH te_task_events USING PRIMARY KEY ({OLDEST}"
OF_TASK = f"{EVENTS_BY}by_task (task_id=? AND {OLDEST}"
OF_NODE = f"{EVENTS_BY}by_node (node=? AND {OLDEST}"
CORDONED, FAILED_EVENT, ASSIGNED_EVENT = 18, 5, 2

READS: dict[str, tuple[Callable[[Store], object], str]] = {
    "tasks": (tasks(), "SEARCH t USING INDEX te_tasks_newest ((created_index,id)<(?,?))"),
    "tasks, next page": (tasks(cursor=FURTHER), "SEARCH t USING INDEX te_tasks_newest ((created_index,id)<(?,?))"),
    "state": (tasks(states=(QUEUED,)), BY_STATE),
    "state, next page": (tasks(states=(QUEUED,), cursor=FURTHER), BY_STATE),
    "states": (tasks(states=tuple(ENDED)), BY_STATE),
    "node": (tasks(node="n1"), BY_NODE),
    "node and states": (tasks(node="n1", states=(QUEUED, RUNNING), cursor=FURTHER), BY_NODE),
    "workflow": (tasks(workflow="w1"), BY_WORKFLOW),
    "workflow, node and state": (tasks(workflow="w1", node="n1", states=(RUNNING,)), BY_WORKFLOW),
    "operation": (tasks(operation="o1"), BY_OPERATION),
    "operation, next page": (tasks(operation="o1", cursor=FURTHER), BY_OPERATION),
    "operation and all else": (
        tasks(operation="o1", workflow="w1", node="n1", states=(QUEUED, RUNNING)),
        BY_OPERATION,
    ),
    "text": (tasks(text="a"), BY_TEXT),
    "text and operation": (tasks(text="a", operation="o1"), BY_TEXT),
    "text, node and state": (tasks(text="a", node="n1", states=(RUNNING,), cursor=FURTHER), BY_TEXT),
    "dead letters": (
        lambda store: store.list_dead_letters(),
        "SEARCH te_tasks USING INDEX te_tasks_dead ((dead_lettered_at,id)<(?,?))",
    ),
    "events": (events(cursor=EVENTS_FURTHER), BY_EVENT),
    "events since": (events(since_us=5), BY_EVENT),
    "events of a task": (events(task="t1"), OF_TASK),
    "events of a task since": (events(task="t1", since_us=5), OF_TASK),
    "events of a node": (events(node="n1", cursor=EVENTS_FURTHER), OF_NODE),
    "events of a task on a node": (events(task="t1", node="n1"), OF_TASK),
    "newest events": (events(newest_first=True), f"SEARCH te_task_events USING PRIMARY KEY ({NEWEST}"),
    "newest events, next page": (
        events(newest_first=True, cursor=EVENTS_FURTHER, since_us=5),
        f"SEARCH te_task_events USING PRIMARY KEY ({NEWEST}",
    ),
    "newest events of a task": (
        events(newest_first=True, task="t1"),
        f"{EVENTS_BY}by_task (task_id=? AND {NEWEST}",
    ),
    "events of a workflow": (
        events(workflow="w1", types=(ASSIGNED_EVENT,)),
        f"{EVENTS_BY}by_workflow (workflow_id=? AND {OLDEST}",
    ),
    "events of an operation": (
        events(operation="o", newest_first=True),
        f"{EVENTS_BY}by_operation (operation=? AND {NEWEST}",
    ),
    "events of an actor": (events(actor="a", since_us=3), f"{EVENTS_BY}audit ({OLDEST}"),
    "audit": (events(audit=True, newest_first=True), f"{EVENTS_BY}audit ({NEWEST}"),
    "a node's own events": (
        events(node="n1", types=(CORDONED,), newest_first=True),
        f"{EVENTS_BY}of_nodes (node=? AND {NEWEST}",
    ),
    "events of rare types": (events(types=(FAILED_EVENT, CORDONED)), f"{EVENTS_BY}rare (type=? AND {OLDEST}"),
    "events of frequent types": (events(types=(FAILED_EVENT, ASSIGNED_EVENT)), BY_EVENT),
    "prefix": (
        lambda store: store.ids_with_prefix("t"),
        "SEARCH te_tasks USING COVERING INDEX sqlite_autoindex_te_tasks_1 (id>? AND id<?)",
    ),
    "expired replies": (
        lambda store: store.expired_replies(9),
        "SEARCH replies USING COVERING INDEX replies_by_time (at<?)",
    ),
    "expired submit keys": (
        lambda store: store.expired_submit_keys(9),
        "SEARCH submit_keys USING COVERING INDEX submit_keys_ended (ended_at>? AND ended_at<?)",
    ),
    "old tasks": (
        lambda store: store.ended_tasks(9, 5, 100),
        "SEARCH te_tasks USING COVERING INDEX te_tasks_ended (completed_at<?)",
    ),
    "old workflows": (
        lambda store: store.ended_workflows(9, 5, 5, 100),
        "SEARCH te_workflows USING INDEX te_workflows_ended (completed_at>? AND completed_at<?)",
    ),
    "workflows": (
        lambda store: store.list_workflows(WorkflowQuery()),
        "SEARCH w USING INDEX te_workflows_newest ((created_index,id)<(?,?))",
    ),
    "workflows by state": (
        lambda store: store.list_workflows(WorkflowQuery(states=(1, 2))),
        "SEARCH w USING INDEX te_workflows_by_state (state=? AND (created_index,id)<(?,?))",
    ),
    "workflow prefix": (
        lambda store: store.workflow_ids_with_prefix("w"),
        "SEARCH te_workflows USING COVERING INDEX sqlite_autoindex_te_workflows_1 (id>? AND id<?)",
    ),
    "old dead letters": (
        lambda store: store.old_dead_letters(9, 5, 100),
        "SEARCH te_tasks USING INDEX te_tasks_dead (dead_lettered_at<?)",
    ),
    "old events": (
        lambda store: store.old_events(9, 100),
        "SEARCH te_task_events USING COVERING INDEX te_task_events_by_time (at<?)",
    ),
    "live rows": (lambda store: store.load_live(), "SEARCH te_tasks USING INDEX te_tasks_by_state (state=?)"),
    "by key": (
        # Not beyond the last one, which is not looked up, and there is none in an empty store.
        lambda store: store.get([Key(Table.TASKS, ""), Key(Table.TASKS, "t00002")]),
        "SEARCH te_tasks USING INDEX sqlite_autoindex_te_tasks_1 (id=?)",
    ),
    "events by key": (
        lambda store: store.get([Key(Table.EVENTS, "1-0"), Key(Table.EVENTS, "2-0")]),
        "SEARCH t USING PRIMARY KEY (log_index=? AND number=?)",
    ),
}

# Tables that are small, keys that were asked for, and texts by a filter on them.
_MAY_SCAN = (
    "meta",
    "te_task_counts",
    "te_workflow_counts",
    "nodes",
    "settings",
    "batches",
    "k",
    "CONSTANT",
    "1 CONSTANT",
    "2 CONSTANT",
    "te_task_text",
)


@pytest.mark.parametrize("name", READS)
def test_plan(store: Store, name: str) -> None:
    read, expected = READS[name]
    plans = plans_of(store, lambda: read(store))
    lines = [line for plan in plans.values() for line in plan]
    assert expected in lines, "\n".join(lines)
    assert not [line for line in lines if "TEMP B-TREE" in line]
    scans = [line for line in lines if line.startswith("SCAN") and line != expected]
    allowed = (*_MAY_SCAN, "x") if "text" in name else _MAY_SCAN
    assert not [line for line in scans if not line.removeprefix("SCAN ").startswith(allowed)]


_COUNTED = [
    "tasks",
    "state",
    "states",
    "node",
    "node and states",
    "dead letters",
    "workflows",
    "workflows by state",
]


@pytest.mark.parametrize("name", _COUNTED)
def test_a_total_without_further_filters_counts_no_rows(store: Store, name: str) -> None:
    read, _ = READS[name]
    assert not [sql for sql in plans_of(store, lambda: read(store)) if "count(" in sql]
