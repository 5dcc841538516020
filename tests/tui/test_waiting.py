"""Why a queued task waits: told by shape, found by each task."""

from __future__ import annotations

import pytest

from cortex.v1 import cluster_pb2, types_pb2
from tui.source import LinkState
from tui.view import ClusterView
from tui.waiting import shape_of, wait_reason

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
