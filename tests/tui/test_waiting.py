"""Why a queued task waits: told by shape, found by each task."""

from __future__ import annotations

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.details.task import task_facts
from tui.drawing.draw import UNICODE
from tui.source import LinkState
from tui.store.view import ClusterView
from tui.store.waiting import shape_of, wait_reason

NOW_US = 1_700_000_000_000_000


def queued(mb: int = 0, **spec: object) -> types_pb2.Task:
    row = types_pb2.Task(id="t", state=types_pb2.TASK_STATE_QUEUED, spec=types_pb2.TaskSpec(type=1, **spec))  # type: ignore[arg-type]
    if mb:
        row.spec.constraints.min_memory_mb = mb
    return row


def told(view: ClusterView, task: types_pb2.Task, reason: str) -> None:
    item = cluster_pb2.Waiting(shape=shape_of(task.spec), reason=reason)
    view.fold(cluster_pb2.WatchReply(index=1, waiting=[item], heartbeat=True), 0.0)


def test_all_tasks_of_a_shape_have_its_reason_until_it_is_taken_back() -> None:
    view, large, small = ClusterView(), queued(9_000), queued()
    told(view, large, "too little memory")
    assert wait_reason(large, view.waiting, NOW_US) == "too little memory"
    assert wait_reason(queued(9_000, argv=[b"other"]), view.waiting, NOW_US) == "too little memory"
    assert wait_reason(small, view.waiting, NOW_US) == ""
    told(view, large, "")
    assert wait_reason(large, view.waiting, NOW_US) == ""


def test_a_task_that_is_not_due_says_so_and_one_that_runs_says_nothing() -> None:
    view, row = ClusterView(), queued()
    told(view, row, "no free shell slot")
    row.scheduled_after_us = NOW_US + 3_000_000
    assert wait_reason(row, view.waiting, NOW_US) == "not due for 3.0s"
    row.state = types_pb2.TASK_STATE_RUNNING
    assert wait_reason(row, view.waiting, NOW_US) == ""


def test_what_a_lost_stream_told_is_forgotten() -> None:
    view, row = ClusterView(), queued()
    told(view, row, "no free shell slot")
    view.fold_link(LinkState(up=False, address="a", detail="", remedy=""))
    assert wait_reason(row, view.waiting, NOW_US) == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (queued(locks=["a", "b"]), queued(locks=["b", "a"])),
        (queued(limit_key="k"), queued()),
        (queued(timeout_ms=5), queued()),
    ],
)
def test_shapes_that_are_the_same(one: types_pb2.Task, other: types_pb2.Task) -> None:
    assert shape_of(one.spec) == shape_of(other.spec)


def facts(task: types_pb2.Task, why: cluster_pb2.WhyReply) -> str:
    lines = task_facts(task, (), why, Draw(NOW_US, 0.0, UNICODE, ClusterView()), 100)
    return "\n".join("".join(text for text, _ in line) for line in lines)


def test_details_of_a_placed_task_tell_how_it_looked_then() -> None:
    row = types_pb2.Task(id="t", state=types_pb2.TASK_STATE_COMPLETED, fence=7)
    row.placement.node = "n1"
    nodes = [
        cluster_pb2.NodeVerdict(node="n1", eligible=True, score=61.5, terms=types_pb2.ScoreTerms(cpu=61.5)),
        cluster_pb2.NodeVerdict(node="n2", eligible=True),
        cluster_pb2.NodeVerdict(node="n3", reason="cordoned", flip="uncordon n3"),
    ]
    why = cluster_pb2.WhyReply(task=row, nodes=nodes, index=7, past=True, note="n2 was not sampled.")
    text = facts(row, why)
    assert "(when it was placed)" in text
    n1, n2, n3 = (
        next(line for line in text.splitlines() if line.startswith(f" n{number}")) for number in (1, 2, 3)
    )
    assert "61.5" in n1
    assert n1.endswith(" placed")
    assert " - " in n2
    assert n2.endswith(" eligible")
    assert "cordoned  unless: uncordon n3" in n3
    assert "n2 was not sampled." in text
    assert "WHY HERE" not in facts(row, cluster_pb2.WhyReply())
