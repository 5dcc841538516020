"""What turns an assignment into something that runs. One executor per task type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cortex.v1.types_pb2 import TaskType
from cortex.v1.worker_pb2 import Assignment, Ended


@dataclass(frozen=True, slots=True)
class Command:
    """A process for the supervisor to run."""

    argv: list[bytes]
    env: Mapping[bytes, bytes]
    cwd: str  # empty = a folder of its own


class CannotPrepare(Exception):
    """This machine cannot run the task; the message says why and what to do."""


class ProcessExecutor(Protocol):
    """Runs tasks of its type as processes of the supervisor."""

    @property
    def type(self) -> TaskType.ValueType: ...

    def prepare(self, assignment: Assignment) -> Command:
        """Pure and quick. Raises CannotPrepare."""


class DirectExecutor(Protocol):
    """Runs tasks of its type at once within the daemon."""

    @property
    def type(self) -> TaskType.ValueType: ...

    def run(self, assignment: Assignment, now_us: int) -> Ended:
        """Quick, and harmless to repeat: nothing is made durable before. `now_us` is unix time."""


Executor = ProcessExecutor | DirectExecutor
