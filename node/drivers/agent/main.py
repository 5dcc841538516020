"""`python -m node.drivers.agent`: the agent of a subagent task."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from node.drivers.agent import template
from node.drivers.agent.places import PlaceError, entered
from node.drivers.agent.process import Agent, Job, fail_to_run, finish
from node.drivers.agent.secret_files import SecretError, Secrets
from node.drivers.kit import Desk, Stopped, raise_on_term
from node.payloads.subagent import McpServer, Subagent

PLACEHOLDERS = ("max_turns", "model", "tools", "mcp_config", "flags", "project_path")
COMMAND: list[template.Word] = [
    "claude", "-p", "--output-format", "stream-json", "--verbose", "--max-turns", "{max_turns}",
    ["--model", "{model}"], ["--allowedTools", "{tools}"], ["--mcp-config", "{mcp_config}", "--strict-mcp-config"],
    "{flags}",
]  # fmt: skip
"""What runs where the configuration says nothing else."""
_MCP_FILE = "mcp.json"


def main() -> int:
    desk = Desk(os.environ)
    raise_on_term()
    order = desk.order()
    payload = msgspec.convert(order["payload"], Subagent)
    secrets = Secrets(order["secrets"])
    mcp = Path(os.environ["CORTEX_ORDER"]).with_name(_MCP_FILE)
    try:
        place = entered(order["place"])
        env = {name: secrets.filled(value) for name, value in order["environment"].items()}
        if payload.mcp:
            _write_mcp(mcp, payload.mcp, secrets)
        argv = template.expanded(order["command"], _values(payload, place, str(mcp) if payload.mcp else ""))
        job = Job(argv, _prompt(payload), place, env, payload.max_turns, order["linger_s"], order.get("hold", ""))
        return finish(desk, Agent(desk, job, secrets).run())
    except Stopped:
        return 143
    except PlaceError as error:
        # As a working directory of a command: another node may have it.
        desk.fail("cannot_start", str(error))
    except SecretError as error:
        desk.fail("not_found", str(error))
    except OSError as error:
        fail_to_run(desk, error, "The agent cannot be run")
    finally:
        mcp.unlink(missing_ok=True)


def _values(payload: Subagent, place: str, mcp: str) -> dict[str, template.Value]:
    return {
        "max_turns": str(payload.max_turns),
        "model": payload.model,
        "tools": payload.tools,
        "mcp_config": mcp,
        "flags": payload.flags,
        "project_path": place,
    }


def _prompt(payload: Subagent) -> str:
    parts = [payload.prompt]
    if payload.count > 1:
        parts.append(f"You are agent {payload.number + 1} of {payload.count} that were given this.")
    if payload.context:
        parts.append(f"Context:\n{payload.context}")
    return "\n\n".join(parts) + "\n"


def _write_mcp(path: Path, servers: dict[str, McpServer], secrets: Secrets) -> None:
    """For the agent, and nobody else to read. Raises SecretError and OSError."""
    found = {name: _server(server, secrets) for name, server in servers.items()}
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump({"mcpServers": found}, file)


def _server(server: McpServer, secrets: Secrets) -> dict[str, Any]:
    if server.url:
        headers = {name: secrets.filled(value) for name, value in server.headers.items()}
        return {"type": server.type or "http", "url": server.url, "headers": headers}
    env = {name: secrets.filled(value) for name, value in server.env.items()}
    return {"type": "stdio", "command": server.command, "args": list(server.args), "env": env}
