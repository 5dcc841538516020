"""A machine's commands and its supervisor, simulated: what node.worker.port.SupervisorPort asks for.

A command is `["sim", milliseconds, exit code]`. A fourth word makes it `stubborn`, so that it ignores TERM, or
`obliging`, so that it ends with 0 after it. It writes nothing, outlives the daemon, and dies with the machine.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cortex.v1.types_pb2 import Cause
from node.env import Clock
from node.worker.port import (
    NO_LEASE,
    AttemptKey,
    AttemptResult,
    Connected,
    Finished,
    HeldAttempt,
    HeldState,
    Lease,
    Listener,
    Quiet,
    Returned,
    SpawnOrder,
    Started,
    StopOrder,
    StreamEnd,
    SupervisorEvent,
)
from tests.sim.loop import SimLoop

_SPAWN_MARGIN_US = 1_000_000
_TERM_DELAY_S = 0.002
_EMPTY = StreamEnd(0, 0, hashlib.sha256(b"").digest(), b"", b"")


@dataclass(slots=True)
class Execution:
    """One run of one command, for the checkers. Virtual seconds; `ended_s` is None while it runs."""

    key: AttemptKey
    machine: str
    started_s: float
    ended_s: float | None = None
    lease_end_us: int = NO_LEASE
    attempt: tuple[bytes, bytes] = (b"", b"")  # run and attempt, as the command sees them
    by_itself: bool = False  # how it ended


@dataclass(slots=True)
class _Command:
    order: SpawnOrder
    state: HeldState
    lease_end_us: int
    start_before_us: int = NO_LEASE
    started_us: int = 0
    execution: Execution | None = None
    cause: int = 0
    result: AttemptResult | None = None
    timer: asyncio.TimerHandle | None = None
    lease_timer: asyncio.TimerHandle | None = None
    quiet_timers: list[asyncio.TimerHandle] = field(default_factory=list)


class Processes:
    """All commands of one machine between two of its crashes. Lives outside the daemon's life."""

    def __init__(self, machine: str, clock: Clock, history: list[Execution]) -> None:
        self._machine = machine
        self._clock = clock
        self._history = history
        self._commands: dict[AttemptKey, _Command] = {}
        self._slots: Mapping[int, int] = {}
        self._listener: Callable[[Sequence[SupervisorEvent]], None] | None = None
        self._life: contextvars.Context | None = None
        self._boots = 0
        self._boot_id = "boot-0"
        self.sick = False
        """Whether whatever begins here fails."""
        self.at_start: Callable[[], None] | None = None
        """Called once, by the next command that begins."""

    def machine_crashed(self) -> None:
        """All commands die, all is forgotten, and the machine comes up with another boot id."""
        now_s = asyncio.get_running_loop().time()
        for command in self._commands.values():
            self._cancel(command)
            if command.execution is not None and command.execution.ended_s is None:
                command.execution.ended_s = now_s
        self._commands.clear()
        self._listener = None
        self._boots += 1
        self._boot_id = f"boot-{self._boots}"

    def daemon_crashed(self) -> None:
        self._listener = None

    def connect(self, listener: Listener) -> None:
        self._listener = listener
        # What the daemon does with an event belongs to the daemon's life.
        self._life = contextvars.copy_context()
        held = [
            HeldAttempt(
                key,
                command.state,
                1 if command.state == HeldState.RUNNING else 0,
                command.started_us,
                command.result,
            )
            for key, command in self._commands.items()
        ]
        listener([Connected(self._boot_id, 1, held)])
        for command in self._commands.values():
            if command.state == HeldState.RUNNING:
                self.outside(self._watch_silence, command)

    @staticmethod
    def outside(request: Callable[..., None], *arguments: object) -> None:
        """Timers of commands must outlast the daemon's life."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        loop.neutral.copy().run(request, *arguments)

    def configure(self, slots: Mapping[int, int]) -> None:
        self._slots = dict(slots)
        self._start_waiting()

    def spawn(self, orders: Sequence[SpawnOrder]) -> None:
        for order in orders:
            if order.key not in self._commands:
                self._commands[order.key] = _Command(
                    order, HeldState.WAITING, order.lease_end_us, order.start_before_us
                )
        self._start_waiting()

    def recall(self, keys: Sequence[AttemptKey]) -> None:
        for key in keys:
            command = self._commands.get(key)
            never = command is None or command.state == HeldState.WAITING
            if never:
                self._commands.pop(key, None)
            self._tell(Returned(key, never))

    def stop(self, orders: Sequence[StopOrder]) -> None:
        for order in orders:
            command = self._commands.get(order.key)
            if command is None or command.state == HeldState.WAITING:
                self._commands.pop(order.key, None)
                self._tell(Returned(order.key, True))
            elif command.state == HeldState.RUNNING:
                self._terminate(command, order.cause, order.kill_timeout_us)

    def renew(self, leases: Mapping[AttemptKey, Lease]) -> None:
        for key, (end_us, start_before_us) in leases.items():
            command = self._commands.get(key)
            if command is None:
                continue
            command.start_before_us = start_before_us
            if command.lease_end_us != NO_LEASE:
                command.lease_end_us = end_us if end_us == NO_LEASE else max(command.lease_end_us, end_us)
                if command.execution is not None:
                    command.execution.lease_end_us = command.lease_end_us
                if command.state == HeldState.RUNNING:
                    self._watch_lease(command)
        self._start_waiting()

    def forget(self, keys: Sequence[AttemptKey]) -> None:
        for key in keys:
            command = self._commands.pop(key, None)
            if command is not None:
                self._cancel(command)
                if command.execution is not None and command.execution.ended_s is None:
                    command.execution.ended_s = asyncio.get_running_loop().time()
        self._start_waiting()

    def _start_waiting(self) -> None:
        running: dict[int, int] = {}
        for command in self._commands.values():
            if command.state == HeldState.RUNNING:
                running[command.order.kind] = running.get(command.order.kind, 0) + 1
        waiting = [command for command in self._commands.values() if command.state == HeldState.WAITING]
        waiting.sort(key=lambda command: (-command.order.priority, command.order.created_us, command.order.key))
        for command in waiting:
            kind = command.order.kind
            if running.get(kind, 0) < self._slots.get(kind, 0) and self._lease_allows(command):
                running[kind] = running.get(kind, 0) + 1
                self._start(command)

    def _lease_allows(self, command: _Command) -> bool:
        if 0 <= command.start_before_us <= self._clock.boot_us():
            return False
        if command.lease_end_us == NO_LEASE:
            return True
        return command.lease_end_us - self._clock.boot_us() >= command.order.kill_timeout_us + _SPAWN_MARGIN_US

    def _start(self, command: _Command) -> None:
        loop = asyncio.get_running_loop()
        command.state = HeldState.RUNNING
        command.started_us = self._clock.wall_us()
        command.execution = Execution(
            command.order.key,
            self._machine,
            loop.time(),
            lease_end_us=command.lease_end_us,
            attempt=(command.order.env[b"CORTEX_RUN"], command.order.env[b"CORTEX_ATTEMPT"]),
        )
        self._history.append(command.execution)
        duration_s = int(command.order.argv[1]) / 1000
        timeout_s = command.order.timeout_us / 1e6
        if 0 < timeout_s < duration_s:
            command.timer = loop.call_later(
                timeout_s, self._terminate, command, int(Cause.CAUSE_TIMEOUT), command.order.kill_timeout_us
            )
        else:
            exit_code = 1 if self.sick else int(command.order.argv[2])
            command.timer = loop.call_later(duration_s, self._end, command, exit_code, 0)
        self._watch_lease(command)
        self._watch_silence(command)
        if self.at_start is not None:
            at_start, self.at_start = self.at_start, None
            at_start()
        self._tell(Started(command.order.key, 1, command.started_us))

    def _watch_lease(self, command: _Command) -> None:
        if command.lease_end_us == NO_LEASE:
            return
        if command.lease_timer is not None:
            command.lease_timer.cancel()
        wait_us = command.lease_end_us - command.order.kill_timeout_us - self._clock.boot_us()
        command.lease_timer = asyncio.get_running_loop().call_later(
            max(wait_us, 0) / 1e6, self._terminate, command, int(Cause.CAUSE_LEASE), command.order.kill_timeout_us
        )

    def _watch_silence(self, command: _Command) -> None:
        """Tell once in each connection that it wrote nothing for so long."""
        assert command.execution is not None
        for timer in command.quiet_timers:
            timer.cancel()
        loop = asyncio.get_running_loop()
        silent_s = loop.time() - command.execution.started_s
        command.quiet_timers = [
            loop.call_later(
                max(0.0, limit_us / 1e6 - silent_s), self._tell, Quiet(command.order.key, limit_us, idle)
            )
            for limit_us, idle in ((command.order.stall_us, False), (command.order.idle_us, True))
            if limit_us
        ]

    def _terminate(self, command: _Command, cause: int, kill_timeout_us: int) -> None:
        if command.state != HeldState.RUNNING or command.cause:
            return
        command.cause = cause
        self._cancel(command)
        loop, manner = asyncio.get_running_loop(), bytes(b"".join(command.order.argv[3:]))
        if manner == b"stubborn":
            command.timer = loop.call_later(kill_timeout_us / 1e6, self._end, command, -1, 9)
        elif manner == b"obliging":
            command.timer = loop.call_later(_TERM_DELAY_S, self._end, command, 0, 0)
        else:
            command.timer = loop.call_later(_TERM_DELAY_S, self._end, command, -1, 15)

    def _end(self, command: _Command, exit_code: int, signal: int) -> None:
        assert command.execution is not None
        command.execution.ended_s = asyncio.get_running_loop().time()
        command.execution.by_itself = not command.cause
        self._cancel(command)
        cause = command.cause
        if not cause and exit_code != 0:
            cause = int(Cause.CAUSE_EXIT)
        now_us = self._clock.wall_us()
        command.state = HeldState.ENDED
        command.result = AttemptResult(
            cause=cause,
            error="",
            exit_code=exit_code,
            signal=signal,
            started_us=command.started_us,
            ended_us=now_us,
            wall_us=now_us - command.started_us,
            user_us=0,
            system_us=0,
            max_rss_bytes=0,
            stdout=_EMPTY,
            stderr=_EMPTY,
        )
        self._tell(Finished(command.order.key, command.result))
        self._start_waiting()

    @staticmethod
    def _cancel(command: _Command) -> None:
        for timer in (command.timer, command.lease_timer, *command.quiet_timers):
            if timer is not None:
                timer.cancel()

    def _tell(self, event: SupervisorEvent) -> None:
        asyncio.get_running_loop().call_soon(self._deliver, self._listener, event, context=self._life)

    def _deliver(
        self, listener: Callable[[Sequence[SupervisorEvent]], None] | None, event: SupervisorEvent
    ) -> None:
        if listener is not None and listener is self._listener:
            listener([event])


class SimSupervisor:
    """The daemon's side of `processes`. Requests arrive at once; nothing is lost but with the daemon."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    @property
    def pid(self) -> int:
        return 1

    async def start(self, listener: Listener) -> None:
        self._processes.connect(listener)

    def configure(self, slots: Mapping[int, int], cap_bytes: int) -> None:
        self._processes.outside(self._processes.configure, slots)

    def spawn(self, orders: Sequence[SpawnOrder]) -> None:
        self._processes.outside(self._processes.spawn, orders)

    def recall(self, keys: Sequence[AttemptKey]) -> None:
        self._processes.outside(self._processes.recall, keys)

    def stop(self, orders: Sequence[StopOrder]) -> None:
        self._processes.outside(self._processes.stop, orders)

    def renew(self, leases: Mapping[AttemptKey, Lease]) -> None:
        self._processes.outside(self._processes.renew, leases)

    def forget(self, keys: Sequence[AttemptKey]) -> None:
        self._processes.outside(self._processes.forget, keys)

    async def close(self) -> None:
        self._processes.daemon_crashed()

    async def quit(self) -> None:
        self._processes.machine_crashed()
