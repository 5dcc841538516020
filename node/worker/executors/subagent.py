"""Subagent tasks: an agent CLI, run by node.drivers.agent."""

from __future__ import annotations

import sys

import msgspec

from cortex.v1.types_pb2 import TaskType
from cortex.v1.worker_pb2 import Assignment
from node.drivers import agent
from node.payloads.reading import BadPayload, read
from node.payloads.subagent import Subagent
from node.worker.executors import agent_options
from node.worker.executors.agent_options import AgentOptions
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup, encoded, task_environment
from node.worker.sandbox.folders import real_folder

# By which an agent would do what nobody allowed it: a machine has to say that this is meant.
UNSAFE_FLAGS = ("--dangerously-skip-permissions", "--allow-dangerously-skip-permissions", "bypassPermissions")


class SubagentOptions(AgentOptions, frozen=True):
    refuse_flags: tuple[str, ...] = UNSAFE_FLAGS


class SubagentExecutor:
    def __init__(self, setup: Setup) -> None:
        """Raises Fault."""
        self._options = agent_options.read(setup, "subagent", SubagentOptions, agent.PLACEHOLDERS)
        self._data, self._roots = setup.data, setup.roots
        self._environment = setup.environment
        self._encoded = encoded(setup.environment)
        self._command = agent_options.command(self._options, agent.COMMAND)

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_SUBAGENT

    def probe(self) -> Offer:
        program = self._command[0]
        assert isinstance(program, str)
        return agent_options.tried(program, "subagent", self._environment, self._options)

    def prepare(self, assignment: Assignment) -> Command:
        try:
            payload = read(assignment.spec.payload, Subagent)
        except BadPayload as error:
            raise CannotPrepare(f"The payload is wrong: {error} Submit it again.") from None
        for flag in payload.flags:
            if any(word in self._options.refuse_flags for word in (flag, *flag.split("=", 1))):
                raise CannotPrepare(
                    f"This machine refuses the flag {flag}. Leave it out, or change refuse_flags there."
                )
        place = payload.project_path or assignment.spec.cwd
        order = {
            "payload": payload,
            "command": self._command,
            "environment": self._options.environment,
            "secrets": self._options.secrets,
            "linger_s": self._options.linger_s,
            "place": real_folder(place, self._data, self._roots, sandboxed=False) if place else "",
        }
        argv = [sys.executable.encode(), b"-I", b"-m", b"node.drivers.agent"]
        environment = task_environment(self._encoded, assignment)
        return Command(argv, environment, "", msgspec.json.encode(order))
