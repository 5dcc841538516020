"""Relay tasks: a message for a running session, passed on by node.drivers.agent.relay."""

from __future__ import annotations

import os

from cortex.v1.types_pb2 import TaskType
from cortex.v1.worker_pb2 import Assignment
from node.core.faults import Code, Fault
from node.drivers.agent import inbox, relay
from node.payloads.relay import Relay
from node.worker.executors.agent_options import AgentOptions, Agents, payload_of
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup


class RelayOptions(AgentOptions, frozen=True):
    inbox: str = ""  # folder of the sessions' boxes; empty = sessions are resumed by the command


class RelayExecutor:
    def __init__(self, setup: Setup) -> None:
        """Raises Fault."""
        self._agents = Agents(setup, "claude_relay", RelayOptions, relay.PLACEHOLDERS, relay.COMMAND)
        self._inbox = self._agents.options.inbox
        if self._inbox and not self._inbox.startswith("/"):
            message = f"inbox of [executor.claude_relay] is {self._inbox[:200]!r}, which is no absolute path."
            raise Fault(Code.INVALID, message, "Begin it with /.")

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_CLAUDE_RELAY

    def probe(self) -> Offer:
        if not self._inbox:
            return self._agents.tried()
        if not os.path.isdir(self._inbox) or not os.access(self._inbox, os.W_OK | os.X_OK):
            remedy = f"Make the folder {self._inbox} and let the daemon write in it, and restart the daemon."
            return Offer(False, reason=f"inbox {self._inbox} is no folder that the daemon may write. {remedy}")
        inbox.clear(self._inbox)
        return Offer(True, f"inbox {self._inbox}")

    def prepare(self, assignment: Assignment) -> Command:
        payload = payload_of(assignment, Relay)
        mode = payload.mode or ("inbox" if self._inbox else "resume")
        if mode == "inbox" and not self._inbox:
            raise CannotPrepare(
                "This machine has no inbox. Set inbox in [executor.claude_relay], or leave out mode."
            )
        hold = self._agents.admitted(assignment, payload.project_path) if mode == "resume" else ""
        more = {"mode": mode, "inbox": self._inbox, "hold": hold}
        return self._agents.command("node.drivers.agent.relay", assignment, payload, payload.project_path, **more)
