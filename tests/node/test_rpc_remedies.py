"""What is said of a refusal can be done as it stands: it names its subject."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import log_pb2, types_pb2
from cortex.v1.log_pb2 import Command
from cortex.v1.types_pb2 import BulkPlan, Operation, OperationKind
from node.core import validate
from node.core.faults import Code, Fault
from node.rpc.calls import accepted
from node.rpc.errors import from_reply
from node.rpc.remedies import remedy, subject_of
from tests.node.replica_kit import ANN, Alone, alone

RETRY = Operation(kind=OperationKind.OPERATION_KIND_RETRY, bulk=BulkPlan(ids=["t1", "t2"]))
DRAIN = Operation(kind=OperationKind.OPERATION_KIND_DRAIN, node="n1")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Alone]:
    async with alone(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("command", "looks", "lists", "verb"),
    [
        (Command(task_cancel=log_pb2.TaskCancel(id="t1")), "cortex task t1", "cortex tasks", "cortex cancel"),
        (Command(node_cordon=log_pb2.NodeCordon(id="n1")), "cortex node n1", "cortex nodes", "cortex cordon"),
        (
            Command(workflow_cancel=log_pb2.WorkflowCancel(id="w1")),
            "cortex workflow show w1",
            "cortex workflow list",
            "cortex workflow cancel",
        ),
        (
            Command(operation_stop=log_pb2.OperationStop(id="o1")),
            "cortex operations o1",
            "cortex operations",
            "cortex undo",
        ),
        (
            Command(operation_start=log_pb2.OperationStart(operation=RETRY)),
            "cortex operations",
            "cortex operations",
            "cortex retry",
        ),
        (
            Command(operation_start=log_pb2.OperationStart(operation=DRAIN)),
            "cortex node n1",
            "cortex nodes",
            "cortex drain",
        ),
        (Command(task_submit=log_pb2.TaskSubmit(id="new")), "cortex tasks", "cortex tasks", "cortex submit"),
    ],
)
def test_a_remedy_names_what_the_command_was_about(command: Command, looks: str, lists: str, verb: str) -> None:
    subject = subject_of(command)
    assert remedy(Code.WRONG_STATE, subject) == f"See its present state with `{looks}`."
    assert remedy(Code.STALE_FENCE, subject) == f"See its present state with `{looks}`."
    assert remedy(Code.NOT_FOUND, subject) == f"List what exists with `{lists}`."
    assert f"`{verb} --help`" in remedy(Code.INVALID, subject)


@pytest.mark.parametrize("code", list(Code))
def test_no_remedy_has_a_placeholder(code: Code) -> None:
    fault = from_reply(code, "It is so.")
    assert not any(word.strip("`.,").isupper() for word in fault.remedy.split())
    assert fault.remedy.endswith(".")


def test_of_several_the_first_that_was_refused_is_named() -> None:
    commands = [Command(task_cancel=log_pb2.TaskCancel(id=task_id)) for task_id in ("t1", "t2", "t3")]
    bad = log_pb2.CommandReply(code=Code.WRONG_STATE, message="It has ended.")
    reply = log_pb2.Reply(commands=[log_pb2.CommandReply(accepted=True), bad, bad])
    with pytest.raises(Fault, match="1 of 3") as caught:
        accepted(reply, commands)
    assert caught.value.remedy == "See its present state with `cortex task t2`."


async def test_a_refused_change_says_where_to_look(daemon: Alone) -> None:
    request = pb.TaskRequest(spec=types_pb2.TaskSpec(argv=[b"true"]))
    await daemon.do(Command(task_submit=validate.complete(request, "task-a")))
    with pytest.raises(Fault) as caught:
        await daemon.operations.retry_task(pb.RetryTaskRequest(ids=["task-a"]), ANN)
    assert caught.value.code == Code.WRONG_STATE
    assert caught.value.remedy == "See its present state with `cortex task task-a`."
