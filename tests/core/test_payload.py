"""Prompts for agents: what is refused, and what each agent is given."""

from __future__ import annotations

import json

import pytest

from cortex.v1.cluster_pb2 import DispatchSubagentsRequest, TaskRequest
from cortex.v1.types_pb2 import TASK_TYPE_SUBAGENT, TaskSpec
from node.core import payload, validate
from node.core.faults import Fault
from tests.core.batches import complete_batch


def asked(prompt: str = "count the files", count: int = 2, **more: object) -> DispatchSubagentsRequest:
    return DispatchSubagentsRequest(prompt=prompt, count=count, **more)  # type: ignore[arg-type]


def test_each_agent_knows_its_number() -> None:
    template = TaskRequest(priority=7, spec=TaskSpec(timeout_ms=1000))
    tasks = payload.subagents(asked(count=3, context="of the project", task=template))
    submits = complete_batch(tasks, iter(["a", "b", "c"]).__next__)
    assert [one.name for one in submits] == ["subagent"] * 3
    assert {one.priority for one in submits} == {7}
    assert {(one.spec.type, one.spec.timeout_ms) for one in submits} == {(TASK_TYPE_SUBAGENT, 1000)}
    told = [json.loads(one.spec.payload) for one in submits]
    assert told == [
        {"prompt": "count the files", "context": "of the project", "number": number, "count": 3}
        for number in range(3)
    ]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (asked(count=0), "count is 0"),
        (asked(count=1001), "count is 1001"),
        (asked(prompt=" \n"), "prompt is empty"),
        (asked(prompt="x" * 10_001), "10001 characters, the limit is 10000"),
        (asked(context="x" * 100_001), "The context has 100001"),
        (asked(task=TaskRequest(submit_key="k")), "cannot be given for all"),
        (asked(task=TaskRequest(spec=TaskSpec(payload=b"{}"))), "cannot be given for all"),
    ],
)
def test_what_no_agent_is_given(request_: DispatchSubagentsRequest, says: str) -> None:
    with pytest.raises(Fault, match=says) as caught:
        payload.subagents(request_)
    assert caught.value.remedy


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000])
def test_a_payload_is_an_object(data: bytes) -> None:
    with pytest.raises(Fault, match="not a JSON object"):
        validate.complete(TaskRequest(spec=TaskSpec(type=TASK_TYPE_SUBAGENT, payload=data)), "t")


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(Fault, match="unknown key 'promt'"):
        payload.check_subagent(b'{"promt": "x"}')


def test_a_subagent_has_no_command() -> None:
    spec = TaskSpec(type=TASK_TYPE_SUBAGENT, argv=[b"true"], payload=b'{"prompt": "x"}')
    with pytest.raises(Fault, match="not a command"):
        validate.complete(TaskRequest(spec=spec), "t")
