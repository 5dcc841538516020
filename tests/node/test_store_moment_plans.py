"""Views of the past walk indexes: a page its own rows, a filter by state or node the events since then, no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cortex.v1.types_pb2 import (
    NODE_STATE_ACTIVE,
    TASK_STATE_QUEUED,
    WORKFLOW_STATE_RUNNING,
    Event,
    Node,
    Task,
    Workflow,
)
from node.core.model import Change, Row, row_key
from node.store import Store, TaskQuery, moment
from node.store.asof import Moment
from node.store.moment_workflows import WorkflowQuery
from tests.node.test_store_plans import plans_of

THEN = Moment(400, 0, 1_000)
QUEUED, RUNNING = 2, 4


@pytest.fixture(params=["filled", "analysed"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    opened = Store(":memory:")
    opened.open()
    rows: list[Row] = [Node(id=f"n{n}", modified_index=590) for n in range(5)]
    for n in range(1, 600):
        task = Task(id=f"t{n:05}", state=1 + n % 9, created_index=n, modified_index=n, node=f"n{n % 5}")  # type: ignore[arg-type]
        task.workflow_id = f"w{n % 50}"
        rows.append(task)
        events = (
            Event(id=f"{n}-0", task=task.id, node=task.node, state=task.state, was_state=TASK_STATE_QUEUED),
            Event(id=f"{n}-1", node=f"n{n % 5}", node_state=NODE_STATE_ACTIVE),
            Event(id=f"{n}-2", workflow=f"w{n % 50}", workflow_state=WORKFLOW_STATE_RUNNING),
        )
        for event in events:
            event.index, event.at_us = n, n
            rows.append(event)
    rows += [Workflow(id=f"w{n}", created_index=1, modified_index=590) for n in range(50)]
    opened.save([Change(*row_key(row), None, row) for row in rows], 600, 1, 600, 0)
    if request.param == "analysed":
        assert opened._writer_connection is not None
        opened._writer_connection.raw.execute("ANALYZE")
    yield opened
    opened.close()


def tasks(**fields: object) -> Callable[[Store], object]:
    return lambda store: store.reads.list_tasks_at(TaskQuery(**fields), THEN)  # type: ignore[arg-type]


AFTER = "SEARCH e USING PRIMARY KEY (log_index>?)"
OF_TASK = "SEARCH x USING INDEX te_task_events_by_task (task_id=? AND log_index>? AND log_index<?)"
ITS_EVENTS = "SEARCH e USING INDEX te_task_events_by_task (task_id=?)"
ITS_LATER_EVENTS = "SEARCH e USING INDEX te_task_events_by_task (task_id=? AND log_index>?)"
BY_ID = "SEARCH t USING INDEX sqlite_autoindex_te_tasks_1 (id=?)"
BY_WORKFLOW = "SEARCH t USING INDEX te_tasks_by_workflow (workflow_id=? AND (created_index,id)<(?,?))"
READS: dict[str, tuple[Callable[[Store], object], tuple[str, ...]]] = {
    "all": (tasks(), ("SEARCH t USING INDEX te_tasks_newest ((created_index,id)<(?,?))",)),
    "state": (
        tasks(states=(QUEUED, RUNNING)),
        ("SEARCH t USING INDEX te_tasks_by_state (state=? AND (created_index,id)<(?,?))", AFTER, OF_TASK, BY_ID),
    ),
    "node": (
        tasks(node="n1"),
        (
            "SEARCH t USING INDEX te_tasks_by_node (assigned_node=? AND state=? AND (created_index,id)<(?,?))",
            AFTER,
            OF_TASK,
            BY_ID,
        ),
    ),
    "workflow": (tasks(workflow="w1"), (BY_WORKFLOW,)),
    "workflow and state": (tasks(workflow="w1", states=(QUEUED,)), (BY_WORKFLOW, ITS_LATER_EVENTS, OF_TASK)),
    "text and state": (tasks(text="t", states=(QUEUED,)), (BY_ID, ITS_LATER_EVENTS, OF_TASK)),
    "one task": (lambda store: store.reads.task_at("t00007", THEN), (ITS_EVENTS,)),
    "nodes": (
        lambda store: store.reads.nodes_at(THEN),
        ("SEARCH te_task_events USING INDEX te_task_events_of_nodes (node=? AND log_index>?)", AFTER, OF_TASK),
    ),
    "workflows": (
        lambda store: store.reads.list_workflows_at(WorkflowQuery(states=(2,)), THEN),
        (
            "SEARCH w USING INDEX te_workflows_newest ((created_index,id)<(?,?))",
            "SEARCH e USING INDEX te_task_events_of_workflows (workflow_id=? AND log_index>?)",
        ),
    ),
    "diff": (
        lambda store: store.reads.diff(THEN, Moment(500, 0, 1_000), 10),
        ("SEARCH te_task_events USING PRIMARY KEY (log_index>? AND log_index<?)", ITS_EVENTS),
    ),
    "operations": (
        lambda store: store.reads.list_operations_at(False, 10, "", THEN),
        (
            "SEARCH operations USING INDEX operations_newest ((created_index,id)<(?,?))",
            "SEARCH te_task_events USING INDEX te_task_events_rare (type=? AND log_index>?)",
        ),
    ),
    "live operations": (
        lambda store: store.reads.list_operations_at(True, 10, "", THEN),
        ("SEARCH operations USING INDEX operations_by_state (state=?)",),
    ),
    "tasks of an operation": (
        tasks(operation="o1"),
        (
            "SEARCH t USING COVERING INDEX te_tasks_by_operation (operation=? AND created_index<?)",
            "SEARCH te_task_events USING PRIMARY KEY (log_index>?)",
        ),
    ),
    "causes": (
        lambda store: store.reads.list_causes_at(10, THEN),
        ("SCAN te_tasks USING INDEX te_tasks_by_cause", AFTER, OF_TASK, BY_ID),
    ),
    "by time": (
        lambda store: store.reads.task_at("t00007", Moment(0, 400, 1_000)),
        ("SEARCH te_task_events USING COVERING INDEX te_task_events_by_time (at<?)",),
    ),
}
_SMALL = ("t", "meta", "te_task_counts", "nodes", "k", "CONSTANT", "1 CONSTANT", "2 CONSTANT")


@pytest.mark.parametrize("few", [-1, 100_000])
@pytest.mark.parametrize("name", READS)
def test_plan(store: Store, name: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moment, "NEAR", 1)
    monkeypatch.setattr(moment, "FEW", few)
    read, expected = READS[name]
    lines = [line for plan in plans_of(store, lambda: read(store)).values() for line in plan]
    for one in expected:
        assert one in lines, "\n".join(lines)
    scans = [line.removeprefix("SCAN ") for line in lines if line.startswith("SCAN")]
    if name == "causes":  # dead letters alone
        scans.remove("te_tasks USING INDEX te_tasks_by_cause")
    allowed = (*_SMALL, "te_task_events", *(("x",) if "text" in name else ()))
    assert not [line for line in scans if line.split(" ")[0] not in allowed and not line.endswith("CONSTANT ROWS")]
    assert scans.count("t") <= lines.count("CO-ROUTINE t"), "only the next NEAR tasks, no table"
    # The oldest event is the first of a walk that is not gone on with.
    assert sum(line.startswith("te_task_events") for line in scans) <= (2 if name == "diff" else 1)
