"""Shell tasks: an argument list, or one string for `sh -c`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cortex.v1.types_pb2 import SandboxOffer, TaskType
from cortex.v1.worker_pb2 import Assignment
from node.worker.executors.port import CannotPrepare, Command, Offer, Setup, encoded, task_environment
from node.worker.sandbox import options
from node.worker.sandbox.levels import Levels

_SHELL = b"/bin/sh"


class ShellExecutor:
    def __init__(self, setup: Setup) -> None:
        """Raises Fault for settings that cannot be."""
        self._environment = encoded(setup.environment)
        self._levels = Levels(setup.data, setup.hidden, setup.roots, options.read(setup.options))
        self.sandboxes: Sequence[SandboxOffer] = ()

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_SHELL

    def probe(self) -> Offer:
        self.sandboxes = self._levels.probe()
        return Offer(True, slots=len(os.sched_getaffinity(0)))

    def prepare(self, assignment: Assignment) -> Command:
        spec = assignment.spec
        argv = [_SHELL, b"-c", spec.shell_command] if spec.shell_command else list(spec.argv)
        if not argv or not argv[0]:
            raise CannotPrepare("The task has no command. Submit it again with one.")
        folder = self._levels.folder(spec)
        limits = self._levels.limits(spec, folder)
        env = self._levels.environment(spec, task_environment(self._environment, assignment))
        return Command(argv, env, folder, limits=limits)
