"""The Link over gRPC: one channel per peer, one stream of raft messages per direction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress

import grpc
from google.protobuf.message import Message

from cortex.v1 import cluster_pb2_grpc, raft_pb2, worker_pb2, worker_pb2_grpc
from node.link import Caller, LinkClosed, SessionHandler, WorkerStream
from node.rpc.errors import from_rpc
from node.rpc.own import OwnSessions
from node.rpc.raft_peer import RaftPeer

# One batch may be larger than a log entry: it is split on its way into the log.
MESSAGE_LIMIT = 32 * 1024 * 1024
OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Of a server: its default of 5 min takes the keepalives of what stands idle, as between followers, for abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
# Calls to a daemon that is no member any more, such as of a command's output, may go on for so long.
_FORGET_S = 30.0


class GrpcLink:
    """Implements node.link.Link. Close it with the daemon."""

    def __init__(self, secret: str) -> None:
        self._metadata = (("cortex-secret", secret),)
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._peers: dict[str, RaftPeer] = {}
        self._own: OwnSessions | None = None
        self._own_addresses: frozenset[str] = frozenset()
        self._closing: set[asyncio.Task[None]] = set()
        self.on_refused: Callable[[str], None] = lambda _address: None
        """Told of an address at which nobody listens any more, though somebody did: that process has ended."""

    def serve_own(self, addresses: Iterable[str], handler: SessionHandler) -> None:
        """Sessions with any of `addresses`, all this daemon's own, go to `handler` within the process."""
        self._own, self._own_addresses = OwnSessions(handler), frozenset(addresses)

    def send_raft(self, address: str, message: raft_pb2.RaftMessage) -> None:
        peer = self._peers.get(address)
        if peer is None:
            peer = self._peers[address] = RaftPeer(
                address, self._channel(address), self._metadata, lambda: self.on_refused(address)
            )
        peer.send(message)

    async def open_session(self, address: str) -> WorkerStream:
        if self._own is not None and address in self._own_addresses:
            return self._own.open()
        stub = worker_pb2_grpc.WorkerStub(self._channel(address))
        call = stub.Session(metadata=self._metadata)  # type: ignore[call-arg]
        return ClientStream(address, call)

    async def call(self, address: str, method: str, request: Message, timeout_s: float, caller: Caller) -> Message:
        stub = cluster_pb2_grpc.ClusterStub(self._channel(address))
        try:
            reply: Message = await getattr(stub, method)(
                request, timeout=timeout_s, metadata=self._caller_metadata(caller)
            )
        except grpc.aio.AioRpcError as error:
            raise (from_rpc(error) or LinkClosed(f"{address}: {error.details()}")) from None
        return reply

    async def stream(self, address: str, method: str, request: Message, caller: Caller) -> AsyncIterator[Message]:
        stub = cluster_pb2_grpc.ClusterStub(self._channel(address))
        call = getattr(stub, method)(request, metadata=self._caller_metadata(caller))
        try:
            async for reply in call:
                yield reply
        except grpc.aio.AioRpcError as error:
            raise (from_rpc(error) or LinkClosed(f"{address}: {error.details()}")) from None
        finally:
            call.cancel()

    def forget(self, addresses: Iterable[str]) -> None:
        """Close what is open to `addresses`; calls under way have a while to end. It is opened again at need."""
        for address in addresses:
            peer, channel = self._peers.pop(address, None), self._channels.pop(address, None)
            if channel is not None:
                task = asyncio.get_running_loop().create_task(_close(peer, channel, _FORGET_S))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        if self._own is not None:
            await self._own.close()
        for task in list(self._closing):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for peer in self._peers.values():
            await peer.close()
        for channel in self._channels.values():
            await channel.close(None)

    def _caller_metadata(self, caller: Caller) -> tuple[tuple[str, str | bytes], ...]:
        return (
            *self._metadata,
            ("cortex-actor-bin", caller.actor.encode()),
            ("cortex-hops", str(caller.hops)),
        )

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = grpc.aio.insecure_channel(address, options=OPTIONS)
        return channel


async def _close(peer: RaftPeer | None, channel: grpc.aio.Channel, grace_s: float) -> None:
    try:
        if peer is not None:
            await peer.close()
        await channel.close(grace_s)
    except asyncio.CancelledError:
        await channel.close(None)
        raise


class ClientStream:
    """The worker's end of a session."""

    def __init__(
        self,
        address: str,
        call: grpc.aio.StreamStreamCall[worker_pb2.WorkerMessage, worker_pb2.LeaderMessage],
    ) -> None:
        self._address = address
        self._call = call

    @property
    def peer(self) -> str:
        return self._address

    async def send(self, message: worker_pb2.WorkerMessage) -> None:
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            raise LinkClosed(f"{self._address}: {error}") from None

    async def receive(self) -> worker_pb2.LeaderMessage:
        try:
            message = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError) as error:
            raise LinkClosed(f"{self._address}: {error}") from None
        if not isinstance(message, worker_pb2.LeaderMessage):
            raise LinkClosed(f"{self._address}: the session ended")
        return message

    async def close(self) -> None:
        self._call.cancel()


class ServerStream:
    """The leader's end of a session."""

    def __init__(
        self, context: grpc.aio.ServicerContext[worker_pb2.WorkerMessage, worker_pb2.LeaderMessage]
    ) -> None:
        self._context = context
        self._closed = False

    @property
    def peer(self) -> str:
        return self._context.peer() or "unknown"

    async def send(self, message: worker_pb2.LeaderMessage) -> None:
        if self._closed:
            raise LinkClosed(self.peer)
        try:
            await self._context.write(message)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, grpc.aio.InternalError) as error:
            raise LinkClosed(f"{self.peer}: {error}") from None

    async def receive(self) -> worker_pb2.WorkerMessage:
        if self._closed:
            raise LinkClosed(self.peer)
        try:
            message = await self._context.read()
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, grpc.aio.InternalError) as error:
            raise LinkClosed(f"{self.peer}: {error}") from None
        if not isinstance(message, worker_pb2.WorkerMessage):
            raise LinkClosed(f"{self.peer}: the session ended")
        return message

    async def close(self) -> None:
        self._closed = True
