"""Raft messages on their way to one peer: one stream, opened anew as soon as it breaks."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import grpc

from cortex.v1 import raft_pb2, raft_pb2_grpc

# What waits for one peer; more is dropped, as a network would.
_QUEUE = 512
# What is older than that when a connection is made is stale: whoever sent it has repeated it.
_FRESH_S = 0.2
_RECONNECT_S = 0.1
_PROBE_S = 1.0
_PROBES = 10

Call = grpc.aio.StreamStreamCall[raft_pb2.RaftMessage, raft_pb2.RaftMessage]


class RaftPeer:
    """Writes to one peer. A break is noticed when it happens, not by the first message that is lost in it.

    Two followers have nothing to tell each other until they need each other's vote; the stream between them must
    stand by then, whichever of them was away in the meantime.
    """

    def __init__(
        self,
        address: str,
        channel: grpc.aio.Channel,
        metadata: tuple[tuple[str, str], ...],
        on_refused: Callable[[], None],
    ) -> None:
        """`on_refused` is told when the peer's process ended, as far as that can be seen from here."""
        self._address, self._metadata, self._on_refused = address, metadata, on_refused
        self._stub = raft_pb2_grpc.RaftStub(channel)
        self._waiting: deque[tuple[float, raft_pb2.RaftMessage]] = deque()
        self._wake = asyncio.Event()
        self._connected = False
        self._loop = asyncio.get_running_loop()
        self._probe: asyncio.Task[None] | None = None
        self._task = self._loop.create_task(self._run())

    def send(self, message: raft_pb2.RaftMessage) -> None:
        if not self._connected:
            self._drop_stale()
        if len(self._waiting) < _QUEUE:
            self._waiting.append((self._loop.time(), message))
            self._wake.set()

    async def close(self) -> None:
        self._stop_probe()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def _drop_stale(self) -> None:
        oldest = self._loop.time() - _FRESH_S
        while self._waiting and self._waiting[0][0] < oldest:
            self._waiting.popleft()

    async def _run(self) -> None:
        while True:
            # It waits for the peer for as long as that is away.
            call = self._stub.Stream(metadata=self._metadata, wait_for_ready=True)  # type: ignore[call-arg]
            try:
                await self._write(call)
            except (Exception, asyncio.CancelledError):
                # However the call ends, also as cancelled within gRPC: a peer that is given up is down for ever.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
            finally:
                was_connected, self._connected = self._connected, False
                call.cancel()
            if was_connected:
                self._probe = self._loop.create_task(self._look_whether_it_ended())
            await asyncio.sleep(_RECONNECT_S)

    async def _write(self, call: Call) -> None:
        """Until the call has ended."""
        ended: asyncio.Future[None] = self._loop.create_future()
        call.add_done_callback(lambda _call: self._end(ended))
        connecting = asyncio.ensure_future(call.wait_for_connection())
        try:
            await asyncio.wait({connecting, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connecting.cancel()
        self._drop_stale()
        if not ended.done():
            self._connected = True
            self._stop_probe()
        while not ended.done():
            while self._waiting and not ended.done():
                await call.write(self._waiting.popleft()[1])
            self._wake.clear()
            if not self._waiting and not ended.done():
                await self._wake.wait()

    async def _look_whether_it_ended(self) -> None:
        """More than once: what listens may be closed behind what was connected, and heartbeats may be read late."""
        for _ in range(_PROBES):
            if await _refuses(self._address):
                self._on_refused()
            await asyncio.sleep(_RECONNECT_S)

    def _stop_probe(self) -> None:
        if self._probe is not None:
            self._probe.cancel()

    def _end(self, ended: asyncio.Future[None]) -> None:
        if not ended.done():
            ended.set_result(None)
        self._wake.set()


async def _refuses(address: str) -> bool:
    """Whether the machine is there and nobody listens at `address`, host:port: what a killed process leaves."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_PROBE_S):
            found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
            # A name may have several: asyncio's own way through them does not tell how each one failed.
            for family, kind, _, _, where in found:
                with socket.socket(family, kind) as probe:
                    probe.setblocking(False)
                    with suppress(ConnectionRefusedError):
                        await loop.sock_connect(probe, where)
                        return False
    except (OSError, ValueError):
        return False
    return True
