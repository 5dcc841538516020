"""Answers about workflows fit into a message, whatever their tasks hold."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, WorkflowCancel
from cortex.v1.types_pb2 import Failure, StreamSummary, Task, TaskResult, TaskSpec, Workflow
from node.core import workflow
from node.core.faults import Code, Fault
from node.core.model import CANCELLED, QUEUED
from node.rpc.lookup import Lookup
from node.rpc.workflows import _status
from tests.node.replica_kit import ANN, Alone, alone

LIMIT_BYTES = 4 * 1024 * 1024


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Alone]:
    async with alone(tmp_path) as made:
        yield made


async def two_steps(daemon: Alone) -> int:
    """Index at which workflow `flow` stands with `first` and `second`."""
    spec = TaskSpec(shell_command=b"true")
    request = pb.SubmitWorkflowRequest(
        name="flow",
        tasks=[
            pb.WorkflowTaskRequest(key="first", task=pb.TaskRequest(spec=spec)),
            pb.WorkflowTaskRequest(key="second", task=pb.TaskRequest(spec=spec), depends_on=["first"]),
        ],
    )
    submit = workflow.complete(request, "flow")
    return (await daemon.do(Command(workflow_submit=submit), actor="ann", request_id="r1")).index


async def ended(daemon: Alone) -> int:
    """Index at which `flow` has ended, is saved, and has left memory."""
    index = (
        await daemon.do(Command(workflow_cancel=WorkflowCancel(id="flow")), actor="ann", request_id="r2")
    ).index
    await daemon.replica.saved_through(index)
    assert not daemon.replica.state.tasks
    return index


async def test_a_workflow_is_not_taken_for_one_of_its_tasks(daemon: Alone) -> None:
    await two_steps(daemon)
    with pytest.raises(Fault) as refused:
        Lookup(daemon.replica).task("flow")
    assert (refused.value.code, refused.value.message) == (Code.NOT_FOUND, "'flow' is a workflow, not a task.")


async def test_a_live_workflow_is_shown_from_memory(daemon: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    index = await two_steps(daemon)
    monkeypatch.setattr(daemon.replica.store.reads, "members", None)
    reply = await daemon.workflows.get(pb.GetWorkflowRequest(id="flow"), ANN)
    assert [task.task_key for task in reply.status.tasks] == ["first", "second"]
    assert reply.status.tasks[0].state == QUEUED
    assert reply.index == index


async def test_an_ended_workflow_is_not_read_on_the_loop(daemon: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    await two_steps(daemon)
    index = await ended(daemon)
    threads: list[threading.Thread] = []
    plain = daemon.replica.store.reads.members

    def spied(workflow_id: str) -> list[Task]:
        threads.append(threading.current_thread())
        return plain(workflow_id)

    monkeypatch.setattr(daemon.replica.store.reads, "members", spied)
    reply = await daemon.workflows.get(pb.GetWorkflowRequest(id="flow"), ANN)
    assert [(task.task_key, task.state) for task in reply.status.tasks] == [
        ("first", CANCELLED),
        ("second", CANCELLED),
    ]
    assert reply.index == index
    assert threads
    assert threading.main_thread() not in threads


async def test_what_is_read_meanwhile_is_of_the_index_that_is_named(
    daemon: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workflow is resumed, and that is saved, between the answer's index and the read of its tasks."""
    await two_steps(daemon)
    await ended(daemon)
    read = daemon.replica.read
    resumed: list[int] = []

    async def late(work: object) -> object:
        if not resumed:
            reply = await daemon.workflows.resume(pb.ResumeWorkflowRequest(id="flow"), ANN)
            resumed.append(reply.index)
            await daemon.replica.saved_through(reply.index)
        return await read(work)  # type: ignore[arg-type]

    monkeypatch.setattr(daemon.replica, "read", late)
    reply = await daemon.workflows.get(pb.GetWorkflowRequest(id="flow"), ANN)
    assert reply.index >= resumed[0]
    assert reply.status.workflow.state == types_pb2.WORKFLOW_STATE_PENDING
    assert reply.status.workflow.run == 2
    assert reply.status.tasks[0].state == QUEUED
    assert all(task.modified_index <= reply.index for task in reply.status.tasks)


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
