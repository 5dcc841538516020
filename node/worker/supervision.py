"""The supervisor process as the daemon sees it: found or launched, greeted, and found again when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

import node.supervisor
from node.core.faults import Code, Fault
from node.env import Env
from node.supervisor import wire
from node.supervisor.build import build_id
from node.worker.port import (
    AttemptKey,
    Disconnected,
    Finished,
    Lease,
    Listener,
    SpawnOrder,
    StopOrder,
    SupervisorEvent,
)
from node.worker.translation import event_of, order_values, refused

_GREETING_TIMEOUT_S = 10.0
_START_TIMEOUT_S = 60.0
_QUIT_TIMEOUT_S = 30.0
_FIRST_DELAY_S = 0.05
_LONGEST_DELAY_S = 2.0


class ProcessSupervisor:
    """SupervisorPort over the unix socket in `env.data`/supervisor."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._folder = env.data / "supervisor"
        self._offload = env.make_offload("supervisor")
        self._log = structlog.get_logger()
        self._listener: Listener | None = None
        self._connection: _Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._pid = 0
        self._build = ""
        self._offered: set[tuple[str, str]] = set()

    @property
    def pid(self) -> int:
        return self._pid

    async def start(self, listener: Listener) -> None:
        self._listener = listener
        self._build = await self._offload(lambda: build_id(self.program()[-1]))
        connection = await self._first_connection()
        self._keeper = asyncio.create_task(self._keep(connection))

    def configure(self, slots: Mapping[int, int], cap_bytes: int) -> None:
        self._send(("configure", dict(slots), cap_bytes))

    def spawn(self, orders: Sequence[SpawnOrder]) -> None:
        if orders:
            self._send(("spawn", list(filter(self._knows, map(order_values, orders)))))

    def recall(self, keys: Sequence[AttemptKey]) -> None:
        if keys:
            self._send(("recall", [str(key) for key in keys]))

    def stop(self, orders: Sequence[StopOrder]) -> None:
        if orders:
            self._send(("stop", [(str(order.key), int(order.cause), order.kill_timeout_us) for order in orders]))

    def renew(self, leases: Mapping[AttemptKey, Lease]) -> None:
        if leases:
            self._send(("renew", [(str(key), *lease) for key, lease in leases.items()]))

    def forget(self, keys: Sequence[AttemptKey]) -> None:
        if keys:
            self._send(("forget", [str(key) for key in keys]))

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            await self._offload(lambda: None)  # a process that is just being launched comes up first
        if self._connection is not None:
            self._connection.close()

    async def quit(self) -> None:
        connection = self._connection
        if connection is None:
            return
        self._send(("quit",))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_QUIT_TIMEOUT_S):
                await connection.lost.wait()
        await self.close()
        if self._process is not None:
            await self._offload(self._process.wait)

    def _send(self, message: tuple[object, ...]) -> None:
        if self._connection is not None:
            self._connection.send(message)

    async def _first_connection(self) -> _Connection:
        """One that runs may answer late: its machine is busy, or the daemon that launched it was killed."""
        loop = asyncio.get_running_loop()
        deadline, delay_s = loop.time() + _START_TIMEOUT_S, _FIRST_DELAY_S
        while True:
            try:
                return await self._connect_or_launch()
            except TimeoutError as error:
                if loop.time() >= deadline:
                    raise Fault(
                        Code.INTERNAL,
                        f"The supervisor of {self._env.data} runs and does not answer.",
                        "See what holds it up; to `kill` the process in supervisor.pid ends its commands, too.",
                    ) from error
                self._log.warning("the supervisor does not answer yet")
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    async def _keep(self, connection: _Connection) -> None:
        """Connect again whenever the connection is lost. Runs until cancelled."""
        while True:
            await connection.lost.wait()
            before = connection.identity
            self._connection = None
            self._pid = 0
            self._emit([Disconnected()])
            delay_s = _FIRST_DELAY_S
            while True:
                try:
                    connection = await self._connect_or_launch()
                    self._tell_change(before, connection.identity)
                    break
                except Fault as fault:
                    self._log.error("no supervisor", error=fault.message, remedy=fault.remedy)
                except OSError as error:
                    # Out of processes, memory or descriptors, or it did not answer in time.
                    self._log.error("no supervisor", error=str(error) or "it does not answer")
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)

    def _tell_change(self, before: tuple[str, str], now: tuple[str, str]) -> None:
        if before[0] != now[0]:
            remedy = "What it ran is counted as lost. Its own words are in supervisor/log of the data folder."
            self._log.warning("the supervisor ended", pid=before[0], successor=now[0], remedy=remedy)
        elif before[1] != now[1]:
            self._log.info("the supervisor was brought up to date, its commands run on", pid=now[0], build=now[1])

    async def _connect_or_launch(self) -> _Connection:
        connection = await self._connect()
        if connection is None:
            if self._process is not None:
                await self._offload(self._process.poll)
            launched = await self._offload(self._launch)
            if launched is None:
                raise TimeoutError("one runs, and does not answer")
            self._process = launched
            connection = await self._connect()
        if connection is None:
            raise Fault(
                Code.INTERNAL,
                f"The supervisor of {self._env.data} was started but does not answer.",
                f"Read {self._folder / 'log'} and start the daemon again.",
            )
        return connection

    async def _connect(self) -> _Connection | None:
        """None when no supervisor listens. Raises Fault when one of another version does."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            _connect_in(self._folder, sock)
        except OSError:
            sock.close()
            return None
        connection = _Connection(self._take)
        await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=sock)
        try:
            async with asyncio.timeout(_GREETING_TIMEOUT_S):
                greeting = await connection.greeting
            oldest, newest = wire.versions(greeting)
        except (TimeoutError, wire.ProtocolError):
            connection.close()
            return None
        version = wire.common(oldest, newest)
        if not version:
            connection.close()
            pid = greeting.get("pid", "unknown")
            raise Fault(
                Code.UNSUPPORTED,
                f"The supervisor that runs on {self._env.data} (pid {pid}) speaks protocol {oldest} to {newest}; "
                f"this release speaks {wire.OLDEST} to {wire.NEWEST}.",
                f"Let its tasks end, stop it with `kill {pid}`, and start the daemon again.",
            )
        self._connection = connection
        self._pid = int(greeting.get("pid", "0"))
        connection.begin(greeting, version)
        try:
            async with asyncio.timeout(_GREETING_TIMEOUT_S):
                await connection.ready.wait()
        except TimeoutError:
            connection.close()
            raise
        self._replace(connection)
        return connection

    def _replace(self, connection: _Connection) -> None:
        """Have a supervisor that runs another program than this release's become that, once for each."""
        offer = connection.identity
        if connection.version >= wire.HANDS_OVER and offer[1] != self._build and offer not in self._offered:
            self._offered.add(offer)
            self._send(("hand_over", self.program()))

    def program(self) -> list[str]:
        """How a supervisor of this release is started, but for its data folder."""
        # By path and with -S -E -s: without site-packages it needs a third of the memory.
        return [sys.executable, "-S", "-E", "-s", str(Path(node.supervisor.__file__).parent)]

    def _launch(self) -> subprocess.Popen[bytes] | None:
        """Start the process and wait until it takes connections; None if one runs already. Raises Fault."""
        process = subprocess.Popen(
            [*self.program(), "--data", str(self._env.data)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout, process.stderr:
            if process.stdout.readline() == b"ready\n":
                return process
            text = process.stderr.read().decode("utf-8", "replace").strip()
        process.wait()
        if wire.RUNS_ALREADY in text:
            return None
        raise Fault(
            Code.INTERNAL,
            f"The supervisor did not start: {text[-1000:] or 'it said nothing'}",
            "Correct that and start the daemon again.",
        )

    def _take(self, messages: list[tuple[object, ...]], greeting: Mapping[str, str]) -> None:
        self._emit([event for message in messages if (event := event_of(message, greeting)) is not None])
        for message in messages:
            if message[0] == "stays":
                self._log.warning("the supervisor keeps its older program", reason=message[1])

    def _knows(self, order: tuple[object, ...]) -> bool:
        """Whether the supervisor does all that `order` asks for; if it does not, that is its end."""
        if self._connection is None or self._connection.version > wire.OLDEST or len(order) <= wire.ORDER_BASE:
            return True
        refusal = Finished(AttemptKey.parse(str(order[0])), refused())
        asyncio.get_running_loop().call_soon(lambda: self._emit([refusal]))
        return False

    def _emit(self, events: list[SupervisorEvent]) -> None:
        if self._listener is not None and events:
            self._listener(events)


class _Connection(asyncio.Protocol):
    """Frames in, batched frames out. `lost` is set when it is over."""

    def __init__(self, take: Callable[[list[tuple[object, ...]], Mapping[str, str]], None]) -> None:
        self._take = take
        self._frames = wire.Frames()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[tuple[object, ...]] = []
        self._greeting: Mapping[str, str] = {}
        self.version = 0
        self.greeting: asyncio.Future[dict[str, str]] = self._loop.create_future()
        self.ready = asyncio.Event()
        self.lost = asyncio.Event()

    @property
    def identity(self) -> tuple[str, str]:
        """Pid of the supervisor, and the build of its program."""
        return self._greeting.get("pid", ""), self._greeting.get("build", "")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.greeting.done():
            self.greeting.set_exception(wire.ProtocolError("it closed the connection"))
            self.greeting.exception()  # nobody may be left who waits for it
        self.ready.set()
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                if not self.greeting.done():
                    self.greeting.set_result(wire.parse_hello(body))
                else:
                    self._take(wire.unpack(body), self._greeting)
                    self.ready.set()
        except wire.ProtocolError as error:
            if not self.greeting.done():
                self.greeting.set_exception(error)
            self.close()

    def begin(self, greeting: Mapping[str, str], version: int) -> None:
        """Answer the greeting; the inventory follows."""
        self._greeting = greeting
        self.version = version
        assert self._transport is not None
        self._transport.write(wire.hello("cortexd", {"protocol": str(version), "pid": str(os.getpid())}))

    def send(self, message: tuple[object, ...]) -> None:
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(message)

    def close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire.pack(self._outgoing))
        self._outgoing = []


def _connect_in(folder: Path, sock: socket.socket) -> None:
    """Connect through the folder's descriptor: a socket's path is limited to 107 bytes. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{fd}/{wire.SOCKET}")
    finally:
        os.close(fd)
