"""The etcd engine on a real etcd and real time. What passes between a member and etcd goes through a tap."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from cortex.v1 import raft_pb2
from node.consensus.etcd.engine import EtcdEngine
from node.consensus.etcd.settings import EtcdSettings
from node.env import Env, ThreadOffload
from tests.consensus.conformance.kit import Check, Cluster, Member, Rig, checked
from tests.consensus.etcd_kit import JumpingClock, Tampered
from tests.etcd_server import EtcdServers
from tests.sim.disk import SimDisk

T = TypeVar("T")
_PREFIXES = itertools.count(1)


class Tap:
    """A port in front of one of etcd's. Cut, it passes nothing on and refuses nobody: what is sent waits."""

    def __init__(self, endpoint: str) -> None:
        self._host, _, port = endpoint.partition(":")
        self._port = int(port)
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.endpoint = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        self._open.set()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A server complains of handlers that end cancelled.
        with suppress(OSError, asyncio.CancelledError):
            there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
            pumps = [
                asyncio.ensure_future(self._pump(reader, there_writer)),
                asyncio.ensure_future(self._pump(there_reader, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                there_writer.close()
                writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._open.wait()
                writer.write(data)
                await writer.drain()


class EtcdCluster(Cluster):
    def __init__(self, size: int, servers: EtcdServers, settings: EtcdSettings) -> None:
        super().__init__(size)
        self.servers = servers
        self._settings = settings
        self.prefix = f"/test{next(_PREFIXES)}/"
        self.taps: dict[str, list[Tap]] = {}
        self.clocks: dict[str, JumpingClock] = {}
        self.clients: dict[str, Tampered] = {}
        self._disks: dict[str, SimDisk] = {}
        self._cut: set[str] = set()
        self._left: list[asyncio.Task[None]] = []

    async def boot(self, member: Member) -> None:
        taps = self.taps[member.id] = [Tap(endpoint) for endpoint in self.servers.endpoints]
        for tap in taps:
            await tap.start()
            if member.id in self._cut:
                tap.cut()
        self.clocks[member.id] = clock = JumpingClock()
        disks, offload = self._disks.setdefault(member.id, SimDisk(random.Random(1))), ThreadOffload
        env = Env(clock, random.Random(), Path("/nowhere"), lambda _name: disks, offload)

        def send(address: str, message: raft_pb2.RaftMessage) -> None:
            to = next(other for other in self.members if other.address == address)
            if not {member.id, to.id} & self._cut:
                asyncio.get_running_loop().call_soon(lambda: to.up and to.engine.receive(message))

        self.clients[member.id] = client = Tampered([tap.endpoint for tap in taps], self._settings.call_timeout_s)
        engine = EtcdEngine(
            env, member, member.id, self.addresses, "conformance", send, client, self.prefix, self._settings
        )
        member.begin(engine)
        await engine.start()

    def disk(self, member: Member) -> SimDisk:
        """Its folder of snapshots."""
        return self._disks[member.id]

    async def kill(self, member: Member) -> None:
        engine, member.engine = member.engine, None
        taps = self.taps[member.id]
        for tap in taps:
            await tap.close()
        await engine.stop()

    def isolate(self, member: Member) -> None:
        self._cut.add(member.id)
        for tap in self.taps[member.id]:
            tap.cut()

    def heal(self) -> None:
        self._cut.clear()
        for tap in itertools.chain.from_iterable(self.taps.values()):
            tap.heal()

    def start(self, member: Member, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        return asyncio.get_running_loop().create_task(work)

    async def close(self) -> None:
        for member in self.up:
            await self.kill(member)


class EtcdRig(Rig):
    name = "etcd"
    limit_bytes = EtcdSettings().max_proposal_bytes

    def __init__(self, servers: EtcdServers) -> None:
        self.servers = servers

    def run(self, check: Check, size: int = 3) -> None:
        run_on_etcd(self.servers, check, size)


def run_on_etcd(
    servers: EtcdServers, check: Callable[[EtcdCluster], Awaitable[None]], size: int = 3, **settings: Any
) -> None:
    """As Rig.run(), with these settings of the engine."""

    async def main() -> None:
        cluster = EtcdCluster(size, servers, EtcdSettings(**{"lease_s": 5, **settings}))
        await checked(cluster, lambda _cluster: check(cluster))

    asyncio.run(main())
