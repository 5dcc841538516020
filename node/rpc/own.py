"""The session of a daemon with itself: a leader is a worker, too, and need not encode what it says to itself.

A message must not be changed after it was sent, as everywhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from cortex.v1 import worker_pb2
from node.link import LinkClosed, SessionHandler, WorkerStream

M = TypeVar("M")
Out = TypeVar("Out")
In = TypeVar("In")

_PEER = "this daemon"
# Messages that wait for their reader; a sender waits then.
_LIMIT = 16


class _Pipe(Generic[M]):
    """Messages one way, in order."""

    def __init__(self) -> None:
        self._messages: deque[M] = deque()
        self._waiting: list[asyncio.Future[None]] = []
        self._closed = False

    async def put(self, message: M) -> None:
        while len(self._messages) >= _LIMIT and not self._closed:
            await self._change()
        if self._closed:
            raise LinkClosed(_PEER)
        self._messages.append(message)
        self._wake()

    async def take(self) -> M:
        """What was sent before the end is still read."""
        while not self._messages:
            if self._closed:
                raise LinkClosed(_PEER)
            await self._change()
        message = self._messages.popleft()
        self._wake()
        return message

    def close(self) -> None:
        self._closed = True
        self._wake()

    async def _change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


class _End(Generic[Out, In]):
    """Implements node.link.Stream."""

    def __init__(self, outgoing: _Pipe[Out], incoming: _Pipe[In]) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    @property
    def peer(self) -> str:
        return _PEER

    async def send(self, message: Out) -> None:
        await self._outgoing.put(message)

    async def receive(self) -> In:
        return await self._incoming.take()

    async def close(self) -> None:
        self._outgoing.close()
        self._incoming.close()


class OwnSessions:
    """Opens sessions at `handler`, each served by a task until it is over. Close it with the link."""

    def __init__(self, handler: SessionHandler) -> None:
        self._handler = handler
        self._serving: set[asyncio.Task[None]] = set()

    def open(self) -> WorkerStream:
        up: _Pipe[worker_pb2.WorkerMessage] = _Pipe()
        down: _Pipe[worker_pb2.LeaderMessage] = _Pipe()
        task = asyncio.get_running_loop().create_task(self._serve(_End(down, up)))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return _End(up, down)

    async def close(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, stream: _End[worker_pb2.LeaderMessage, worker_pb2.WorkerMessage]) -> None:
        try:
            await self._handler(stream)
        finally:
            await stream.close()
