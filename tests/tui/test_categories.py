"""Categories of tasks, as the types that stand for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cortex.v1 import types_pb2 as t
from tui.written.taskspec import BadField, task_request
from tui.written.workflowfile import read_workflow


def test_a_cli_task_is_a_shell_task() -> None:
    spec = task_request(
        {
            "type": "cli",
            "command": "make",
            "args": ["test", 3],
            "workingDirectory": "/src",
            "environment": {"CI": "1"},
        }
    ).spec
    assert (spec.type, list(spec.argv), spec.cwd) == (t.TASK_TYPE_SHELL, [b"make", b"test", b"3"], "/src")
    assert [(one.name, one.value) for one in spec.env] == [("CI", b"1")]
    assert task_request({"type": "CLI", "command": "make | tee log"}).spec.shell_command == b"make | tee log"
    assert list(task_request({"type": "cli", "payload": {"command": "ls", "args": ["-l"]}}).spec.argv) == [
        b"ls",
        b"-l",
    ]


def test_what_agents_are_called_is_a_subagent() -> None:
    code = {"type": "claude-code", "prompt": "hi", "projectPath": "/src", "flags": ["--fallback-model", "x"]}
    spec = task_request({**code, "priority": 3}).spec
    assert spec.type == t.TASK_TYPE_SUBAGENT
    assert json.loads(spec.payload) == {"prompt": "hi", "project_path": "/src", "flags": ["--fallback-model", "x"]}


@pytest.mark.parametrize("key", ["mcp", "mcpConfig", "mcp_servers"])
@pytest.mark.parametrize("wrap", [False, True])
def test_an_agent_has_servers(key: str, wrap: bool) -> None:
    servers = {"docs": {"url": "https://mcp.example"}}
    config = {"mcpServers": servers} if wrap else servers
    spec = task_request({"type": "claude_agent", "payload": json.dumps({"prompt": "hi", key: config})}).spec
    assert json.loads(spec.payload) == {"prompt": "hi", "mcp": servers}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"type": "cli"}, "command"),
        ({"type": "cli", "args": ["x"]}, "command"),
        ({"type": "cli", "command": "x", "args": "y"}, "args"),
        ({"type": "cli", "command": "x", "prompt": "y"}, "prompt"),
        ({"type": "cli", "payload": {"prompt": "y"}}, "payload.prompt"),
        ({"type": "claude-code", "prompt": "x", "payload": {"prompt": "y"}}, "prompt"),
        ({"type": "claude-code", "prompt": "x", "mcp": {}}, "mcp"),
        ({"type": "claude-agent", "prompt": "x", "mcp": "{"}, "mcp"),
        ({"type": "claude-agent", "prompt": "x", "mcp": {}, "mcp_config": {}}, "mcp"),
        ({"type": "claude-code", "payload": []}, "payload"),
    ],
)
def test_what_is_no_task_of_a_category(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BadField) as caught:
        task_request(fields)
    assert caught.value.field == field


def test_workflows_have_them_too() -> None:
    text = "{name: x, tasks: {a: {type: claude-code, spec: {prompt: hi}}, b: {type: cli, spec: {command: y}}}}"
    found = [one.task.spec for one in read_workflow(text, "f.yaml").tasks]
    assert (found[0].type, json.loads(found[0].payload)) == (t.TASK_TYPE_SUBAGENT, {"prompt": "hi"})
    assert (found[1].type, found[1].shell_command) == (t.TASK_TYPE_SHELL, b"y")
