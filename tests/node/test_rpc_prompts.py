"""The cluster's limit of prompts, wherever one comes in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1.log_pb2 import Command, SettingsChange
from cortex.v1.types_pb2 import TASK_TYPE_SUBAGENT, TaskSpec
from node.core.faults import Code, Fault
from node.rpc.tasks import TaskCalls
from tests.node.replica_kit import ANN, Alone, alone

LONG = "x" * 101


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Alone]:
    async with alone(tmp_path) as made:
        await made.do(Command(settings_change=SettingsChange(name="prompt_limit_chars", value="100")))
        yield made


def agent(prompt: str) -> pb.TaskRequest:
    return pb.TaskRequest(spec=TaskSpec(type=TASK_TYPE_SUBAGENT, payload=b'{"prompt": "%s"}' % prompt.encode()))


async def test_prompts_are_as_long_as_the_cluster_says(daemon: Alone) -> None:
    calls = TaskCalls(daemon.nodes._parts)
    good, bad = agent(LONG[1:]), agent(LONG)
    workflow = pb.SubmitWorkflowRequest(tasks=[pb.WorkflowTaskRequest(key="a", task=bad)])
    ways: list[Callable[[], Awaitable[object]]] = [
        lambda: calls.submit(pb.SubmitRequest(task=bad), ANN),
        lambda: calls.submit_batch(pb.SubmitBatchRequest(tasks=[good, bad]), ANN),
        lambda: calls.dispatch_subagents(pb.DispatchSubagentsRequest(prompt=LONG, count=2), ANN),
        lambda: daemon.workflows.submit(workflow, ANN),
        lambda: daemon.operations.run_on_nodes(pb.RunOnNodesRequest(task=bad, all=True), ANN),
    ]
    for way in ways:
        with pytest.raises(Fault, match="prompt has 101 characters, the limit is 100") as caught:
            await way()
        assert caught.value.code == Code.TOO_LARGE
    assert not daemon.replica.state.tasks
    reply = await calls.submit_batch(pb.SubmitBatchRequest(tasks=[good, good]), ANN)
    assert len(reply.ids) == 2
