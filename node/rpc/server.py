"""The gRPC server of a daemon: checks the secret, names the caller, turns Faults into statuses."""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from cortex.v1 import cluster_pb2, raft_pb2, worker_pb2
from node.core.checks import UNSAFE
from node.core.faults import Code, Fault
from node.link import Caller, SessionHandler
from node.rpc.errors import STATUS, metadata
from node.rpc.link import OPTIONS, ServerStream

if TYPE_CHECKING:
    # generic only in their stubs
    Context = grpc.aio.ServicerContext[Any, Any]
    Rpc = grpc.GenericRpcHandler[Any, Any]


class Handlers(Protocol):
    """What a daemon offers behind any transport."""

    async def call(self, method: str, request: Message, caller: Caller) -> Message:
        """Unary Cluster.`method`. Raises Fault."""

    def stream(self, method: str, request: Message, caller: Caller) -> AsyncIterator[Message]:
        """Streaming Cluster.`method`; iterating raises Fault."""

    def raft(self, message: raft_pb2.RaftMessage) -> None: ...

    @property
    def session(self) -> SessionHandler: ...


class Server:
    """Listens on host:port for whoever has the secret, and on a unix socket for the daemon's own user."""

    def __init__(self, handlers: Handlers, secret: str, owner: str) -> None:
        self._handlers = handlers
        self._secret = secret.encode()
        self._owner = owner
        self._log = structlog.get_logger()
        self._server = grpc.aio.server(options=(*OPTIONS, ("grpc.so_reuseport", 0)))
        self._server.add_generic_rpc_handlers((self._cluster(), self._raft(), self._worker()))

    async def start(self, listen: str, socket_path: Path) -> None:
        """Raises Fault when an address cannot be bound."""
        with suppress(FileNotFoundError):
            os.unlink(socket_path)
        previous = os.umask(0o177)
        try:
            if not self._bind(f"unix:{socket_path}"):
                message = f"The socket {socket_path} cannot be made in the data folder."
                raise Fault(Code.INVALID, message, "Name a folder on a local disk with --data.")
        finally:
            os.umask(previous)
        if not self._bind(listen):
            message = f"The address {listen} cannot be bound: {_why_not_bound(listen)}."
            raise Fault(Code.INVALID, message, "End what uses it (`ss -ltnp` shows it), or change --listen.")
        await self._server.start()

    def _bind(self, address: str) -> bool:
        try:
            return bool(self._server.add_insecure_port(address))
        except RuntimeError:
            return False

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)

    def _caller(self, context: Context) -> Caller:
        """Raises Fault for whoever lacks the secret. On the unix socket the file's mode has checked already."""
        found: dict[str, str | bytes] = dict(context.invocation_metadata() or ())
        if (context.peer() or "").startswith("unix:"):
            return Caller(self._owner)
        secret = found.get("cortex-secret", "")
        given = secret if isinstance(secret, bytes) else secret.encode()
        if not hmac.compare_digest(given, self._secret):
            message = "The call does not carry this cluster's secret."
            raise Fault(
                Code.UNAUTHENTICATED,
                message,
                "Name the cluster's folder with --data, or its secret file with CORTEX_SECRET_FILE.",
            )
        actor = found.get("cortex-actor-bin", b"")
        hops = str(found.get("cortex-hops", "0"))
        name = actor.decode(errors="replace") if isinstance(actor, bytes) else actor
        return Caller(UNSAFE.sub("?", name[:200]) or "secret", int(hops) if hops.isdigit() else 0)

    def _cluster(self) -> Rpc:
        service = cluster_pb2.DESCRIPTOR.services_by_name["Cluster"]
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for method in service.methods:
            if method.server_streaming:
                handlers[method.name] = grpc.unary_stream_rpc_method_handler(
                    self._stream(method.name), *_codecs(method)
                )
            else:
                handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                    self._unary(method.name), *_codecs(method)
                )
        return grpc.method_handlers_generic_handler(service.full_name, handlers)

    def _unary(self, name: str) -> Callable[[Message, Context], Awaitable[Message]]:
        async def handle(request: Message, context: Context) -> Message:
            try:
                return await self._handlers.call(name, request, self._caller(context))
            except Fault as fault:
                await _abort(context, fault)
            except asyncio.CancelledError:
                raise
            except Exception:
                self._log.exception("call failed", method=name)
                await _abort(context, _internal(name))
            raise AssertionError("abort raises")

        return handle

    def _stream(self, name: str) -> Callable[[Message, Context], AsyncIterator[Message]]:
        async def handle(request: Message, context: Context) -> AsyncIterator[Message]:
            try:
                async for reply in self._handlers.stream(name, request, self._caller(context)):
                    yield reply
            except Fault as fault:
                await _abort(context, fault)
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except Exception:
                self._log.exception("stream failed", method=name)
                await _abort(context, _internal(name))

        return handle

    def _raft(self) -> Rpc:
        async def handle(
            requests: AsyncIterator[raft_pb2.RaftMessage], context: Context
        ) -> AsyncIterator[raft_pb2.RaftMessage]:
            await self._admit(context)
            async for message in requests:
                self._handlers.raft(message)
            return
            yield

        return _two_way(raft_pb2.DESCRIPTOR.services_by_name["Raft"], "Stream", handle)

    def _worker(self) -> Rpc:
        async def handle(_requests: AsyncIterator[Message], context: Context) -> None:
            await self._admit(context)
            await self._handlers.session(ServerStream(context))

        return _two_way(worker_pb2.DESCRIPTOR.services_by_name["Worker"], "Session", handle)

    async def _admit(self, context: Context) -> None:
        try:
            self._caller(context)
        except Fault as fault:
            await _abort(context, fault)


def _why_not_bound(address: str) -> str:
    """What the system says, which gRPC keeps to itself."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, _, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return "another program used it just now"


def _codecs(method: MethodDescriptor) -> tuple[Callable[[bytes], Message], Callable[[Message], bytes]]:
    request = GetMessageClass(method.input_type)
    return request.FromString, GetMessageClass(method.output_type).SerializeToString


def _two_way(service: ServiceDescriptor, method: str, handle: Callable[..., object]) -> Rpc:
    codecs = _codecs(service.methods_by_name[method])
    handler = grpc.stream_stream_rpc_method_handler(handle, *codecs)
    return grpc.method_handlers_generic_handler(service.full_name, {method: handler})


def _internal(method: str) -> Fault:
    message = f"The daemon failed in {method}; its log has the details."
    return Fault(Code.INTERNAL, message, "Look into the daemon's log, and report it.")


async def _abort(context: Context, fault: Fault) -> None:
    await context.abort(STATUS[fault.code], fault.message, metadata(fault))
