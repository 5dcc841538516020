"""The one message port of a daemon: gRPC outside (node.rpc.link), the simulator inside.

Raft messages are datagrams: they may be lost, doubled or late. Sessions are ordered streams that may break at
any moment. Calls are what operators and programs use; a daemon makes them too, to ask a peer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from cortex.v1 import raft_pb2, worker_pb2

Out = TypeVar("Out", bound=Message, contravariant=True)
In = TypeVar("In", bound=Message, covariant=True)


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a call is made, and how many daemons it has passed."""

    actor: str
    hops: int = 0

    def forwarded(self) -> Caller:
        return Caller(self.actor, self.hops + 1)


class LinkClosed(Exception):
    """The other side is gone. Nothing says what it still received."""


class Stream(Protocol[Out, In]):
    """One end of an ordered two-way stream."""

    @property
    def peer(self) -> str:
        """Address of the other side, for logs."""

    async def send(self, message: Out) -> None:
        """Hand over `message`; waits while the other side is behind. Raises LinkClosed."""

    async def receive(self) -> In:
        """The next message. Raises LinkClosed."""

    async def close(self) -> None: ...


WorkerStream = Stream[worker_pb2.WorkerMessage, worker_pb2.LeaderMessage]
LeaderStream = Stream[worker_pb2.LeaderMessage, worker_pb2.WorkerMessage]

RaftHandler = Callable[[raft_pb2.RaftMessage], None]
SessionHandler = Callable[[LeaderStream], Awaitable[None]]


class Link(Protocol):
    """What one daemon may send to others. Addresses are host:port."""

    def send_raft(self, address: str, message: raft_pb2.RaftMessage) -> None:
        """Send without waiting; dropped when the peer is away or far behind."""

    async def open_session(self, address: str) -> WorkerStream:
        """Open a worker session. Raises LinkClosed."""

    async def call(self, address: str, method: str, request: Message, timeout_s: float, caller: Caller) -> Message:
        """Call Cluster.`method` at `address`. Raises LinkClosed or node.core.faults.Fault."""

    def stream(self, address: str, method: str, request: Message, caller: Caller) -> AsyncIterator[Message]:
        """Call the streaming Cluster.`method` at `address`; iterating raises LinkClosed or Fault."""
