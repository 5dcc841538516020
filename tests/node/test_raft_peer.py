"""The stream of raft messages to a peer: it stands when it is needed, and tells of a process that ended."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from cortex.v1 import raft_pb2, raft_pb2_grpc
from node.rpc import raft_peer
from node.rpc.link import OPTIONS, GrpcLink
from node.rpc.raft_peer import RaftPeer
from tests.e2e.harness import held_port


class Peer(raft_pb2_grpc.RaftServicer):
    """A process that takes raft messages at a port of its own; it may end and begin again."""

    def __init__(self) -> None:
        self._port = held_port()
        self.address = f"127.0.0.1:{self._port.getsockname()[1]}"
        self.streams: asyncio.Queue[None] = asyncio.Queue()
        """Each that was opened."""
        self.came: asyncio.Queue[str] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None

    async def Stream(  # type: ignore[override]
        self, requests: AsyncIterator[raft_pb2.RaftMessage], _context: object
    ) -> AsyncIterator[raft_pb2.RaftMessage]:
        self.streams.put_nowait(None)
        async for message in requests:
            self.came.put_nowait(message.to)
        return
        yield

    async def begin(self) -> None:
        self._server = grpc.aio.server()
        raft_pb2_grpc.add_RaftServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def end(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def close(self) -> None:
        await self.end()
        self._port.close()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    one = Peer()
    await one.begin()
    yield one
    await one.close()


@pytest.fixture
async def link() -> AsyncIterator[GrpcLink]:
    one = GrpcLink("secret")
    yield one
    await one.close()


async def test_a_stream_that_broke_stands_again_before_it_is_needed(peer: Peer, link: GrpcLink) -> None:
    """Followers have nothing to say until they need a vote: the first message must not be what finds the break."""
    async with asyncio.timeout(60):
        link.send_raft(peer.address, raft_pb2.RaftMessage(to="before"))
        assert await peer.came.get() == "before"
        await peer.streams.get()
        await peer.end()
        await peer.begin()
        await peer.streams.get()
        link.send_raft(peer.address, raft_pb2.RaftMessage(to="after"))
        assert await peer.came.get() == "after"


def test_a_server_puts_up_with_the_keepalives_of_what_stands_idle() -> None:
    """Else it ends the connection for too many of them, after half a minute, with all streams and calls."""
    options = dict(OPTIONS)
    assert options["grpc.http2.min_ping_interval_without_data_ms"] < options["grpc.keepalive_time_ms"]


async def test_a_process_that_ended_is_told_of(peer: Peer, link: GrpcLink) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    link.on_refused = told.put_nowait
    async with asyncio.timeout(60):
        link.send_raft(peer.address, raft_pb2.RaftMessage(to="n2"))
        await peer.came.get()
        await peer.end()
        assert await told.get() == peer.address


@pytest.mark.parametrize(("listens", "refused"), [((), True), (("127.0.0.2",), False), (("127.0.0.3",), False)])
async def test_a_name_of_several_addresses_refuses_when_all_do(
    monkeypatch: pytest.MonkeyPatch, listens: tuple[str, ...], refused: bool
) -> None:
    held = held_port()
    port = held.getsockname()[1]
    loop = asyncio.get_running_loop()

    async def two(_host: str, _port: int, **_more: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (ip, port)) for ip in ("127.0.0.2", "127.0.0.3")]

    servers = [await asyncio.start_server(lambda *_: None, ip, port) for ip in listens]
    monkeypatch.setattr(loop, "getaddrinfo", two)
    assert await raft_peer._refuses(f"n2:{port}") == refused
    for server in servers:
        server.close()
    held.close()


async def test_a_peer_that_was_never_there_is_not(link: GrpcLink) -> None:
    """It may only be late: all daemons of a cluster are started at once."""
    told: list[str] = []
    link.on_refused = told.append
    late = Peer()
    link.send_raft(late.address, raft_pb2.RaftMessage(to="n2"))
    channel = link._channel(late.address)
    async with asyncio.timeout(60):
        while (state := channel.get_state()) is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            await channel.wait_for_state_change(state)
        await late.begin()
        await late.streams.get()
    assert told == []
    await late.close()


class EndingCalls:
    """A channel whose first calls end while they are written to, in one way after the other."""

    def __init__(self, *ends: BaseException) -> None:
        self.ends = list(ends)
        self.written: asyncio.Queue[raft_pb2.RaftMessage] = asyncio.Queue()

    def stream_stream(self, *_path: object, **_codecs: object) -> Any:
        return lambda **_options: self

    def add_done_callback(self, _callback: Callable[[Any], None]) -> None:
        pass

    async def wait_for_connection(self) -> None:
        pass

    async def write(self, message: raft_pb2.RaftMessage) -> None:
        if self.ends:
            raise self.ends.pop(0)
        self.written.put_nowait(message)

    def cancel(self) -> None:
        pass


async def test_however_a_stream_ends_the_peer_is_sent_to_again() -> None:
    channel: Any = EndingCalls(asyncio.InvalidStateError(), asyncio.CancelledError(), ValueError("unforeseen"))
    peer = RaftPeer("nowhere", channel, (), lambda: None)
    message = raft_pb2.RaftMessage(to="n2")
    while channel.written.empty():
        peer.send(message)
        await asyncio.sleep(0.01)
    assert not channel.ends
    await peer.close()
    assert peer._task.cancelled()
