"""The embedded engine beside etcd in one run, three voters each, in turns: commits per second of 256-byte values.

Run: python -m bench.beside [--seconds 2] [--runs 3] [--folder DIR]; needs Debian's etcd-server and aetcd.

Each value is applied into SQLite on every voter, as a daemon applies and saves: its proposer is answered when it is
applied, and the rate is of all the time until it is saved. Beside it the log alone, of which nothing is applied.
Each voter has a process of its own, as each member of etcd has; who proposes is in that of one voter, and so is the
client of etcd. What is proposed at a follower goes to the leader over one stream.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import structlog

from bench._measure import Way, measure
from bench._table import Goal, head, line
from bench._voter import collect_less
from bench.consensus import VALUE, Cluster
from node.consensus.etcd.client import EtcdClient
from node.consensus.etcd.store import Put
from tests import etcd_server
from tests.etcd_server import EtcdServers

IN_FLIGHT = (1, 10, 100, 1000)
AHEAD = Goal(floor=1.0, least=True)
_TIMEOUT_S = 10.0


async def bench(folder: Path, seconds: float, runs: int) -> None:
    servers = EtcdServers(folder / "etcd", 3)
    cluster = Cluster(folder / "embedded", 3, apply=True)
    log = Cluster(folder / "log", 3, apply=False)
    client = None
    try:
        servers.start()
        await cluster.start()
        await log.start()
        plain = client = EtcdClient(servers.endpoints, None, _TIMEOUT_S)
        put = Put(b"bench", VALUE)
        ways = {
            "embedded, at the leader": cluster.way(at_leader=True),
            "embedded, at a follower": cluster.way(at_leader=False),
            "embedded, the log alone": log.way(at_leader=True),
            "etcd, puts": Way(lambda: plain.transact([], [put])),
        }
        head("Commits per second, three voters, 256-byte values, fsync everywhere, all on this machine, in turns")
        for in_flight in IN_FLIGHT:
            await compare(ways, in_flight, seconds, runs)
    finally:
        if client is not None:
            await client.close()
        await cluster.stop()
        await log.stop()
        servers.close()


async def compare(ways: Mapping[str, Way], in_flight: int, seconds: float, runs: int) -> None:
    """The last way is the one that the others are held against."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    cpu_us: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            found = await measure(way, in_flight, seconds)
            rates[name].append(found.rate)
            cpu_us[name].append(found.cpu_us)
    *ours, peer = ways
    for name in ways:
        note = f"{statistics.median(cpu_us[name]):.0f} µs of CPU each, here"
        line(f"{in_flight} in flight: {name}", rates[name], "/s", note=note)
    for name in ours:
        ratios = [own / other for own, other in zip(rates[name], rates[peer], strict=True)]
        line(f"{in_flight} in flight: {name} / etcd", ratios, "times", AHEAD if in_flight >= 10 else Goal())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    options = parser.parse_args(arguments)
    if not etcd_server.installed():
        print(etcd_server.MISSING, file=sys.stderr)
        return 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    collect_less()
    with tempfile.TemporaryDirectory(dir=options.folder) as data:
        asyncio.run(bench(Path(data), options.seconds, options.runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
