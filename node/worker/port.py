"""What the worker needs of a supervisor, so that the simulator can put its own in the process's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from cortex.v1.types_pb2 import Cause


class AttemptKey(NamedTuple):
    """Tasks placed by one entry share its fence, so only both together name an attempt."""

    task: str
    fence: int

    def __str__(self) -> str:
        return f"{self.task}.{self.fence}"

    @staticmethod
    def parse(text: str) -> AttemptKey:
        task, _, fence = text.rpartition(".")
        return AttemptKey(task, int(fence))


@dataclass(frozen=True, slots=True)
class Limits:
    """What is put around a command. 0 = no bound."""

    wrap: Sequence[
        bytes
    ] = ()  # program and arguments before its own: a sandbox. FOLDER of the wire = its directory
    seccomp: bytes = b""  # the filter that the program reads
    folder: str = ""  # the directory that its cwd must prove to be; empty = any
    owner: tuple[int, int] | None = None  # uid and gid of a folder of its own
    memory_bytes: int = 0  # of all its processes
    pids: int = 0  # processes and threads
    cpu_millis: int = 0  # thousandths of a core
    rlimits: Mapping[str, int] = field(default_factory=dict)  # by the kernel's name: nofile, nproc, fsize
    folder_fd: bool = False  # the program of wrap finds the directory open, as FOLDER_FD of the wire


# Not frozen, as AttemptResult below: that would cost a short command a percent of what it costs here.
@dataclass(slots=True)
class SpawnOrder:
    """A command that is to run when a slot of its kind is free and its lease allows it."""

    key: AttemptKey
    kind: int  # cortex.v1.TaskType
    priority: int
    created_us: int  # leader time, unix; older first among equals
    argv: list[bytes]
    env: Mapping[bytes, bytes]
    cwd: str  # empty = a folder of its own
    output: str  # path of the output files below the output folder, without suffix
    timeout_us: int  # 0 = none
    kill_timeout_us: int
    lease_end_us: int  # boot clock; NO_LEASE = never
    success_codes: tuple[int, ...]  # beside 0
    start_before_us: int = -1  # boot clock; NO_LEASE = it may start as long as its lease allows it
    stall_us: int = 0  # silence of which it is to tell; 0 = none
    idle_us: int = 0  # likewise
    limits: Limits | None = None


NO_LEASE = -1


class Lease(NamedTuple):
    """How long an attempt may run, and until when it may start, on the boot clock; NO_LEASE = without end."""

    end_us: int
    start_before_us: int = NO_LEASE


@dataclass(frozen=True, slots=True)
class StopOrder:
    key: AttemptKey
    cause: Cause.ValueType
    kill_timeout_us: int


class StreamEnd(NamedTuple):
    """What became of one output stream."""

    total_bytes: int
    dropped_bytes: int
    sha256: bytes
    head: bytes
    tail: bytes


@dataclass(slots=True)
class AttemptResult:
    """How an attempt ended, by the supervisor's judgement. Times unix, in microseconds."""

    cause: int  # cortex.v1.Cause; 0 = success
    error: str  # for CANNOT_START: what, and what to do
    exit_code: int  # -1 = none
    signal: int  # 0 = none
    started_us: int  # 0 = it never started
    ended_us: int
    wall_us: int
    user_us: int
    system_us: int
    max_rss_bytes: int  # a spawned process inherits its spawner's peak, so never less than some 12 MB
    stdout: StreamEnd
    stderr: StreamEnd
    read_bytes: int = 0  # from disks
    written_bytes: int = 0


class HeldState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"  # a start mark, but neither process nor result


@dataclass(frozen=True, slots=True)
class HeldAttempt:
    key: AttemptKey
    state: HeldState
    pid: int  # 0 unless it runs
    started_us: int  # unix; 0 unless it runs
    result: AttemptResult | None  # when it has ended


@dataclass(frozen=True, slots=True)
class Connected:
    """The supervisor answers. What `attempts` lacks it does not have, and never started in this `boot_id`."""

    boot_id: str
    pid: int
    attempts: Sequence[HeldAttempt]


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection broke; Connected follows. What is asked for meanwhile is not done."""


class Started(NamedTuple):
    key: AttemptKey
    pid: int
    started_us: int  # unix


class Finished(NamedTuple):
    """Kept by the supervisor until it is told to forget it."""

    key: AttemptKey
    result: AttemptResult


@dataclass(frozen=True, slots=True)
class Returned:
    """Answer to recall, and to stop of what waits: if `never_started`, it will never start."""

    key: AttemptKey
    never_started: bool


@dataclass(frozen=True, slots=True)
class Delayed:
    """The machine is short of something; what waits is tried again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Quiet:
    """A running command wrote nothing for its stall_us or, if `idle`, its idle_us. Said once per connection."""

    key: AttemptKey
    quiet_us: int
    idle: bool


@dataclass(frozen=True, slots=True)
class Unkillable:
    """A command outlived KILL by a minute. Said once per connection."""

    key: AttemptKey
    reason: str  # one sentence


SupervisorEvent = Connected | Disconnected | Started | Finished | Returned | Delayed | Quiet | Unkillable
Listener = Callable[[Sequence[SupervisorEvent]], None]


class SupervisorPort(Protocol):
    """Starts commands by priority, then age, within slots per kind; ends leases even when the daemon is dead.

    Requests do not wait and are lost while it is disconnected: after Connected the listener asks again.
    """

    @property
    def pid(self) -> int:
        """Of its process; 0 while unknown."""

    async def start(self, listener: Listener) -> None:
        """Connect, launching the process when none runs; `listener` gets Connected first. Raises Fault."""

    def configure(self, slots: Mapping[int, int], cap_bytes: int) -> None:
        """Slots per kind, and how much of an output stream is kept."""

    def spawn(self, orders: Sequence[SpawnOrder]) -> None:
        """An order whose key is known is ignored."""

    def recall(self, keys: Sequence[AttemptKey]) -> None: ...

    def stop(self, orders: Sequence[StopOrder]) -> None:
        """TERM, then KILL; what waits is returned instead."""

    def renew(self, leases: Mapping[AttemptKey, Lease]) -> None: ...

    def forget(self, keys: Sequence[AttemptKey]) -> None:
        """Drop results; what waits will never start, what runs is ended without a result."""

    async def close(self) -> None:
        """Disconnect and leave the commands running."""

    async def quit(self) -> None:
        """End all commands, then the supervisor; returns when it is gone."""
