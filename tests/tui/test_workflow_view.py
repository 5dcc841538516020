"""Workflows as documents, key by key, and in topological order."""

from __future__ import annotations

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2 as types
from tui.documents import workflow_view

AT_US = 1_769_860_800_000_001
AT = "2026-01-31T12:00:00.000001Z"


def row(**fields: object) -> types.Workflow:
    return types.Workflow(id="w1", name="release", state=types.WORKFLOW_STATE_FAILED, run=2, **fields)  # type: ignore[arg-type]


def member(number: int, *needs: int, **fields: object) -> types.Task:
    task = types.Task(id=f"w1.{number}", task_key=f"t{number}", member=number, depends_on=needs, run=1)
    for name, value in fields.items():
        setattr(task, name, value)
    return task


def test_show() -> None:
    failed = types.Task(
        id="w1.0",
        task_key="build",
        state=types.TASK_STATE_DEAD_LETTER,
        rule=types.RULE_ALL_SUCCESS,
        error="exit code 2",
        attempt=1,
        run=2,
        result=types.TaskResult(exit_code=2),
    )
    skipped = types.Task(
        id="w1.1",
        task_key="deploy",
        member=1,
        state=types.TASK_STATE_SKIPPED,
        skip_reason=types.SKIP_REASON_CONDITION_ERROR,
        condition_error="ReferenceError",
        rule=types.RULE_ALL_DONE,
        run=1,
    )
    context = [types.ContextItem(key="a", value=b"[1]"), types.ContextItem(key="b", value=b"no json")]
    assert workflow_view.show(pb.WorkflowStatus(workflow=row(context=context), tasks=[failed, skipped])) == {
        "id": "w1",
        "name": "release",
        "state": "failed",
        "run": 2,
        "context": {"a": [1], "b": "no json"},
        "tasks": {
            "build": {
                "task_id": "w1.0",
                "state": "dead_letter",
                "reason": "exit code 2",
                "rule": "all_success",
                "exit_code": 2,
                "attempt": 1,
                "run": 2,
            },
            "deploy": {
                "task_id": "w1.1",
                "state": "skipped",
                "reason": "condition_error",
                "rule": "all_done",
                "exit_code": None,
                "attempt": 0,
                "run": 1,
            },
        },
    }


def test_list() -> None:
    found = row(count=5, remaining=1, failures=2, reason="a failed", created_at_us=AT_US, started_at_us=AT_US)
    assert workflow_view.listing(pb.ListWorkflowsReply(workflows=[found], total=7, index=9)) == {
        "workflows": [
            {
                "id": "w1",
                "name": "release",
                "state": "failed",
                "run": 2,
                "tasks": 5,
                "remaining": 1,
                "failures": 2,
                "reason": "a failed",
                "created_at": AT,
                "started_at": AT,
                "completed_at": None,
            }
        ],
        "total": 7,
        "index": 9,
        "next_cursor": None,
    }


def test_topological_order() -> None:
    tasks = [member(0, 2), member(1), member(2, 1, 3), member(3), member(4, 0, 1)]
    last = member(5)
    setattr(last, "finally", True)
    order = [(depth, task.member) for depth, task in workflow_view.topological([last, *tasks])]
    assert order == [(0, 1), (0, 3), (1, 2), (2, 0), (3, 4), (0, 5)]


def test_a_long_chain_and_what_cannot_be_sorted() -> None:
    chain = [member(number, *([number + 1] if number < 999 else [])) for number in range(1000)]
    assert [task.member for _, task in workflow_view.topological(chain)] == list(range(999, -1, -1))
    cycle = [member(0, 1), member(1, 0), member(2, 77)]
    assert {task.member for _, task in workflow_view.topological(cycle)} == {0, 1, 2}


def test_dependencies_on_a_map_are_folded() -> None:
    mapped = [member(number, template="each") for number in range(3)]
    rows = {task.member: task for task in [*mapped, member(3), member(4, 0, 1, 2, 3)]}
    assert workflow_view.needs(rows[4], rows) == "each[3], t3"
    wide = {task.member: task for task in [*map(member, range(20)), member(20, *range(20))]}
    assert workflow_view.needs(wide[20], wide) == "t0, t1, t2, t3, t4, t5 and 14 more"


def test_reasons_of_skips_say_what_they_are_about() -> None:
    skipped = member(0, state=types.TASK_STATE_SKIPPED, skip_reason=types.SKIP_REASON_UPSTREAM_FAILED)
    assert workflow_view.reason_text(skipped) == "upstream_failed"
    skipped.reason = "lint failed"
    assert workflow_view.reason_text(skipped) == "upstream_failed: lint failed"
    assert workflow_view.reason(skipped) == "upstream_failed"
    assert workflow_view.reason_text(member(1, state=types.TASK_STATE_FAILED, error="exit code 2")) == "exit code 2"


def test_how_an_earlier_attempt_ended_is_not_told_of_one_that_runs() -> None:
    killed, failed = types.TaskResult(signal=15), types.TaskResult(exit_code=3)
    ended, running = types.TASK_STATE_DEAD_LETTER, types.TASK_STATE_RUNNING
    found = [types.Task(state=state, result=result) for state in (ended, running) for result in (killed, failed)]
    assert [workflow_view.exit_text(task) for task in found] == ["sig 15", "3", "-", "-"]
    assert [workflow_view.exit_code(task) for task in found] == [None, 3, None, None]
    assert workflow_view.exit_text(types.Task(state=types.TASK_STATE_SKIPPED)) == "-"


def test_indent_is_bounded() -> None:
    assert workflow_view.indented(0, "a") == "a"
    assert workflow_view.indented(2, "a") == "  └ a"
    assert len(workflow_view.indented(500, "a")) == len(workflow_view.indented(workflow_view.MAX_INDENT, "a"))


def test_policies() -> None:
    assert workflow_view.policy_name(row()) == "continue"
    limited = row(policy=types.FAILURE_POLICY_MAX_FAILURES, max_failures=3)
    assert workflow_view.policy_name(limited) == "max_failures 3"
