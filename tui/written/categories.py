"""Categories of tasks by which others name them, as the types and payloads that stand for them. Pure.

`cli` is a shell task; `claude-code` and `claude-agent` are subagents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_CLI = {"command": "command", "args": "args", "working_directory": "cwd", "environment": "env"}
_AGENT = ("prompt", "context", "model", "tools", "max_turns", "project_path", "flags")
_MCP = ("mcp", "mcp_config", "mcp_servers")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "cli": tuple(_CLI),
    "claude_code": _AGENT,
    "claude_agent": (*_AGENT, *_MCP),
}
NAMES = ("cli", "claude-code", "claude-agent")


class CategoryError(ValueError):
    """The field that is wrong, and what is wrong with it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def is_category(kind: object) -> bool:
    return isinstance(kind, str) and _snake(kind) in _KEYS


def unfolded(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """`fields` of a task with the type in the place of its category; as they are when they name none.

    What belongs to the category stands among them or in `payload`. Raises CategoryError.
    """
    kind = next((value for key, value in fields.items() if _snake(key) == "type"), None)
    if not is_category(kind):
        return fields
    category = _snake(str(kind))
    known = _KEYS[category]
    own: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in fields.items():
        name = _snake(key)
        if name in known:
            own[name] = value
        elif name not in ("type", "payload"):
            rest[key] = value
    payload = next((value for key, value in fields.items() if _snake(key) == "payload"), None)
    for key, value in _map(payload).items():
        name = _snake(key)
        if name not in known:
            raise CategoryError(f"payload.{key}", f"a {kind} task has {', '.join(known)}")
        if name in own:
            raise CategoryError(str(key), "it is given in payload and beside it")
        own[name] = value
    return {**rest, **(_shell(own) if category == "cli" else _agent(own))}


def _shell(own: Mapping[str, Any]) -> dict[str, Any]:
    """A command with arguments is run as it is; one alone is a list, or a string for `sh -c`."""
    found = {_CLI[name]: value for name, value in own.items() if name not in ("command", "args")}
    command, args = own.get("command"), own.get("args")
    if args is not None:
        if not isinstance(args, list | tuple):
            raise CategoryError("args", "it is no list")
        command = [*(command if isinstance(command, list | tuple) else [command]), *args] if command else None
    if command is not None:
        found["command"] = command
    return {"type": "shell", **found}


def _agent(own: Mapping[str, Any]) -> dict[str, Any]:
    payload = {name: value for name, value in own.items() if name not in _MCP and value is not None}
    given = [own[name] for name in _MCP if own.get(name) is not None]
    if len(given) > 1:
        raise CategoryError("mcp", "it is given twice")
    for servers in given:
        config = _map(servers, "mcp")
        # The form that agents' own files have.
        payload["mcp"] = config["mcpServers"] if set(config) == {"mcpServers"} else config
    return {"type": "subagent", "payload": payload}


def _map(value: Any, field: str = "payload") -> Mapping[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise CategoryError(field, f"it is not valid JSON: {error}") from None
    if not isinstance(value, Mapping):
        raise CategoryError(field, "it is no map")
    return value


def _snake(key: object) -> str:
    return _CAMEL.sub(r"_\1", str(key)).replace("-", "_").lower()
