"""Prompts for agents: what is refused, and what each agent is given."""

from __future__ import annotations

import json

import pytest

from cortex.v1.cluster_pb2 import DispatchSubagentsRequest, TaskRequest
from cortex.v1.types_pb2 import TASK_TYPE_CLAUDE_RELAY, TASK_TYPE_SUBAGENT, TaskSpec
from node.core import payload, prompts, validate
from node.core.faults import Code, Fault
from tests.core.batches import complete_batch


def asked(prompt: str = "count the files", count: int = 2, **more: object) -> DispatchSubagentsRequest:
    return DispatchSubagentsRequest(prompt=prompt, count=count, **more)  # type: ignore[arg-type]


def test_each_agent_knows_its_number() -> None:
    template = TaskRequest(priority=7, spec=TaskSpec(timeout_ms=1000, payload=b'{"model": "m"}'))
    tasks = payload.subagents(asked(count=3, context="of the project", task=template))
    submits = complete_batch(tasks, iter(["a", "b", "c"]).__next__)
    assert [one.name for one in submits] == ["subagent"] * 3
    assert {one.priority for one in submits} == {7}
    assert {(one.spec.type, one.spec.timeout_ms) for one in submits} == {(TASK_TYPE_SUBAGENT, 1000)}
    told = [json.loads(one.spec.payload) for one in submits]
    assert told == [
        {"prompt": "count the files", "context": "of the project", "model": "m", "number": number, "count": 3}
        for number in range(3)
    ]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (asked(count=0), "count is 0"),
        (asked(count=1001), "count is 1001"),
        (asked(prompt=" \n"), "prompt: it is empty"),
        (asked(context="x" * 100_001), "context: it has 100001 characters"),
        (asked(task=TaskRequest(submit_key="k")), "cannot be given for all"),
        (asked(task=TaskRequest(spec=TaskSpec(payload=b'{"prompt": "x"}'))), "has one of context, count"),
        (asked(task=TaskRequest(spec=TaskSpec(payload=b"[]"))), "is not a JSON object"),
        (asked(task=TaskRequest(spec=TaskSpec(payload=b'{"modle": "x"}'))), "modle is no key of it"),
    ],
)
def test_what_no_agent_is_given(request_: DispatchSubagentsRequest, says: str) -> None:
    with pytest.raises(Fault, match=says) as caught:
        payload.subagents(request_)
    assert caught.value.remedy


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000, b'{"prompt": "\\ud800"}'])
def test_a_payload_is_an_object(data: bytes) -> None:
    with pytest.raises(Fault, match="The payload of a subagent task is wrong"):
        validate.complete(TaskRequest(spec=TaskSpec(type=TASK_TYPE_SUBAGENT, payload=data)), "t")


def completed(keys: dict[str, object]) -> TaskSpec:
    spec = TaskSpec(type=TASK_TYPE_SUBAGENT, payload=json.dumps(keys).encode())
    return validate.complete(TaskRequest(spec=spec), "t").spec


SERVER = {"url": "https://mcp.example/x"}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"model": "a b"}, "no name of a model"),
        ({"model": "--help"}, "no name of a model"),
        ({"max_turns": 0}, "max_turns: it is 0, it goes from 1 to 1000"),
        ({"max_turns": 1.5}, "expected `int`"),
        ({"number": 2, "count": 2}, "number: it is 2, it goes from 0 to 1"),
        ({"project_path": "src"}, "no absolute path"),
        ({"project_path": "/a\nb"}, "no absolute path"),
        ({"tools": ["--dangerous"]}, "is a flag, not a tool"),
        ({"tools": [""]}, "tools: an item is empty"),
        ({"tools": ["x"] * 101}, "101 items"),
        ({"flags": ["sonnet"]}, "is no flag"),
        ({"flags": ["--mcp-config=/etc/passwd"]}, "not for a task to set"),
        ({"flags": ["--resume", "x"]}, "not for a task to set"),
        ({"prompt": "a\0b"}, "NUL"),
        ({"mcp": {"../x": SERVER}}, "no name of a server"),
        ({"mcp": {"a": {}}}, "either a url or a command"),
        ({"mcp": {"a": {**SERVER, "command": "x"}}}, "either a url or a command"),
        ({"mcp": {"a": {"url": "file:///etc/passwd"}}}, "no http or https address"),
        ({"mcp": {"a": {"url": "https://u:p@mcp.example/"}}}, "no place for a secret"),
        ({"mcp": {"a": {"url": "https://mcp.example/?api_key=1"}}}, "no place for a secret"),
        ({"mcp": {"a": {**SERVER, "headers": {"Authorization": "Bearer abc"}}}}, "no place for a secret"),
        ({"mcp": {"a": {**SERVER, "headers": {"X": "a\nb"}}}}, "control character"),
        ({"mcp": {"a": {"command": "x", "env": {"GH_TOKEN": "abc"}}}}, "no place for a secret"),
        ({"mcp": {"a": {"command": "x", "args": ["--token=abc"]}}}, "who lists processes"),
        ({"mcp": {"a": {"command": "x", "args": ["secret:gh"]}}}, "who lists processes"),
        ({"mcp": {str(number): SERVER for number in range(21)}}, "21 servers"),
        ({"mcp": {"a": {**SERVER, "type": "carrier pigeon"}}}, "mcp"),
        ({"mcp": {"a": {**SERVER, "type": "stdio"}}}, "type stdio is not that of a url"),
    ],
)
def test_what_no_agent_is_run_with(keys: dict[str, object], says: str) -> None:
    with pytest.raises(Fault, match=says):
        completed({"prompt": "x", **keys})


def test_a_credential_is_a_reference() -> None:
    headers = {"Authorization": "Bearer secret:mcp", "X-Trace": "on"}
    servers = {"a": {**SERVER, "headers": headers}, "b": {"command": "x", "env": {"GH_TOKEN": "secret:gh"}}}
    assert json.loads(completed({"prompt": "x", "mcp": servers}).payload)["mcp"] == servers


def test_the_limit_of_a_prompt_is_the_clusters() -> None:
    short, long = (completed({"prompt": "é" * length}) for length in (200, 201))
    prompts.check([short, TaskSpec(type=TASK_TYPE_SUBAGENT), short], 200)
    with pytest.raises(Fault, match="Line 2: the prompt has 201 characters, the limit is 200") as caught:
        prompts.check([short, long], 200)
    assert caught.value.code == Code.TOO_LARGE


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"message": "x"}, "session is missing"),
        ({"session": "../x", "message": "x"}, "no name of one"),
        ({"session": "s", "message": " "}, "message: it is empty"),
        ({"session": "s", "message": "x" * 100_001}, "100001 characters"),
        ({"session": "s", "message": "x", "timeout_s": 0}, "timeout_s: it is 0"),
        ({"session": "s", "message": "x", "mode": "loud"}, "invalid enum value 'loud'"),
    ],
)
def test_what_no_session_is_told(keys: dict[str, object], says: str) -> None:
    spec = TaskSpec(type=TASK_TYPE_CLAUDE_RELAY, payload=json.dumps(keys).encode())
    with pytest.raises(Fault, match=says):
        validate.complete(TaskRequest(spec=spec), "t")


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(Fault, match="promt is no key of it") as caught:
        completed({"promt": "x"})
    assert "prompt, context, model" in caught.value.remedy


def test_a_subagent_has_no_command() -> None:
    spec = TaskSpec(type=TASK_TYPE_SUBAGENT, argv=[b"true"], payload=b'{"prompt": "x"}')
    with pytest.raises(Fault, match="not a command"):
        validate.complete(TaskRequest(spec=spec), "t")
