"""Channels to the daemons of one cluster: addresses, options, the secret."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from cortex.v1 import cluster_pb2_grpc
from tui.errors import ClusterError

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# What daemons take of one batch.
MAX_BATCH_BYTES = 32 * 1024 * 1024
CONNECT_TIMEOUT_MS = 5_000
SECRET_KEY = "cortex-secret"
ACTOR_KEY = "cortex-actor-bin"

# The server must permit pings as frequent as these, else it answers them with "too many pings".
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_BATCH_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)


def check_size(method: str, size_bytes: int) -> None:
    """Raises ClusterError for a request that no daemon takes."""
    limit_bytes, remedy = MAX_MESSAGE_BYTES, "Put large input into a file, or send less at once."
    if method == "SubmitBatch":
        limit_bytes = MAX_BATCH_BYTES
        remedy = "Split the file, as with `split -l 10000 FILE`: each part is then a batch of its own."
    if size_bytes > limit_bytes:
        message = (
            f"The request has {size_bytes / 1e6:.1f} MB, so nothing was sent: the limit is {limit_bytes >> 20} MiB."
        )
        raise ClusterError("too_large", message, remedy)


@dataclass(frozen=True)
class Target:
    """One daemon: `address` is host:port or unix:PATH, `node` its node id where known."""

    address: str
    node: str = ""


class Channels:
    """One lazily opened channel per target."""

    def __init__(self, targets: Sequence[Target], secret: str) -> None:
        self.targets = tuple(targets)
        self._metadata: tuple[tuple[str, str | bytes], ...] = ()
        if secret:
            self._metadata = ((SECRET_KEY, secret), (ACTOR_KEY, _actor()))
        self._open: dict[Target, tuple[grpc.aio.Channel, cluster_pb2_grpc.ClusterAsyncStub]] = {}

    def stub(self, target: Target) -> cluster_pb2_grpc.ClusterAsyncStub:
        if target not in self._open:
            channel = grpc.aio.insecure_channel(target.address, options=CHANNEL_OPTIONS)
            self._open[target] = (channel, cluster_pb2_grpc.ClusterStub(channel))
        return self._open[target][1]

    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The secret, and for audits who calls; a daemon knows by itself who is at its socket."""
        return self._metadata

    async def reset(self, target: Target) -> None:
        """Closes the channel, so that the next call opens a new connection."""
        opened = self._open.pop(target, None)
        if opened is not None:
            await opened[0].close(None)

    async def close(self) -> None:
        for target in list(self._open):
            await self.reset(target)


def _actor() -> bytes:
    """The user of this process and the machine, as root@host."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid:{os.getuid()}"
    return f"{name}@{socket.gethostname()}".encode(errors="replace")
