"""Shell tasks: an argument list, or one string for `sh -c`."""

from __future__ import annotations

from collections.abc import Mapping

from cortex.v1.types_pb2 import TaskType
from cortex.v1.worker_pb2 import Assignment
from node.worker.executors.port import CannotPrepare, Command

_SHELL = b"/bin/sh"


class ShellExecutor:
    """`environment` is all that commands inherit from the daemon."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {
            name.encode("utf-8", "surrogateescape"): value.encode("utf-8", "surrogateescape")
            for name, value in environment.items()
        }

    @property
    def type(self) -> TaskType.ValueType:
        return TaskType.TASK_TYPE_SHELL

    def prepare(self, assignment: Assignment) -> Command:
        spec = assignment.spec
        argv = [_SHELL, b"-c", spec.shell_command] if spec.shell_command else list(spec.argv)
        if not argv or not argv[0]:
            raise CannotPrepare("The task has no command. Submit it again with one.")
        env = dict(self._environment)
        for variable in spec.env:
            env[variable.name.encode()] = variable.value
        env[b"CORTEX_TASK"] = assignment.task.encode()
        env[b"CORTEX_FENCE"] = b"%d" % assignment.fence
        env[b"CORTEX_ATTEMPT"] = b"%d" % assignment.attempt
        env[b"CORTEX_RUN"] = b"%d" % assignment.run
        if assignment.workflow_id:
            env[b"CORTEX_WORKFLOW"] = assignment.workflow_id.encode()
            env[b"CORTEX_TASK_KEY"] = assignment.task_key.encode()
        return Command(argv, env, spec.cwd)
