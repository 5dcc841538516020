"""One attempt at a command: its order, its process, the ladder that ends it, and its result."""

from __future__ import annotations

import resource
import time

from node.supervisor import wire
from node.supervisor.capture import Capture
from node.supervisor.confine import sandbox_refusal

_KILL_AGAIN_US = 100_000
# Longest wait for pipes that something out of reach still holds open after all processes are gone.
_PIPE_GRACE_US = 200_000
# How long after KILL a process that is still there counts as unkillable.
UNKILLABLE_US = 60_000_000
NEVER = 1 << 62
_COMPOUND = ("order", "said", "stdout", "stderr")


class UnknownFields(ValueError):
    """An order of a newer release asks for what this one does not know."""


class Order:
    """What the daemon asked for. See wire.ORDER_FIELDS."""

    __slots__ = wire.ORDER_FIELDS

    key: str
    kind: int
    priority: int
    created_us: int
    argv: list[bytes]
    env: dict[bytes, bytes]
    cwd: str
    output: str
    timeout_us: int
    kill_timeout_us: int
    lease_end_us: int
    success_codes: tuple[int, ...]
    start_before_us: int
    stall_us: int
    idle_us: int
    limits: dict[str, object]

    def __init__(self, values: tuple[object, ...]) -> None:
        """Raises ValueError when fields are missing, UnknownFields when there are more than are known."""
        for name, value in zip(wire.ORDER_FIELDS, _complete(values), strict=True):
            setattr(self, name, value)
        unknown = sorted(set(self.limits) - set(wire.LIMIT_FIELDS)) if self.limits else ()
        if unknown:
            raise UnknownFields(f"it has the limit {unknown[0]}, which this supervisor does not know")

    @property
    def sandboxed(self) -> bool:
        """Whether its command runs in a pid namespace of its own, below another program."""
        return bool(self.limits.get("wrap"))

    def values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in wire.ORDER_FIELDS)

    @property
    def name(self) -> str:
        """A file name for what it leaves behind."""
        return self.output.rpartition("/")[2]

    def may_start(self, now_us: int) -> bool:
        """Whether it may start at all by now, and enough of the lease is left to end it in order."""
        if 0 <= self.start_before_us <= now_us:
            return False
        return self.lease_end_us < 0 or self.lease_end_us - now_us >= self.kill_timeout_us + 1_000_000


class Attempt:
    """A command that was spawned. `pid` is 0 once it is reaped."""

    __slots__ = (
        "boxed",
        "cause",
        "cwd",
        "ended_us",
        "error",
        "forgotten",
        "group",
        "io",
        "kill_us",
        "killed",
        "killed_us",
        "memory_count",
        "order",
        "out_of_memory",
        "output_us",
        "pid",
        "pipes_until_us",
        "said",
        "spawned_us",
        "started_us",
        "status",
        "stderr",
        "stdout",
        "usage",
        "wall_us",
    )

    def __init__(self, order: Order, pid: int, stdout: Capture, stderr: Capture, spawned_us: int) -> None:
        self.order = order
        self.pid = pid
        self.group = pid
        self.stdout = stdout
        self.stderr = stderr
        self.spawned_us = spawned_us
        self.started_us = time.time_ns() // 1000
        self.ended_us = 0
        self.wall_us = 0
        self.cause = wire.CAUSE_NONE
        self.error = ""
        self.kill_us = NEVER
        self.killed = False
        self.killed_us = 0
        self.memory_count = -1
        self.out_of_memory = False
        self.output_us = spawned_us
        self.said: set[str] = set()
        self.status = 0
        self.usage = (0, 0, 0)
        self.io = (0, 0)
        self.boxed = False
        self.cwd = ""
        self.forgotten = False
        self.pipes_until_us = NEVER

    def state(self) -> dict[str, object]:
        """What restored() makes the same attempt of."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in _COMPOUND}
        return {
            **plain,
            "order": self.order.values(),
            "said": tuple(self.said),
            "stdout": self.stdout.state(),
            "stderr": self.stderr.state(),
        }

    @staticmethod
    def restored(state: dict[str, object], folder_fd: int) -> Attempt:
        """What `state` lacks is as in a new attempt. Raises LookupError, TypeError or ValueError."""
        stdout, stderr = (Capture.restored(state[name], folder_fd) for name in ("stdout", "stderr"))  # type: ignore[arg-type]
        attempt = Attempt(Order(state["order"]), 0, stdout, stderr, 0)  # type: ignore[arg-type]
        for name in attempt.__slots__:
            if name in state and name not in _COMPOUND:
                setattr(attempt, name, state[name])
        attempt.said = set(state["said"])  # type: ignore[call-overload]
        return attempt

    @property
    def pipes_open(self) -> bool:
        return self.stdout.fd >= 0 or self.stderr.fd >= 0

    @property
    def stopping(self) -> bool:
        return self.kill_us < NEVER

    def next_us(self) -> int:
        """When something is due next, on the boot clock."""
        if self.pid == 0 or self.stopping:
            return min(self.kill_us, self.pipes_until_us)
        order = self.order
        due = self.spawned_us + order.timeout_us if order.timeout_us else NEVER
        if order.lease_end_us >= 0:
            due = min(due, order.lease_end_us - order.kill_timeout_us)
        for what, limit_us in (("stall", order.stall_us), ("idle", order.idle_us)):
            if limit_us and what not in self.said:
                due = min(due, self.output_us + limit_us)
        return due

    def notices(self, now_us: int) -> list[tuple[object, ...]]:
        """What the daemon is to be told of it now, each once."""
        key, order = self.order.key, self.order
        if self.stopping:
            if "unkillable" in self.said or not self.killed or now_us < self.killed_us + UNKILLABLE_US:
                return []
            self.said.add("unkillable")
            seconds = (now_us - self.killed_us) // 1_000_000
            return [("unkillable", key, f"Process group {self.group} of the command outlived KILL by {seconds} s.")]
        found: list[tuple[object, ...]] = []
        quiet_us = now_us - self.output_us
        for what, limit_us in (("stall", order.stall_us), ("idle", order.idle_us)):
            if self.pid and limit_us and what not in self.said and quiet_us >= limit_us:
                self.said.add(what)
                found.append(("quiet", key, quiet_us, what == "idle"))
        return found

    def due_cause(self, now_us: int) -> int:
        """Why it must be stopped now, or CAUSE_NONE."""
        order = self.order
        if self.stopping:
            return wire.CAUSE_NONE
        if order.timeout_us and now_us >= self.spawned_us + order.timeout_us:
            return wire.CAUSE_TIMEOUT
        if 0 <= order.lease_end_us <= now_us + order.kill_timeout_us:
            return wire.CAUSE_LEASE
        return wire.CAUSE_NONE

    def begin_stop(self, cause: int, kill_timeout_us: int, now_us: int) -> bool:
        """Note that TERM is due. False when it was sent before: the first cause stays, KILL may come sooner."""
        first = not self.stopping
        if first and self.pid:
            self.cause = cause
        kill_us = now_us + kill_timeout_us
        if self.order.lease_end_us >= 0:
            kill_us = min(kill_us, max(self.order.lease_end_us, now_us))
        if not self.killed:
            self.kill_us = min(self.kill_us, kill_us)
        return first

    def kill_again(self, now_us: int) -> None:
        if not self.killed:
            self.killed_us = now_us
        self.killed = True
        self.kill_us = now_us + _KILL_AGAIN_US

    def used(self, usage: resource.struct_rusage) -> None:
        """Add what a process of it used, and those that it had waited for."""
        user_us, system_us, peak_bytes = self.usage
        spent = (int(usage.ru_utime * 1e6), int(usage.ru_stime * 1e6))
        self.usage = (user_us + spent[0], system_us + spent[1], max(peak_bytes, usage.ru_maxrss * 1024))
        read_bytes, written_bytes = self.io
        self.io = (read_bytes + usage.ru_inblock * 512, written_bytes + usage.ru_oublock * 512)

    def reaped(self, status: int, now_us: int) -> None:
        """Its own process has ended; others of it may live."""
        self.pid = 0
        self.status = status
        self.ended_us = time.time_ns() // 1000
        self.wall_us = now_us - self.spawned_us

    def wait_for_pipes(self, now_us: int) -> bool:
        """All processes are gone: whether the pipes still get time to be read to their end."""
        if not self.pipes_open:
            return False
        if self.pipes_until_us == NEVER:
            self.pipes_until_us = now_us + _PIPE_GRACE_US
        return now_us < self.pipes_until_us

    def result(self) -> tuple[object, ...]:
        """Close the files; the result in the order of wire.RESULT_FIELDS."""
        number = self.status & 0x7F
        code = -1 if number else self.status >> 8
        stdout, stderr = self.stdout.close(), self.stderr.close()
        cause = self._final_cause(code, number)
        if cause == wire.CAUSE_EXIT and self.order.sandboxed and not stdout[0]:
            refusal = sandbox_refusal(code, stderr[3])
            cause, self.error = (wire.CAUSE_CANNOT_START, refusal) if refusal else (cause, self.error)
        return (
            cause,
            self.error,
            code,
            number,
            self.started_us,
            self.ended_us,
            self.wall_us,
            *self.usage,
            stdout,
            stderr,
            *self.io,
        )

    def _final_cause(self, code: int, number: int) -> int:
        if not number and (code == 0 or code in self.order.success_codes):
            return wire.CAUSE_NONE
        if self.cause:
            return self.cause
        if self.out_of_memory:
            return wire.CAUSE_OUT_OF_MEMORY
        return wire.CAUSE_SIGNAL if number else wire.CAUSE_EXIT


def _complete(values: tuple[object, ...]) -> tuple[object, ...]:
    missing = len(wire.ORDER_FIELDS) - len(values)
    if missing < 0:
        raise UnknownFields(f"it has {-missing} fields more than this supervisor knows")
    if missing and len(values) >= wire.ORDER_BASE:
        return (*values, *(wire.ORDER_DEFAULTS[name] for name in wire.ORDER_FIELDS[-missing:]))
    return values


def boot_us() -> int:
    """Microseconds since boot, suspend included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def unstarted(cause: int, error: str) -> tuple[object, ...]:
    """The result of an attempt that never ran."""
    nothing = (0, 0, b"", b"", b"")
    return (cause, error, -1, 0, 0, time.time_ns() // 1000, 0, 0, 0, 0, nothing, nothing)
