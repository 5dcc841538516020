"""What turns an assignment into something that runs. One executor per task type.

Of the verbs of an executor it answers for what differs between types: `probe`, `prepare`, and `adopt` and `remove`
where something can outlive its process. To start, to stop, to wait and to keep output is the supervisor's for all
of them, since only what it holds outlives the daemon: what is no command by itself is run by a driver (see
node.drivers), which is one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from cortex.v1.types_pb2 import Cause, SandboxOffer, TaskType
from cortex.v1.worker_pb2 import Assignment, Attached, Ended
from node.worker.port import AttemptKey, Limits

DEFAULT_SLOTS = 5
"""Tasks of a type that run at once, where neither the type nor the configuration says otherwise."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What an executor is made from."""

    data: Path  # the daemon's folder
    environment: Mapping[str, str] = field(default_factory=dict)  # all that commands inherit from the daemon
    options: Mapping[str, object] = field(default_factory=dict)  # its section of the configuration, unchecked
    roots: Sequence[Path] = ()  # folders that working directories may be in; none = any
    hidden: Sequence[Path] = ()  # files that no command in a sandbox may read
    sandbox: Mapping[str, object] = field(default_factory=dict)  # what sandboxes are made of, unchecked


@dataclass(frozen=True, slots=True)
class Offer:
    """Whether this machine runs tasks of a type, as tried just now."""

    available: bool
    detail: str = ""  # what it runs them with, such as "podman 4.3.1"
    reason: str = ""  # why it is not available: a cause and a remedy
    slots: int = DEFAULT_SLOTS
    capabilities: Sequence[str] = ()  # what tasks may need of it, such as one handler


@dataclass(frozen=True, slots=True)
class Command:
    """A process for the supervisor to run."""

    argv: list[bytes]
    env: Mapping[bytes, bytes]
    cwd: str  # empty = a folder of its own
    order: bytes | None = None  # for a driver: the JSON that it finds at CORTEX_ORDER; None = it is no driver
    limits: Limits | None = None  # what is put around it


class CannotPrepare(Exception):
    """This machine cannot run the task; the message says why and what to do.

    With CAUSE_RATE_LIMITED or CAUSE_INFRASTRUCTURE it can later: the task is put off for `retry_after_ms`, which
    costs no attempt.
    """

    def __init__(
        self, message: str, cause: Cause.ValueType = Cause.CAUSE_CANNOT_START, retry_after_ms: int = 0
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.retry_after_ms = retry_after_ms


class ProcessExecutor(Protocol):
    """Runs tasks of its type as processes of the supervisor."""

    @property
    def type(self) -> TaskType.ValueType: ...

    def probe(self) -> Offer:
        """Try it. Blocks for seconds at most; called once, before anything is prepared."""

    def prepare(self, assignment: Assignment) -> Command:
        """Pure and quick. Raises CannotPrepare."""


class Untraceable(Exception):
    """Nothing on this machine says any more how to reach what is left; the message says what to do.

    After an hour of it the attempt counts as ended all the same.
    """


@runtime_checkable
class Outliving(Protocol):
    """A ProcessExecutor whose tasks can leave something when their processes are killed, such as a container.

    Both block, run on a thread of their own, and are called again later when they raise.
    """

    def adopt(self, held: Collection[AttemptKey]) -> None:
        """After a start: these of its attempts live on; what else is left of earlier ones is removed.

        `held` answers as it is when it is asked: look first at what is there, then ask.
        """

    def remove(self, key: AttemptKey, order: bytes) -> None:
        """The processes of this attempt are gone: end and remove all that is left of it. `order` is what prepare()
        wrote for its driver, perhaps in a daemon before this one; empty when that is lost.

        Not called where the driver's verdict says that it ended in order. Nothing is reported before this returns,
        or has raised Untraceable for an hour.
        """


@runtime_checkable
class Sandboxing(Protocol):
    """An executor that runs commands at sandbox levels."""

    @property
    def sandboxes(self) -> Sequence[SandboxOffer]:
        """Every level, as probe() tried it."""


@runtime_checkable
class Fronting(Protocol):
    """An executor that stands before what is shown beside its node, such as Kubernetes clusters."""

    def measure(self) -> list[Attached]:
        """What that is and has now; ids are names within the node. Blocks for seconds, on a thread of its own."""


@runtime_checkable
class DirectExecutor(Protocol):
    """Runs tasks of its type at once within the daemon."""

    @property
    def type(self) -> TaskType.ValueType: ...

    def probe(self) -> Offer: ...

    def run(self, assignment: Assignment, now_us: int) -> Ended:
        """Quick, and harmless to repeat: nothing is made durable before. `now_us` is unix time."""


Executor = ProcessExecutor | DirectExecutor


def split(executors: Iterable[Executor]) -> tuple[dict[int, DirectExecutor], dict[int, ProcessExecutor]]:
    """By type: those within the daemon, and those by processes of the supervisor."""
    direct: dict[int, DirectExecutor] = {}
    processes: dict[int, ProcessExecutor] = {}
    for executor in executors:
        if isinstance(executor, DirectExecutor):
            direct[int(executor.type)] = executor
        else:
            processes[int(executor.type)] = executor
    return direct, processes


def task_environment(environment: Mapping[bytes, bytes], assignment: Assignment) -> dict[bytes, bytes]:
    """What a command of any type finds in its environment: what is inherited, the task's own, and CORTEX_*."""
    env = dict(environment)
    for variable in assignment.spec.env:
        env[variable.name.encode()] = variable.value
    env[b"CORTEX_TASK"] = assignment.task.encode()
    env[b"CORTEX_FENCE"] = b"%d" % assignment.fence
    env[b"CORTEX_ATTEMPT"] = b"%d" % assignment.attempt
    env[b"CORTEX_RUN"] = b"%d" % assignment.run
    if assignment.workflow_id:
        env[b"CORTEX_WORKFLOW"] = assignment.workflow_id.encode()
        env[b"CORTEX_TASK_KEY"] = assignment.task_key.encode()
    return env


def encoded(environment: Mapping[str, str]) -> dict[bytes, bytes]:
    return {
        name.encode("utf-8", "surrogateescape"): value.encode("utf-8", "surrogateescape")
        for name, value in environment.items()
    }
