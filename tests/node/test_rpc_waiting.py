"""Why tasks wait, as a daemon that does not lead tells it: by what the leader said of each shape."""

from __future__ import annotations

from cortex.v1.cluster_pb2 import Waiting
from cortex.v1.types_pb2 import Task
from node.core.model import QUEUED, RUNNING
from node.core.queue import group_key
from node.core.waiting import shape_of
from node.rpc.waiting import Reasons, Told, from_leader
from tests.core.scheduling import NOW_US, task


def waiting(row: Task, reason: str) -> Waiting:
    return Waiting(shape=shape_of(group_key(row.spec)), reason=reason)


def test_queued_tasks_get_the_reason_of_their_shape_and_rows_stay_as_they_are() -> None:
    large, small, later = task("large", min_memory_mb=9_000), task("small"), task("later", min_memory_mb=9_000)
    later.scheduled_after_us = NOW_US + 2_500_000
    running = task("running", min_memory_mb=9_000)
    running.state = RUNNING
    rows = [large, small, later, running]
    reasons = Reasons(NOW_US, from_leader([waiting(large, "too little memory (3 nodes)")]))
    filled = reasons.fill(rows)
    assert [row.id for row in filled] == [row.id for row in rows]
    assert [row.reason for row in filled] == ["too little memory (3 nodes)", "", "not due for 2.5 s", ""]
    assert all(row.reason == "" for row in rows)
    assert filled[1] is small
    assert filled[0].state == QUEUED


def test_where_a_node_would_take_its_like_it_says_where_it_could_not_run() -> None:
    row = task("t", unstartable_nodes=["n2", "n1"])
    (filled,) = Reasons(NOW_US, from_leader([])).fill([row])
    assert filled.reason == "could not run on n1, n2, and waits for another node"


def test_a_watch_is_told_what_is_new_what_is_else_and_what_is_over() -> None:
    one, other = task("a", min_memory_mb=1), task("b", min_disk_gb=1)
    told = Told()
    assert told.news([waiting(one, "x"), waiting(other, "y")]) == [waiting(one, "x"), waiting(other, "y")]
    assert told.news([waiting(one, "x"), waiting(other, "y")]) == []
    assert told.news([waiting(one, "z")]) == [waiting(one, "z"), waiting(other, "")]
    assert told.news([]) == [waiting(one, "")]
