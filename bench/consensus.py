"""Commits per second and latency of the embedded engine: 1 and 3 voters in one process, real disks, loopback.

Run: python -m bench.consensus [seconds] [folder]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cortex.v1 import raft_pb2
from node.consensus.port import Role
from node.consensus.raftos.engine import RaftosEngine
from node.env import Env

Receive = Callable[[raft_pb2.RaftMessage], None]
VALUE = bytes(range(256))
IN_FLIGHT = (1, 10, 100, 1000)
PEERS = (
    ("goal", "≥ 750", "≥ 6,000", "≥ 30,000", "≥ 70,000"),
    ("etcd 3.4, Python client", "903", "3,311", "9,104", "10,813"),
    ("etcd 3.4, C client", "1,378", "4,808", "14,199", "26,593"),
    ("raftos as published", "~600 for 100 writes, then 6", "hangs", "hangs", "hangs"),
)
"""Measured elsewhere (3 nodes, 2 cores, 256-byte values, fsync 0.3 ms): only ratios of one run carry over."""


class NoDaemon:
    """A host that applies nothing."""

    def stamp(self, proposal: bytes) -> bytes:
        return proposal

    def noop(self) -> bytes:
        return b""

    def committed(self) -> None:
        pass

    def role_changed(self) -> None:
        pass

    def observe_clock(self, peer: str, wall_us: int) -> None:
        pass

    def applied(self) -> tuple[int, int, bytes]:
        return 0, 0, b""

    def recovery_epoch(self) -> int:
        return 0

    def peer_digest(self, peer: str, index: int, digest: bytes) -> None:
        pass

    def agreed_digest(self) -> tuple[int, bytes]:
        return 0, b""

    def check_digest(self, index: int, digest: bytes) -> None:
        pass

    def fatal(self, error: Exception) -> None:
        raise error


class Receiver(asyncio.Protocol):
    """Takes messages from a socket, each behind its length."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        buffer, position = self._buffer, 0
        buffer += data
        while len(buffer) >= position + 4:
            end = position + 4 + int.from_bytes(buffer[position : position + 4], "big")
            if len(buffer) < end:
                break
            self._receive(raft_pb2.RaftMessage.FromString(bytes(buffer[position + 4 : end])))
            position = end
        del buffer[:position]


class Loopback:
    """One TCP connection per pair and direction, as between processes."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._links: dict[tuple[str, str], asyncio.WriteTransport] = {}

    async def listen(self, receive: Receive) -> str:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(partial(Receiver, receive), "127.0.0.1", 0)
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def connect(self, source: str, target: str) -> None:
        host, _, port = target.rpartition(":")
        loop = asyncio.get_running_loop()
        self._links[source, target], _ = await loop.create_connection(asyncio.Protocol, host, int(port))

    def send(self, source: str, target: str, message: raft_pb2.RaftMessage) -> None:
        raw = message.SerializeToString()
        self._links[source, target].write(len(raw).to_bytes(4, "big") + raw)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        for server in self._servers:
            server.close()


class Cluster:
    """Voters on folders of their own."""

    def __init__(self, folder: Path, size: int) -> None:
        self.names = [f"n{number}" for number in range(1, size + 1)]
        self.engines: dict[str, RaftosEngine] = {}
        self._folder = folder
        self._loopback = Loopback()

    async def start(self) -> RaftosEngine:
        """The leader, once there is one."""
        addresses: dict[str, str] = {}
        for name in self.names:
            addresses[name] = await self._loopback.listen(partial(self._receive, name))
        for name in self.names:
            for other in self.names:
                if other != name:
                    await self._loopback.connect(addresses[name], addresses[other])
            self.engines[name] = RaftosEngine(
                Env.real(self._folder / name),
                NoDaemon(),
                name,
                addresses,
                "bench",
                partial(self._loopback.send, addresses[name]),
            )
        for engine in self.engines.values():
            await engine.start()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for engine in self.engines.values():
                if engine.role is Role.LEADER and engine.commit_index:
                    return engine
            await asyncio.sleep(0.01)
        raise TimeoutError("no leader in 10 s")

    def _receive(self, name: str, message: raft_pb2.RaftMessage) -> None:
        if name in self.engines:
            self.engines[name].receive(message)

    async def stop(self) -> None:
        for engine in self.engines.values():
            await engine.stop()
        self._loopback.close()


async def measure(engine: RaftosEngine, in_flight: int, seconds: float) -> tuple[float, float, float]:
    """Commits per second, and p50 and p99 of one commit in milliseconds."""
    latencies: list[float] = []
    begun = time.perf_counter()
    end = begun + seconds

    async def client() -> None:
        while (before := time.perf_counter()) < end:
            await engine.propose(VALUE)
            latencies.append(time.perf_counter() - before)

    await asyncio.gather(*(client() for _ in range(in_flight)))
    took = time.perf_counter() - begun
    latencies.sort()
    return len(latencies) / took, latencies[len(latencies) // 2] * 1e3, latencies[len(latencies) * 99 // 100] * 1e3


async def bench(folder: Path, seconds: float) -> None:
    print(f"{len(VALUE)}-byte values, {seconds:g} s each, journals in {folder}")
    print(f"{'engine':38}{'in flight':>10}{'commits/s':>12}{'p50 ms':>9}{'p99 ms':>9}")
    for size, proposer in ((1, "the leader"), (3, "the leader"), (3, "a follower")):
        with tempfile.TemporaryDirectory(dir=folder) as data:
            cluster = Cluster(Path(data), size)
            leader = await cluster.start()
            engine = leader
            if proposer == "a follower":
                engine = next(other for other in cluster.engines.values() if other is not leader)
                await asyncio.sleep(0.5)
            await measure(engine, 10, 0.5)
            for in_flight in IN_FLIGHT:
                rate, p50, p99 = await measure(engine, in_flight, seconds)
                name = f"{size} voter{'s' * (size > 1)}, proposed at {proposer}"
                print(f"{name:38}{in_flight:>10}{rate:>12,.0f}{p50:>9.2f}{p99:>9.2f}", flush=True)
            await cluster.stop()
    print("\nfor comparison, three voters, commits/s at 1 / 10 / 100 / 1000 in flight:")
    for name, *figures in PEERS:
        print(f"  {name:26}" + " / ".join(figures))


def main(arguments: list[str]) -> int:
    seconds = float(arguments[0]) if arguments else 2.0
    folder = Path(arguments[1]) if len(arguments) > 1 else Path(tempfile.gettempdir())
    asyncio.run(bench(folder, seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
