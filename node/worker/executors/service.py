"""Service tasks: a command that runs until it is stopped, kept by node.drivers.service."""

from __future__ import annotations

import sys

import msgspec

from cortex.v1.types_pb2 import TaskType
from cortex.v1.worker_pb2 import Assignment
from node.payloads.reading import BadPayload, read
from node.payloads.service import Service
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup, encoded, task_environment
from node.worker.port import Limits
from node.worker.sandbox.folders import real_folder

_SHELL = b"/bin/sh"
_SLOTS = 20
# -I: neither the task's folder nor its PYTHON* variables say what the driver imports.
_DRIVER = [sys.executable.encode(), b"-I", b"-m", b"node.drivers.service"]


class ServiceExecutor:
    def __init__(self, setup: Setup) -> None:
        self._environment = encoded(setup.environment)
        self._data, self._roots = setup.data, setup.roots

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_SERVICE

    def probe(self) -> Offer:
        return Offer(True, slots=_SLOTS)

    def prepare(self, assignment: Assignment) -> Command:
        spec = assignment.spec
        argv = [_SHELL, b"-c", spec.shell_command] if spec.shell_command else list(spec.argv)
        if not argv or not argv[0]:
            raise CannotPrepare("The task has no command. Submit it again with one.")
        try:
            service = read(spec.payload, Service)
        except BadPayload as error:
            raise CannotPrepare(f"The payload of the task is wrong: {error} Submit it again.") from None
        folder = real_folder(spec.cwd, self._data, self._roots, sandboxed=False) if spec.cwd else ""
        limits = Limits(folder=folder) if folder else None
        order = msgspec.json.encode({"service": service, "kill_timeout_s": spec.kill_timeout_ms / 1000})
        environment = task_environment(self._environment, assignment)
        return Command([*_DRIVER, *argv], environment, folder, order, limits)
