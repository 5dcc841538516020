"""A seeded network: raft datagrams, worker sessions and calls between addresses, as node.link.Link has them.

Datagrams may be lost, doubled, late and out of order. Streams and calls keep their order and are never lost, as
over TCP; what a cut holds up arrives after it, or the stream breaks when that takes too long.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import Message

from cortex.v1 import raft_pb2
from node.link import Caller, LinkClosed, SessionHandler
from tests.sim.loop import Life, SimLoop

_SESSION_WINDOW = 256
_INSTANT_S = 1e-7


@dataclass(slots=True)
class Weather:
    """Chances are per datagram; delays are seconds, one way, for everything."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """Chance that a datagram waits `reorder_s` more and lets later ones pass."""
    reorder_s: float = 0.05
    delay_s: tuple[float, float] = (0.0002, 0.001)
    break_after_s: float = 10.0
    """A stream whose bytes do not get through for this long breaks; a call ends in LinkClosed."""


class Handlers(Protocol):
    """What a daemon offers behind the network; the same as behind the real transport."""

    async def call(self, method: str, request: Message, caller: Caller) -> Message: ...

    def stream(self, method: str, request: Message, caller: Caller) -> AsyncIterator[Message]: ...

    def raft(self, message: raft_pb2.RaftMessage) -> None: ...

    def refused(self, address: str) -> None: ...

    @property
    def session(self) -> SessionHandler: ...


class Watcher(Protocol):
    """Who looks on: see lease_checks."""

    def heard(self, source: str, target: str, sent_s: float) -> None: ...

    def arrived(self, worker: str, leader: str, message: Message) -> None: ...

    def said(self, leader: str, worker: str, message: Message) -> None: ...


class RaftOnly:
    """Handlers of an engine without a daemon around it."""

    def __init__(
        self,
        receive: Callable[[raft_pb2.RaftMessage], None],
        refused: Callable[[str], None] = lambda _address: None,
    ) -> None:
        self.raft, self.refused = receive, refused

    async def call(self, method: str, request: Message, caller: Caller) -> Message:
        raise LinkClosed(method)

    def stream(self, method: str, request: Message, caller: Caller) -> AsyncIterator[Message]:
        raise LinkClosed(method)

    @property
    def session(self) -> SessionHandler:
        raise LinkClosed("session")


@dataclass(slots=True)
class _Host:
    handlers: Handlers
    life: Life
    pipes: list[_Pipe]


class Network:
    """All links of one simulated cluster. Cuts are one-way unless said; they hold until heal()."""

    def __init__(self, loop: SimLoop, rng: random.Random, weather: Weather | None = None) -> None:
        self._loop, self._rng = loop, rng
        self.weather = weather or Weather()
        self.counts: Counter[str] = Counter()
        """How many datagrams were sent, lost, doubled, reordered, cut; how many streams broke."""
        self.watcher: Watcher | None = None
        self._hosts: dict[str, _Host] = {}
        self._cuts: dict[tuple[str, str], None] = {}
        self._last_arrival: dict[tuple[str, str], float] = {}
        self._healed: list[asyncio.Future[None]] = []

    def attach(self, address: str, handlers: Handlers, life: Life) -> None:
        """A process listens at `address` from now on; everything it is given runs in `life`."""
        self._hosts[address] = _Host(handlers, life, [])

    def detach(self, address: str, *, machine_up: bool = False) -> None:
        """The process is gone: its streams break, whatever still arrives is dropped.

        Its machine, where that is still up, tells those who were connected, and refuses them.
        """
        host = self._hosts.pop(address, None)
        for other in self._hosts if machine_up and host is not None else ():
            self._loop.call_later(2 * self.delay_s(), self._refuse, other, address, context=self._loop.neutral)
        for pipe in host.pipes if host is not None else []:
            pipe.fail_later(self.delay_s())

    def link(self, address: str, life: Life) -> SimLink:
        """What the process at `address` sends through."""
        return SimLink(self, address, life)

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from `source` to `target`."""
        self._cuts[source, target] = None

    def part(self, *groups: list[str]) -> None:
        """Nothing gets from one group to another, in either direction."""
        for group in groups:
            for other in groups:
                if other is not group:
                    for source in group:
                        for target in other:
                            self.cut(source, target)

    def isolate(self, address: str, others: list[str]) -> None:
        self.part([address], [other for other in others if other != address])

    def heal(self) -> None:
        self._cuts.clear()
        waiting, self._healed = self._healed, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def is_cut(self, source: str, target: str) -> bool:
        return (source, target) in self._cuts

    def delay_s(self) -> float:
        return self._rng.uniform(*self.weather.delay_s)

    def datagram(self, source: str, target: str, message: raft_pb2.RaftMessage) -> None:
        weather, rng, way = self.weather, self._rng, (source, target)
        self.counts["sent"] += 1
        if way in self._cuts:
            self.counts["cut"] += 1
            return
        if rng.random() < weather.loss:
            self.counts["lost"] += 1
            return
        copies = 1
        if rng.random() < weather.duplicate:
            self.counts["doubled"] += 1
            copies = 2
        sent_s = self._loop.time()
        for _ in range(copies):
            arrival = sent_s + self.delay_s()
            if rng.random() < weather.reorder:
                self.counts["reordered"] += 1
                arrival += rng.uniform(0, weather.reorder_s)
            else:
                # Timers of one instant fire in no particular order, so each gets an instant of its own.
                arrival = max(arrival, self._last_arrival.get(way, 0.0) + _INSTANT_S)
                self._last_arrival[way] = arrival
            self._loop.call_at(arrival, self._deliver, source, target, message, sent_s, context=self._loop.neutral)

    def _deliver(self, source: str, target: str, message: raft_pb2.RaftMessage, sent_s: float) -> None:
        host = self._hosts.get(target)
        if host is None or not host.life.alive or self.is_cut(source, target):
            self.counts["cut"] += 1
            return
        if self.watcher is not None:
            self.watcher.heard(source, target, sent_s)
        _give(self._loop, host, host.handlers.raft, message)

    def _refuse(self, source: str, target: str) -> None:
        host = self._hosts.get(source)
        cut = self.is_cut(source, target) or self.is_cut(target, source)
        if host is None or not host.life.alive or target in self._hosts or cut:
            return
        self.counts["refused"] += 1
        _give(self._loop, host, host.handlers.refused, target)

    def host(self, address: str) -> _Host:
        """Raises LinkClosed when nobody listens there."""
        host = self._hosts.get(address)
        if host is None or not host.life.alive:
            raise LinkClosed(f"{address} refused the connection")
        return host

    async def passage(self, source: str, target: str, limit_s: float) -> None:
        """Wait for one way's delay, and as long as the way is cut. Raises LinkClosed after `limit_s`."""
        deadline = self._loop.time() + limit_s
        await asyncio.sleep(self.delay_s())
        while self.is_cut(source, target):
            healed: asyncio.Future[None] = self._loop.create_future()
            self._healed.append(healed)
            try:
                await asyncio.wait_for(healed, deadline - self._loop.time())
            except TimeoutError:
                raise LinkClosed(f"{target} does not answer") from None
            await asyncio.sleep(self.delay_s())


class _Pipe:
    """One direction of a session: in order, nothing lost, until it breaks."""

    def __init__(self, network: Network, loop: SimLoop, source: str, target: str) -> None:
        self._network, self._loop = network, loop
        self._source, self._target = source, target
        self._under_way: deque[Message] = deque()
        self._arrived: deque[Message] = deque()
        self._wake: asyncio.Event = asyncio.Event()
        self._room: asyncio.Event = asyncio.Event()
        self._room.set()
        self._carrier: asyncio.Task[None] | None = None
        self.broken = False
        self.other: _Pipe | None = None

    async def put(self, message: Message) -> None:
        await self._room.wait()
        if self.broken:
            raise LinkClosed(self._target)
        if self._network.watcher is not None:
            self._network.watcher.said(self._source, self._target, message)
        copy = type(message)()
        copy.CopyFrom(message)
        self._under_way.append(copy)
        if len(self._under_way) + len(self._arrived) >= _SESSION_WINDOW:
            self._room.clear()
        if self._carrier is None or self._carrier.done():
            self._carrier = self._loop.neutral.copy().run(lambda: self._loop.create_task(self._carry()))

    async def _carry(self) -> None:
        while self._under_way and not self.broken:
            try:
                await self._network.passage(self._source, self._target, self._network.weather.break_after_s)
            except LinkClosed:
                self._network.counts["broken"] += 1
                self.fail()
                return
            if self._network.watcher is not None:
                for message in self._under_way:
                    self._network.watcher.arrived(self._source, self._target, message)
            self._arrived.extend(self._under_way)
            self._under_way.clear()
            self._wake.set()

    async def get(self) -> Any:
        while not self._arrived:
            if self.broken:
                raise LinkClosed(self._source)
            self._wake.clear()
            await self._wake.wait()
        message = self._arrived.popleft()
        self._room.set()
        return message

    def fail_later(self, delay_s: float) -> None:
        self._loop.call_later(delay_s, self.fail, context=self._loop.neutral)

    def fail(self) -> None:
        """Break both directions; what has arrived can still be read."""
        for pipe in (self, self.other):
            if pipe is not None and not pipe.broken:
                pipe.broken = True
                pipe._wake.set()
                pipe._room.set()


class SimStream:
    """One end of a session. Implements node.link.Stream."""

    def __init__(self, peer: str, outgoing: _Pipe, incoming: _Pipe) -> None:
        self.peer = peer
        self._outgoing, self._incoming = outgoing, incoming

    async def send(self, message: Any) -> None:
        await self._outgoing.put(message)

    async def receive(self) -> Any:
        return await self._incoming.get()

    async def close(self) -> None:
        self._outgoing.fail_later(0.0)


class SimLink:
    """Implements node.link.Link for one life of one process."""

    def __init__(self, network: Network, address: str, life: Life) -> None:
        self._network, self._address, self._life = network, address, life

    def send_raft(self, address: str, message: raft_pb2.RaftMessage) -> None:
        if self._life.alive:
            self._network.datagram(self._address, address, message)

    async def open_session(self, address: str) -> SimStream:
        network = self._network
        await network.passage(self._address, address, network.weather.break_after_s)
        host = network.host(address)
        loop = network._loop
        there = _Pipe(network, loop, self._address, address)
        back = _Pipe(network, loop, address, self._address)
        there.other, back.other = back, there
        host.pipes.append(there)
        own = network._hosts.get(self._address)
        if own is not None:
            own.pipes.append(there)
        server_end = SimStream(self._address, back, there)
        host.life.spawn(_serve(host.handlers.session, server_end, there))
        return SimStream(address, there, back)

    async def call(self, address: str, method: str, request: Message, timeout_s: float, caller: Caller) -> Message:
        network = self._network
        limit_s = min(timeout_s, network.weather.break_after_s)
        await network.passage(self._address, address, limit_s)
        host = network.host(address)
        work = host.life.spawn(_settled(host.handlers.call(method, request, caller)))
        # Not wait_for: it would wait for the cancelled work, which never ends in a life that is over.
        await asyncio.wait([work], timeout=timeout_s)
        if not work.done():
            work.cancel()
            raise LinkClosed(f"{address} did not answer in {timeout_s} s")
        reply, error = work.result()
        await network.passage(address, self._address, limit_s)
        if error is not None:
            raise error
        assert reply is not None
        return reply

    async def stream(self, address: str, method: str, request: Message, caller: Caller) -> AsyncIterator[Message]:
        network = self._network
        limit_s = network.weather.break_after_s
        await network.passage(self._address, address, limit_s)
        host = network.host(address)
        source = host.life.call(host.handlers.stream, method, request, caller)
        while True:
            work = host.life.spawn(_settled(anext(source, None)))
            while not work.done():
                await asyncio.wait([work], timeout=1.0)
                if not host.life.alive:
                    raise LinkClosed(address)
            message, error = work.result()
            await network.passage(address, self._address, limit_s)
            if error is not None:
                raise error
            if message is None:
                return
            yield message


def _give(loop: SimLoop, host: _Host, take: Callable[[Any], None], what: object) -> None:
    """At once, or when the process goes on."""
    if host.life.paused:
        loop.call_soon(take, what, context=host.life.context.copy())
    else:
        host.life.call(take, what)


async def _serve(handler: SessionHandler, stream: SimStream, pipe: _Pipe) -> None:
    try:
        await handler(stream)
    except LinkClosed:
        pass
    finally:
        pipe.fail()


async def _settled(work: Awaitable[Message | None]) -> tuple[Message | None, Exception | None]:
    """The result or the error of `work`, as a value."""
    try:
        return await work, None
    except Exception as error:
        return None, error
