"""Workflows leave the past whole: row, tasks and submit key, long after their end."""

from __future__ import annotations

from cortex.v1.log_pb2 import Command, HistoryTrim
from cortex.v1.types_pb2 import Task, Workflow
from node.core.faults import Code
from node.core.model import Key, Table, recount
from tests.core.cluster import HOUR_US, Machine, cluster
from tests.core.workflows import fail, finish, resume, states, step, submit, try_submit

DAY_US = 24 * HOUR_US


def trim(m: Machine, *workflows: str, ids: tuple[str, ...] = (), after_us: int = 0) -> bool:
    """Name these; whether that is accepted."""
    command = HistoryTrim(before_us=m.now_us + after_us + 1, workflows=workflows, ids=ids)
    return m.one(Command(history_trim=command), after_us=after_us + 1).accepted


def left(m: Machine) -> list[str]:
    return sorted(key.id for key, row in m.rows.items() if isinstance(row, Task | Workflow))


def test_a_workflow_leaves_with_all_its_tasks() -> None:
    m = cluster()
    kept = submit(m, step("a"))
    gone = submit(m, step("a"), step("b", "a"), step("c", "b"))
    finish(m, gone, "a")
    fail(m, gone, "b")
    assert trim(m, gone, kept, after_us=DAY_US)
    assert left(m) == [kept, f"{kept}.0"]
    assert m.last_events()[-1].detail == "3 tasks of workflows"
    assert recount(m.rows.values()) == m.state.digest
    assert trim(m, gone)
    assert m.one(resume(gone)).code == Code.NOT_FOUND


def test_a_member_does_not_leave_alone() -> None:
    m = cluster()
    w = submit(m, step("a"), step("b"))
    finish(m, w, "a")
    assert trim(m, ids=(f"{w}.0",), after_us=DAY_US)
    assert states(m, w) == {"a": "completed", "b": "queued"}


def test_a_young_workflow_stays() -> None:
    m = cluster()
    w = submit(m, step("a"))
    finish(m, w, "a")
    m.one(Command(history_trim=HistoryTrim(before_us=m.now_us, workflows=[w])))
    assert left(m) == [w, f"{w}.0"]


def test_a_key_that_stands_holds_its_workflow() -> None:
    m = cluster()
    w = submit(m, step("a"), submit_key="k")
    finish(m, w, "a")
    trim(m, w, after_us=DAY_US - HOUR_US)
    assert left(m) == [w, f"{w}.0"]
    trim(m, w, after_us=2 * HOUR_US)
    assert left(m) == []
    assert Key(Table.SUBMIT_KEYS, "k") not in m.rows
    assert not try_submit(m, step("a"), submit_key="k").deduplicated


def test_a_trim_has_a_limit_of_tasks() -> None:
    m = cluster()
    workflows = [submit(m, *(step(f"t{n}", condition="0") for n in range(600))) for _ in range(2)]
    assert not trim(m, *workflows)
    assert trim(m, workflows[0])
