"""An etcd cluster over gRPC: the definitions and stubs of aetcd, one endpoint at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from aetcd import rpc

from node.consensus.etcd.store import (
    Compacted,
    Condition,
    CreatedAt,
    Delete,
    Event,
    Get,
    KeyValue,
    LeaseGone,
    NoSpace,
    Operation,
    Outcome,
    Page,
    Put,
    Refused,
    RequestTooLarge,
    Unreachable,
)

T = TypeVar("T")
_EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]

_MESSAGE_LIMIT = 64 * 1024 * 1024
# etcd hangs up on clients that ping more often than every 5 s.
_OPTIONS = (
    ("grpc.max_receive_message_length", _MESSAGE_LIMIT),
    ("grpc.max_send_message_length", _MESSAGE_LIMIT),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
# A member that lost the others ends the watch instead of falling silent.
_WITH_LEADER = (("hasleader", "true"),)
_UNREACHED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
)
_REFUSED: tuple[tuple[str, type[Refused]], ...] = (
    ("revision has been compacted", Compacted),
    ("lease not found", LeaseGone),
    ("database space exceeded", NoSpace),
    ("request is too large", RequestTooLarge),
    ("message larger than max", RequestTooLarge),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM texts: who may have signed etcd's certificate, and this client's own."""

    ca: bytes | None
    certificate: bytes | None
    key: bytes | None


class EtcdClient:
    """Implements store.Etcd. An endpoint that does not answer is followed by the next."""

    def __init__(self, endpoints: Sequence[str], tls: Tls | None, timeout_s: float) -> None:
        self._endpoints = list(endpoints)
        self._tls = tls
        self._credentials = (
            grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate) if tls is not None else None
        )
        self._timeout_s = timeout_s
        self._current = 0
        self._channels: dict[str, Any] = {}

    @property
    def endpoint(self) -> str:
        """The one in use, for logs."""
        return self._endpoints[self._current]

    async def transact(
        self, when: Sequence[Condition], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Outcome:
        request = rpc.TxnRequest(
            compare=[_compare(condition) for condition in when],
            success=[_request_op(operation) for operation in then],
            failure=[_request_op(operation) for operation in otherwise],
        )
        response = await self._call(lambda channel: rpc.KVStub(channel).Txn(request, timeout=self._timeout_s))
        found = {
            pair.key: _key_value(pair)
            for part in response.responses
            if part.WhichOneof("response") == "response_range"
            for pair in part.response_range.kvs
        }
        return Outcome(response.succeeded, response.header.revision, found)

    async def page(self, first: bytes, end: bytes, limit: int, revision: int = 0) -> Page:
        request = rpc.RangeRequest(key=first, range_end=end, limit=limit, revision=revision)
        response = await self._call(lambda channel: rpc.KVStub(channel).Range(request, timeout=self._timeout_s))
        return Page(response.header.revision, [_key_value(pair) for pair in response.kvs], response.more)

    async def grant(self, seconds: int) -> tuple[int, int]:
        request = rpc.LeaseGrantRequest(TTL=seconds)
        response = await self._call(
            lambda channel: rpc.LeaseStub(channel).LeaseGrant(request, timeout=self._timeout_s)
        )
        return response.ID, response.TTL

    async def keep_alive(self, lease: int, timeout_s: float) -> int:
        async def ask(channel: Any) -> int:
            call = rpc.LeaseStub(channel).LeaseKeepAlive(timeout=timeout_s)
            try:
                await call.write(rpc.LeaseKeepAliveRequest(ID=lease))
                answer = await call.read()
            finally:
                call.cancel()
            if answer is _EOF:
                raise Unreachable("etcd ended the stream")
            return int(answer.TTL)

        seconds = await self._call(ask)
        if seconds <= 0:
            raise LeaseGone("lease not found")
        return seconds

    async def revoke(self, lease: int) -> None:
        request = rpc.LeaseRevokeRequest(ID=lease)
        await self._call(lambda channel: rpc.LeaseStub(channel).LeaseRevoke(request, timeout=self._timeout_s))

    async def watch(self, first: bytes, end: bytes, revision: int) -> AsyncIterator[list[Event]]:
        endpoint = self._current
        call = rpc.WatchStub(self._channel()).Watch(metadata=_WITH_LEADER)
        create = rpc.WatchCreateRequest(key=first, range_end=end, start_revision=revision, fragment=True)
        try:
            await call.write(rpc.WatchRequest(create_request=create))
            while (response := await call.read()) is not _EOF:
                if response.compact_revision:
                    raise Compacted(f"revision {revision} is compacted")
                if response.canceled:
                    raise Unreachable(response.cancel_reason or "etcd ended the watch")
                if response.events:
                    yield [_event(event) for event in response.events]
            raise Unreachable("etcd ended the watch")
        except grpc.aio.AioRpcError as error:
            raise self._failed(error, endpoint) from None
        except Unreachable:
            self._leave(endpoint)
            raise
        finally:
            call.cancel()

    async def compact(self, revision: int) -> None:
        request = rpc.CompactionRequest(revision=revision)
        with suppress(Compacted):
            await self._call(lambda channel: rpc.KVStub(channel).Compact(request, timeout=self._timeout_s))

    async def close(self) -> None:
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close(None)

    async def _call(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        endpoint = self._current
        try:
            return await ask(self._channel())
        except grpc.aio.AioRpcError as error:
            raise self._failed(error, endpoint) from None
        except grpc.aio.UsageError as error:
            raise Unreachable(str(error)) from None

    def _hint(self, details: str) -> str:
        """What gRPC does not say of the commonest mistakes."""
        if "failed to connect" not in details:
            return ""
        if self._tls is None:
            ended = "Socket closed" in details or "Connection reset" in details
            return " (does it want TLS? then name ca, cert and key)" if ended else ""
        return " (does it want a certificate? then name cert and key)" if self._tls.certificate is None else ""

    def _failed(self, error: grpc.aio.AioRpcError, endpoint: int) -> Exception:
        details = error.details() or ""
        for text, kind in _REFUSED:
            if text in details:
                return kind(details)
        if error.code() in _UNREACHED or "too many requests" in details:
            self._leave(endpoint)
            return Unreachable(f"{self._endpoints[endpoint]}: {details or error.code().name}{self._hint(details)}")
        return Refused(f"{self._endpoints[endpoint]}: {details or error.code().name}")

    def _leave(self, endpoint: int) -> None:
        if endpoint == self._current:
            self._current = (endpoint + 1) % len(self._endpoints)

    def _channel(self) -> Any:
        endpoint = self.endpoint
        if endpoint not in self._channels:
            if self._credentials is None:
                self._channels[endpoint] = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
            else:
                self._channels[endpoint] = grpc.aio.secure_channel(endpoint, self._credentials, options=_OPTIONS)
        return self._channels[endpoint]


def _compare(condition: Condition) -> Any:
    if isinstance(condition, CreatedAt):
        return rpc.Compare(
            key=condition.key,
            target=rpc.Compare.CREATE,
            result=rpc.Compare.EQUAL,
            create_revision=condition.revision,
        )
    return rpc.Compare(key=condition.key, target=rpc.Compare.VALUE, result=rpc.Compare.EQUAL, value=condition.value)


def _request_op(operation: Operation) -> Any:
    if isinstance(operation, Put):
        put = rpc.PutRequest(key=operation.key, value=operation.value, lease=operation.lease)
        return rpc.RequestOp(request_put=put)
    if isinstance(operation, Delete):
        delete = rpc.DeleteRangeRequest(key=operation.key, range_end=operation.end)
        return rpc.RequestOp(request_delete_range=delete)
    assert isinstance(operation, Get)
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=operation.key))


def _key_value(pair: Any) -> KeyValue:
    return KeyValue(pair.key, pair.value, pair.create_revision, pair.mod_revision)


def _event(event: Any) -> Event:
    pair = event.kv
    value = None if event.type == rpc.Event.EventType.DELETE else pair.value
    return Event(pair.key, value, pair.create_revision, pair.mod_revision)
