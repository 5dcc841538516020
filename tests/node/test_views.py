"""What watchers get: the last row of each key, no output, and no message that is too large to travel."""

from __future__ import annotations

from cortex.v1 import types_pb2
from cortex.v1.types_pb2 import (
    ContextItem,
    Event,
    StoredReply,
    StreamSummary,
    Task,
    TaskResult,
    TaskSpec,
    Workflow,
)
from node.core.model import Change, Row, Table
from node.feed import Batch
from node.rpc.views import are_small, frames, merge, without_output


def put(table: Table, key: str, row: Row | None) -> Change:
    return Change(table, key, None, row)


def test_merge_keeps_the_last_row_and_hides_what_is_internal() -> None:
    batches = [
        Batch(1, 1, (put(Table.TASKS, "a", Task(id="a", attempt=0)), put(Table.EVENTS, "1-0", Event(id="1-0")))),
        Batch(2, 2, (put(Table.TASKS, "a", Task(id="a", attempt=1)), put(Table.REPLIES, "r", StoredReply()))),
        Batch(3, 3, (put(Table.TASKS, "b", None),)),
    ]
    (reply,) = frames(merge(batches, events=False))
    plain = reply.changes
    assert [change.WhichOneof("row") or change.deleted_key for change in plain] == ["task", "b"]
    assert plain[0].task.attempt == 1
    assert any(change.HasField("event") for part in frames(merge(batches, events=True)) for change in part.changes)


def test_output_stays_behind_and_the_row_itself_is_untouched() -> None:
    stream = StreamSummary(total_bytes=3, head=b"out")
    task = Task(id="a", result=TaskResult(exit_code=7, stdout=stream))
    lean = without_output(task)
    assert lean.result.exit_code == 7
    assert lean.result.stdout == StreamSummary(total_bytes=3)
    assert task.result.stdout.head == b"out"
    assert without_output(lean) is lean


def test_contexts_stay_behind() -> None:
    task = Task(id="a", result=TaskResult(context_update=b"{}"))
    assert not without_output(task).result.context_update
    row = Workflow(id="w", name="flow", context=[ContextItem(key="a", value=b"1")])
    (reply,) = frames(merge([Batch(1, 1, (put(Table.WORKFLOWS, "w", row),))], events=False))
    assert [change.workflow for change in reply.changes] == [Workflow(id="w", name="flow")]
    assert row.context


def test_frames_are_bounded_by_number_and_by_bytes() -> None:
    small = [Task(id=str(number)) for number in range(1200)]
    parts = list(frames(small))
    assert [len(part.changes) for part in parts] == [500, 500, 200]
    assert [change.task for part in parts for change in part.changes] == small
    large = [Task(id=str(number), spec=TaskSpec(shell_command=b"x" * 400_000)) for number in range(5)]
    parts = list(frames(large))
    assert [len(part.changes) for part in parts] == [2, 2, 1]
    assert [change.task for part in parts for change in part.changes] == large
    assert list(frames([])) == []


def test_of_a_failure_the_last_lines_stay() -> None:
    row = Task(id="t", state=types_pb2.TASK_STATE_DEAD_LETTER)
    row.result.stderr.head = b"Traceback\n  File x\nValueError: no such \xff disk\n\n  \n"
    row.result.stdout.head, row.result.stdout.tail = b"begin\n", b"step 1\n" + b"y" * 500
    lean = without_output(row)
    assert lean.result.stderr.last_line == b"ValueError: no such \xff disk"
    assert lean.result.stdout.last_line == b"y" * 200
    assert not lean.result.stderr.head
    assert not lean.result.stdout.tail
    assert without_output(lean) is lean
    row.state = types_pb2.TASK_STATE_COMPLETED
    assert not without_output(row).result.stderr.last_line
    row.state = types_pb2.TASK_STATE_FAILED
    row.result.stderr.head = b" \n\n"
    assert not without_output(row).result.stderr.last_line


def test_rows_that_were_weighed_small_travel_unmeasured_in_the_same_frames() -> None:
    rows = [put(Table.TASKS, str(number), Task(id=str(number))) for number in range(1200)]
    small = [Batch(1, 1, tuple(rows), more_kib=0)]
    assert are_small(small)
    assert list(frames(merge(small, events=False), small=True)) == list(frames(merge(small, events=False)))
    large = put(Table.TASKS, "large", Task(id="large", spec=TaskSpec(argv=[b"x" * 600_000])))
    assert not are_small([*small, Batch(2, 2, (large,), more_kib=586)])
    assert not are_small([Batch(1, 1, tuple(rows))])  # nobody weighed them
