"""Subagent tasks: an agent CLI, run by node.drivers.agent."""

from __future__ import annotations

from cortex.v1.types_pb2 import TaskType
from cortex.v1.worker_pb2 import Assignment
from node.drivers.agent import main as agent
from node.payloads.subagent import Subagent
from node.worker.executors.agent_options import AgentOptions, Agents, payload_of
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup

# By which an agent would do what nobody allowed it: a machine has to say that this is meant.
UNSAFE_FLAGS = ("--dangerously-skip-permissions", "--allow-dangerously-skip-permissions", "bypassPermissions")


class SubagentOptions(AgentOptions, frozen=True):
    refuse_flags: tuple[str, ...] = UNSAFE_FLAGS


class SubagentExecutor:
    def __init__(self, setup: Setup) -> None:
        """Raises Fault."""
        self._agents = Agents(setup, "subagent", SubagentOptions, agent.PLACEHOLDERS, agent.COMMAND)

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_SUBAGENT

    def probe(self) -> Offer:
        return self._agents.tried()

    def prepare(self, assignment: Assignment) -> Command:
        payload = payload_of(assignment, Subagent)
        refused = self._agents.options.refuse_flags
        for flag in payload.flags:
            if any(word in refused for word in (flag, *flag.split("=", 1))):
                raise CannotPrepare(
                    f"This machine refuses the flag {flag}. Leave it out, or change refuse_flags there."
                )
        hold = self._agents.admitted(assignment, payload.project_path, payload.model, payload.flags)
        return self._agents.command("node.drivers.agent", assignment, payload, payload.project_path, hold=hold)
