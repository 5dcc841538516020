"""Commits per second and latency of the embedded engine: 1 and 3 voters in one process, real disks, loopback.

Each value is applied into SQLite on every voter, as a daemon applies and saves: its proposer is answered when it is
applied, and the rate is of all the time until it is saved.

Run: python -m bench.consensus [seconds] [folder] [--no-apply]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from bench._hosts import NoDaemon, SqliteHost
from bench._measure import Way, measure
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

    def __init__(self, folder: Path, size: int, *, apply: bool) -> None:
        self.names = [f"n{number}" for number in range(1, size + 1)]
        self.engines: dict[str, RaftosEngine] = {}
        self.hosts: dict[str, NoDaemon] = {}
        self._apply = apply
        self._folder = folder
        self._loopback = Loopback()

    async def start(self) -> str:
        """Name of the leader, once there is one."""
        addresses: dict[str, str] = {}
        for name in self.names:
            addresses[name] = await self._loopback.listen(partial(self._receive, name))
        for name in self.names:
            for other in self.names:
                if other != name:
                    await self._loopback.connect(addresses[name], addresses[other])
            (self._folder / name).mkdir(parents=True)
            env = Env.real(self._folder / name)
            host = self.hosts[name] = SqliteHost(env) if self._apply else NoDaemon()
            self.engines[name] = RaftosEngine(
                env,
                host,
                name,
                addresses,
                "bench",
                partial(self._loopback.send, addresses[name]),
            )
            host.attach(self.engines[name])
            host.start()
        for engine in self.engines.values():
            await engine.start()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for name, engine in self.engines.items():
                if engine.role is Role.LEADER and engine.commit_index:
                    return name
            await asyncio.sleep(0.01)
        raise TimeoutError("no leader in 10 s")

    def _receive(self, name: str, message: raft_pb2.RaftMessage) -> None:
        if name in self.engines:
            self.engines[name].receive(message)

    async def stop(self) -> None:
        for name, engine in self.engines.items():
            await engine.stop()
            await self.hosts[name].stop()
        self._loopback.close()

    def way(self, name: str) -> Way:
        """Values proposed at this voter, each committed, and applied there; settled is what all have saved."""
        engine, host = self.engines[name], self.hosts[name]

        async def commit() -> None:
            await host.applied_through(await engine.propose(VALUE))

        async def settle() -> None:
            for other in self.hosts.values():
                await other.saved_through(engine.commit_index)

        return Way(commit, settle)


async def bench(folder: Path, seconds: float, *, apply: bool) -> None:
    what = "applied into SQLite" if apply else "applied to nothing"
    print(f"{len(VALUE)}-byte values, {what}, {seconds:g} s each, journals in {folder}")
    print(f"{'engine':38}{'in flight':>10}{'commits/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}")
    for size, at_leader in ((1, True), (3, True), (3, False)):
        with tempfile.TemporaryDirectory(dir=folder) as data:
            cluster = Cluster(Path(data), size, apply=apply)
            name = leader = await cluster.start()
            if not at_leader:
                name = next(other for other in cluster.names if other != leader)
                await asyncio.sleep(0.5)
            way = cluster.way(name)
            await measure(way, 10, 0.5)
            for in_flight in IN_FLIGHT:
                found = await measure(way, in_flight, seconds)
                what = f"{size} voter{'s' * (size > 1)}, proposed at {'the leader' if at_leader else 'a follower'}"
                print(f"{what:38}{in_flight:>10}{found.columns()}", flush=True)
            await cluster.stop()
    print("\nfor comparison, three voters, commits/s at 1 / 10 / 100 / 1000 in flight:")
    for peer, *figures in PEERS:
        print(f"  {peer:26}" + " / ".join(figures))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=2.0)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(tempfile.gettempdir()))
    parser.add_argument("--no-apply", action="store_true", help="the engine alone: nothing goes into SQLite")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    asyncio.run(bench(options.folder, options.seconds, apply=not options.no_apply))
    return 0


if __name__ == "__main__":
    sys.exit(main())
