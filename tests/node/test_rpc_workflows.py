"""Answers about workflows fit into a message, whatever their tasks hold."""

from __future__ import annotations

from cortex.v1.types_pb2 import Failure, StreamSummary, Task, TaskResult, TaskSpec, Workflow
from node.rpc.workflows import _status

LIMIT_BYTES = 4 * 1024 * 1024


def tasks(count: int, **fields: object) -> list[Task]:
    return [Task(id=f"w.{number}", member=number, task_key=f"k{number}", **fields) for number in range(count)]  # type: ignore[arg-type]


def test_a_small_one_is_shown_whole_but_for_its_output() -> None:
    result = TaskResult(exit_code=3, stdout=StreamSummary(head=b"x", total_bytes=1), context_update=b"{}")
    (made,) = tasks(1, result=result, spec=TaskSpec(shell_command=b"true"), condition="1")
    (shown,) = _status(Workflow(id="w"), [made]).tasks
    assert (shown.spec, shown.condition, shown.result.exit_code) == (made.spec, "1", 3)
    assert not shown.result.stdout.head
    assert not shown.result.context_update


def test_specs_are_left_out_first() -> None:
    status = _status(Workflow(id="w"), tasks(1000, spec=TaskSpec(shell_command=b"x" * 5000), condition="1"))
    assert len(status.tasks) == 1000
    assert not any(task.HasField("spec") for task in status.tasks)
    assert all(task.condition == "1" for task in status.tasks)
    assert status.ByteSize() < LIMIT_BYTES


def test_all_that_a_thousand_tasks_may_hold_fits() -> None:
    failures = [Failure(error="x" * 200, node="n" * 60, fingerprint="f" * 64)] * 10
    result = TaskResult(
        exit_code=1,
        stdout=StreamSummary(head=b"x" * 4096, tail=b"x" * 12288, sha256=b"x" * 32),
        stderr=StreamSummary(head=b"x" * 4096, tail=b"x" * 12288, sha256=b"x" * 32),
        context_update=b"x" * 16384,
    )
    made = tasks(1000, failures=failures, result=result, condition="x" * 4096, error="x" * 1000, reason="x" * 200)
    status = _status(Workflow(id="w"), made)
    assert status.ByteSize() < LIMIT_BYTES
    assert [task.result.exit_code for task in status.tasks] == [1] * 1000
