"""A million entries with snapshots on: memory, disk, a restart, a new voter under load. Real disks, loopback.

Run: python -m bench.loglife [entries] [folder]
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import structlog

from bench._hosts import NoDaemon
from bench._table import Goal, head, line
from bench._voter import Loopback
from bench.consensus import VALUE
from cortex.v1 import raft_pb2
from node.consensus.membership import Change, ChangeKind, ChangeRefused
from node.consensus.port import ChangeInProgress, Role, StateCopy
from node.consensus.raftos.engine import RaftosEngine
from node.consensus.raftos.snapshots import Snapshots
from node.env import Env, RealDisk

_KEYS = 100_000
_IN_FLIGHT = 100
JOINERS = ("n4", "n5", "n6")
RUNS = len(JOINERS)
FLAT = Goal(floor=1.25)
RESTART = Goal(floor=5)
JOIN = Goal(floor=30)


class Table(NoDaemon):
    """A host whose state is the last value of each of so many keys."""

    def __init__(self, folder: Path) -> None:
        self.rows: list[bytes] = [b"\0" * len(VALUE)] * _KEYS
        self.index = self.term = 0
        self.engine: RaftosEngine | None = None
        self.begin_anew = asyncio.Event()
        snapshots = Snapshots(RealDisk(folder / "snapshots"), "bench")
        meta = snapshots.latest()
        if meta is not None:
            data = snapshots.read(meta, 0, meta.size_bytes)
            self.rows = [data[at : at + len(VALUE)] for at in range(0, len(data), len(VALUE))]
            self.index, self.term = meta.index, meta.term

    def committed(self) -> None:
        assert self.engine is not None
        for entry in self.engine.entries(self.index, 1 << 30):
            self.index, self.term = entry.index, entry.term
            if len(entry.data) == len(VALUE):
                self.rows[entry.index % _KEYS] = entry.data

    def applied(self) -> tuple[int, int, bytes]:
        return self.index, 0, b""

    async def copy_state(self) -> StateCopy:
        return _Copy(self)

    def installed(self) -> None:
        self.begin_anew.set()


class _Copy:
    level = 1
    recovery_epoch = 0
    at_us = 0

    def __init__(self, table: Table) -> None:
        self.index, self.term, self._rows = table.index, table.term, list(table.rows)

    def chunks(self) -> Iterator[bytes]:
        for at in range(0, _KEYS, 4096):
            yield b"".join(self._rows[at : at + 4096])

    def close(self) -> None:
        self._rows = []


class Cluster:
    """Voters in one process, each on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loopback = Loopback()
        self._renewals: list[asyncio.Task[None]] = []
        self.addresses: dict[str, str] = {}
        self.engines: dict[str, RaftosEngine] = {}
        self.installs = 0

    async def listen(self, *names: str) -> None:
        for name in names:
            self.addresses[name] = await self._loopback.listen(partial(self._receive, name))
            for other in self.addresses:
                if other != name:
                    await self._loopback.connect(self.addresses[name], self.addresses[other])
                    await self._loopback.connect(self.addresses[other], self.addresses[name])

    def _receive(self, name: str, message: raft_pb2.RaftMessage) -> None:
        if name in self.engines:
            self.engines[name].receive(message)

    async def start(self, name: str, voters: dict[str, str]) -> None:
        folder, address = self._folder / name, self.addresses[name]
        host = Table(folder)
        send = partial(self._loopback.send, address)
        engine = RaftosEngine(Env.real(folder), host, name, voters, "bench", send, address=address)
        host.engine = engine
        await engine.start()
        self.engines[name] = engine
        self._renewals.append(asyncio.create_task(self._renew(name, host)))

    async def _renew(self, name: str, host: Table) -> None:
        await host.begin_anew.wait()
        self.installs += 1
        await self.engines.pop(name).stop()
        await self.start(name, {})

    async def leader(self) -> RaftosEngine:
        """Once there is one that has committed something."""
        while True:
            for engine in self.engines.values():
                if engine.role is Role.LEADER and engine.commit_index:
                    return engine
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for task in self._renewals:
            task.cancel()
        for engine in self.engines.values():
            await engine.stop()
        self.engines.clear()

    def close(self) -> None:
        self._loopback.close()

    def disk_bytes(self) -> int:
        """Of the voter that has most."""
        return max(
            sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
            for folder in self._folder.iterdir()
        )


async def write(engine: RaftosEngine, count: int) -> None:
    left = count

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await engine.propose(VALUE)

    await asyncio.gather(*(client() for _ in range(_IN_FLIGHT)))


async def change(engine: RaftosEngine, kind: ChangeKind, name: str, address: str) -> None:
    while True:
        try:
            await engine.change_membership(Change(kind, name, address), b"change")
            return
        except ChangeInProgress:
            await asyncio.sleep(0.02)
        except ChangeRefused as error:
            if "caught up" not in str(error):
                raise
            await asyncio.sleep(0.02)


async def bench(folder: Path, entries: int) -> None:
    cluster = Cluster(folder)
    names = ["n1", "n2", "n3"]
    await cluster.listen(*names, *JOINERS)
    voters = {name: cluster.addresses[name] for name in names}
    for name in names:
        await cluster.start(name, voters)
    rss, disk = await curve(cluster, entries)
    head(
        "Three voters in one process, 256-byte values; the most of the last half of entries and of the first fifth"
    )
    for name, found, unit in (("RSS", rss, "MiB"), ("disk of one voter", disk, "MiB")):
        line(f"{name}, at the end", found[-1:], unit)
        early, late = max(found[: len(found) // 5]), max(found[len(found) // 2 :])
        line(f"{name}, last half / first fifth", [late / early], "times", FLAT)
    line("restart of all three to the first commit", await restarts(cluster, voters), "s", RESTART)
    took = await joins(cluster, entries)
    line("a new voter under load", took, "s", JOIN, f"{cluster.installs} snapshots installed")
    await cluster.stop()
    cluster.close()


async def curve(cluster: Cluster, entries: int) -> tuple[list[float], list[float]]:
    """Write so many; RSS and disk as they went, MiB."""
    rss: list[float] = []
    disk: list[float] = []
    print(f"{'entries':>10}{'commits/s':>11}{'RSS MiB':>9}{'disk MiB':>10}{'in memory':>11}{'snapshot':>10}")
    step = max(entries // 20, 1)
    for done in range(step, entries + 1, step):
        begun = time.perf_counter()
        leader = await cluster.leader()
        await write(leader, step)
        rate = step / (time.perf_counter() - begun)
        held = max(len(engine._log.entries) for engine in cluster.engines.values())
        rss.append(rss_mib())
        disk.append(cluster.disk_bytes() / 2**20)
        print(
            f"{done:>10,}{rate:>11,.0f}{rss[-1]:>9.0f}{disk[-1]:>10.0f}{held:>11,}{leader.snapshot_index:>10,}",
            flush=True,
        )
    return rss, disk


async def restarts(cluster: Cluster, voters: dict[str, str]) -> list[float]:
    """Seconds from the start of all three, one after the other, to the first commit."""
    took: list[float] = []
    for _ in range(RUNS):
        await cluster.stop()
        begun = time.perf_counter()
        for name in voters:
            await cluster.start(name, voters)
        leader = await cluster.leader()
        await leader.propose(VALUE)
        took.append(time.perf_counter() - begun)
    return took


async def joins(cluster: Cluster, entries: int) -> list[float]:
    """Seconds until one with an empty disk votes, while others write; it goes again before the next one comes."""
    took: list[float] = []
    leader = await cluster.leader()
    writing = asyncio.create_task(write(leader, entries * RUNS))
    for name in JOINERS:
        begun = time.perf_counter()
        await cluster.start(name, {})
        await change(leader, ChangeKind.ADD_LEARNER, name, cluster.addresses[name])
        await change(leader, ChangeKind.PROMOTE, name, cluster.addresses[name])
        took.append(time.perf_counter() - begun)
        await change(leader, ChangeKind.REMOVE, name, "")
        await cluster.engines.pop(name).stop()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    return took


def rss_mib() -> float:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def main(arguments: list[str]) -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    entries = int(arguments[0]) if arguments else 1_000_000
    folder = Path(arguments[1]) if len(arguments) > 1 else None
    with tempfile.TemporaryDirectory(dir=folder) as data:
        asyncio.run(bench(Path(data), entries))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
