"""Commits per second of the etcd engine, beside plain puts by the same client; how long a lost leader is missed.

`python -m bench.etcd [SECONDS [FOLDER]]`; needs Debian's etcd-server and the package aetcd.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import structlog

from bench._measure import Way, measure
from cortex.v1 import raft_pb2
from node.consensus.etcd.client import EtcdClient
from node.consensus.etcd.engine import EtcdEngine
from node.consensus.etcd.settings import EtcdSettings
from node.consensus.etcd.store import Put
from node.consensus.port import Role
from node.env import Env, RealClock, RealDisk, ThreadOffload
from tests import etcd_server
from tests.etcd_server import EtcdServers

VALUE = bytes(256)
IN_FLIGHT = (1, 10, 100, 1000)
NAMES = ("n1", "n2", "n3")
KILLS = 5


class Host:
    """A daemon that applies nothing, but takes its entries."""

    def __init__(self) -> None:
        self.engine: Any = None
        self.seen = 0

    def stamp(self, proposal: bytes) -> bytes:
        return proposal

    def noop(self) -> bytes:
        return b""

    def committed(self) -> None:
        while entries := self.engine.entries(self.seen, 1000):
            self.seen = entries[-1].index

    def applied(self) -> tuple[int, int, bytes]:
        return self.seen, 0, b""

    def agreed_digest(self) -> tuple[int, bytes]:
        return 0, b""

    async def copy_state(self) -> Any:
        raise OSError("there is no state")

    def role_changed(self) -> None: ...

    def observe_clock(self, peer: str, wall_us: int) -> None: ...

    def recovery_epoch(self) -> int:
        return 0

    def peer_digest(self, peer: str, index: int, digest: bytes) -> None: ...

    def check_digest(self, index: int, digest: bytes) -> None: ...

    def installed(self) -> None: ...

    def fatal(self, error: Exception) -> None:
        raise error


class Cluster:
    """Three members in this process, on an etcd of its own."""

    def __init__(self, servers: EtcdServers, folder: Path) -> None:
        self._servers, self._folder = servers, folder
        self.engines: dict[str, EtcdEngine] = {}

    async def start(self, name: str) -> EtcdEngine:
        settings, host = EtcdSettings(), Host()
        env = Env(RealClock(), random.Random(), self._folder, lambda of: RealDisk(self._folder / of), ThreadOffload)
        client = EtcdClient(self._servers.endpoints, None, settings.call_timeout_s)
        addresses = {other: other for other in NAMES}
        engine = EtcdEngine(env, host, name, addresses, "bench", self._send, client, settings=settings)
        host.engine = self.engines[name] = engine
        await engine.start()
        return engine

    def _send(self, address: str, message: raft_pb2.RaftMessage) -> None:
        if address in self.engines:
            asyncio.get_running_loop().call_soon(self.engines[address].receive, message)

    async def leader(self) -> EtcdEngine:
        while True:
            for engine in self.engines.values():
                if engine.role is Role.LEADER and engine.commit_index:
                    return engine
            await asyncio.sleep(0.005)

    async def missed_s(self) -> float:
        """From a leader's end without a word to the first commit of another one."""
        leader = await self.leader()
        name = next(name for name, engine in self.engines.items() if engine is leader)
        del self.engines[name]
        begun = time.perf_counter()

        async def silence(*_: object, **__: object) -> Any:
            await asyncio.sleep(3600)

        # It neither prolongs its lease nor gives it back.
        leader._etcd.keep_alive = leader._etcd.revoke = leader._etcd.transact = silence  # type: ignore[method-assign]
        while True:
            found = await self.leader()
            try:
                await found.propose(VALUE)
                break
            except Exception:
                await asyncio.sleep(0.005)
        took = time.perf_counter() - begun
        leader._etcd.revoke = _nothing  # type: ignore[method-assign]
        await leader.stop()
        await self.start(name)
        return took


async def _nothing(*_: object) -> None: ...


async def bench(folder: Path, seconds: float) -> None:
    servers = EtcdServers(folder / "etcd", 3)
    try:
        servers.start()
        cluster = Cluster(servers, folder)
        for name in NAMES:
            await cluster.start(name)
        leader = await cluster.leader()
        follower = next(engine for engine in cluster.engines.values() if engine is not leader)
        plain = EtcdClient(servers.endpoints, None, 10.0)
        ways: tuple[tuple[str, Callable[[], Awaitable[object]]], ...] = (
            ("the etcd engine, at the leader", lambda: leader.propose(VALUE)),
            ("the etcd engine, at a follower", lambda: follower.propose(VALUE)),
            ("plain puts, the same client", lambda: plain.transact([], [Put(b"bench", VALUE)])),
        )
        print(f"{len(VALUE)}-byte values, {seconds:g} s each, three members of etcd on {folder}")
        print(f"{'way':38}{'in flight':>10}{'commits/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}")
        for in_flight in IN_FLIGHT:
            for name, commit in ways:
                found = await measure(Way(commit), in_flight, seconds)
                print(f"{name:38}{in_flight:>10}{found.columns()}", flush=True)
        missed = sorted([await cluster.missed_s() for _ in range(KILLS)])
        lease_s = EtcdSettings().lease_s
        print(f"a leader ends without a word, lease {lease_s} s: the next commit after")
        print(f"  {missed[0]:.2f} / {missed[KILLS // 2]:.2f} / {missed[-1]:.2f} s (least, median, most of {KILLS})")
        await plain.close()
        for engine in cluster.engines.values():
            await engine.stop()
    finally:
        servers.close()


def main(arguments: list[str]) -> int:
    if not etcd_server.installed():
        print(etcd_server.MISSING, file=sys.stderr)
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    seconds = float(arguments[0]) if arguments else 2.0
    folder = Path(arguments[1]) if len(arguments) > 1 else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(dir=folder) as data:
        asyncio.run(bench(Path(data), seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
