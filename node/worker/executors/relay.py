"""Relay tasks: a message for a running session, passed on by node.drivers.relay."""

from __future__ import annotations

import os
import sys

import msgspec

from cortex.v1.types_pb2 import TaskType
from cortex.v1.worker_pb2 import Assignment
from node.core.faults import Code, Fault
from node.drivers import relay
from node.payloads.reading import BadPayload, read
from node.payloads.relay import Relay
from node.worker.executors import agent_options
from node.worker.executors.agent_options import AgentOptions
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup, encoded, task_environment
from node.worker.sandbox.folders import real_folder


class RelayOptions(AgentOptions, frozen=True):
    inbox: str = ""  # folder of the sessions' boxes; empty = sessions are resumed by the command


class RelayExecutor:
    def __init__(self, setup: Setup) -> None:
        """Raises Fault."""
        self._options = agent_options.read(setup, "claude_relay", RelayOptions, relay.PLACEHOLDERS)
        if self._options.inbox and not self._options.inbox.startswith("/"):
            message = (
                f"inbox of [executor.claude_relay] is {self._options.inbox[:200]!r}, which is no absolute path."
            )
            raise Fault(Code.INVALID, message, "Begin it with /.")
        self._data, self._roots = setup.data, setup.roots
        self._environment = setup.environment
        self._encoded = encoded(setup.environment)
        self._command = agent_options.command(self._options, relay.COMMAND)

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_CLAUDE_RELAY

    def probe(self) -> Offer:
        inbox = self._options.inbox
        if not inbox:
            program = self._command[0]
            assert isinstance(program, str)
            return agent_options.tried(program, "claude_relay", self._environment, self._options)
        if not os.path.isdir(inbox) or not os.access(inbox, os.W_OK | os.X_OK):
            return Offer(
                False, reason=f"inbox {inbox} is no folder that the daemon may write. Make it, and restart."
            )
        return Offer(True, f"inbox {inbox}")

    def prepare(self, assignment: Assignment) -> Command:
        try:
            payload = read(assignment.spec.payload, Relay)
        except BadPayload as error:
            raise CannotPrepare(f"The payload is wrong: {error} Submit it again.") from None
        mode = payload.mode or ("inbox" if self._options.inbox else "resume")
        if mode == "inbox" and not self._options.inbox:
            raise CannotPrepare(
                "This machine has no inbox. Set inbox in [executor.claude_relay], or leave out mode."
            )
        place = payload.project_path or assignment.spec.cwd
        order = {
            "payload": payload,
            "mode": mode,
            "inbox": self._options.inbox,
            "command": self._command,
            "environment": self._options.environment,
            "secrets": self._options.secrets,
            "linger_s": self._options.linger_s,
            "place": real_folder(place, self._data, self._roots, sandboxed=False) if place else "",
        }
        argv = [sys.executable.encode(), b"-I", b"-m", b"node.drivers.relay"]
        environment = task_environment(self._encoded, assignment)
        return Command(argv, environment, "", msgspec.json.encode(order))
