"""New voters join real daemons under writes, after many entries with snapshots on; memory and disk on the way.

Run: python -m bench.joining [--entries 200000] [--joins 3]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from bench._table import Goal, Running, head, line, running
from bench._writing import PATIENCE_S, Writer, writing
from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, Node, eventually, held_port
from tui.errors import ClusterError
from tui.link.client import ClusterClient

TASKS = 20_000
"""That have ended, and are part of the state that a new voter is sent."""
BATCH = 1_000
TOGETHER = 64
POINTS = 5
SETTING, VALUES = "max_ended_tasks", ("100000", "100001")
JOIN = Goal(floor=30)
FLAT = Goal(floor=1.25)
NONE = Goal(floor=0)


class Growth:
    """What the first daemons take, at points on the way."""

    def __init__(self, found: Running) -> None:
        self._found = found
        self.memory_mb: list[float] = []
        self.disk_mb: list[float] = []

    def point(self, index: int) -> None:
        nodes = self._found.cluster.nodes.values()
        folders = [node.data / name for node in nodes for name in ("raft", "snapshots")]
        sizes = [file.stat().st_blocks * 512 for folder in folders for file in folder.iterdir() if file.exists()]
        self.memory_mb.append(max(self._found.memory_mb()))
        self.disk_mb.append(sum(sizes) / len(nodes) / 1e6)
        memory, disk = self.memory_mb[-1], self.disk_mb[-1]
        text = f"  entry {index:>9,}: RSS {memory:.0f} MB at most, log and snapshots {disk:.0f} MB"
        print(text, flush=True)


async def filled(client: ClusterClient, entries: int, growth: Growth) -> float:
    """Make so many entries, most of which change nothing but one row; entries per second."""
    request = cluster_pb2.TaskRequest(name="bench", spec=types_pb2.TaskSpec(type=types_pb2.TASK_TYPE_NOOP))
    for _ in range(TASKS // BATCH):
        await client.submit_batch([request] * BATCH)

    async def ended() -> str:
        return "" if (await client.status()).tasks else "yes"

    await eventually(ended, 10 * PATIENCE_S)
    first = (await client.status()).index
    begun, made = time.perf_counter(), 0
    for point in range(1, POINTS + 1):
        goal = (entries - first) * point // POINTS

        async def make(goal: int = goal) -> None:
            nonlocal made
            while made < goal:
                made += 1
                # On a machine that others use one may come too late; it counts for the next.
                with suppress(ClusterError):
                    await client.set_setting(SETTING, VALUES[made % 2])

        await asyncio.gather(*(make() for _ in range(TOGETHER)))
        growth.point((await client.status()).index)
    return made / (time.perf_counter() - begun)


async def joined(cluster: Cluster, client: ClusterClient, name: str) -> tuple[float, float]:
    """Seconds from the start of a daemon with an empty folder until it is known, and from its addition until it
    votes and has what was committed then.
    """
    cluster.ports.append(port := held_port())
    address = f"127.0.0.1:{port.getsockname()[1]}"
    cluster.nodes[name] = Node(name, address, cluster.root / name, join="n1")
    begun = time.perf_counter()
    cluster.start(name)

    async def known() -> str:
        online = {view.node.id for view in (await client.list_nodes()).nodes if view.node.online}
        return "yes" if name in online else ""

    await eventually(known, PATIENCE_S)
    started = time.perf_counter()
    await client.add_voter(name, wait_s=5.0)
    committed = (await client.status()).index

    async def votes() -> str:
        voters = {one.id: one for one in (await client.status()).voters}
        return "yes" if name in voters and voters[name].match_index >= committed else ""

    await eventually(votes, PATIENCE_S)
    return started - begun, time.perf_counter() - started


def gaps(writer: Writer, since: Sequence[float]) -> list[float]:
    """Milliseconds of the longest silence of the writer in each of the joins."""
    return [(end - begin) * 1e3 for begin, end in (writer.silence(moment) for moment in since)]


async def measure(entries: int, joins: int, snapshot_entries: int) -> int:
    """How many acknowledged writes were lost."""
    environment = {"CORTEX_SNAPSHOT_ENTRIES": str(snapshot_entries)}
    async with running(3, environment) as found, found.cluster.client() as client:
        growth = Growth(found)
        rate = await filled(client, entries, growth)
        async with writing(found) as writer:
            begun, before = time.perf_counter(), len(writer.ids)
            names = [f"s{number}" for number in range(1, joins + 1)]
            took_s = [await joined(found.cluster, client, name) for name in names]
            writes = (len(writer.ids) - before) / (time.perf_counter() - begun)
            silence = gaps(writer, [begun])
            lost = len(await writer.lost())
    line("entries made", [rate], "1/s")
    line("most of the last two fifths to most of the first, RSS", [_growth(growth.memory_mb)], "×", FLAT)
    line("the same, log and snapshots", [_growth(growth.disk_mb)], "×")
    line("start of a daemon with an empty folder, until it is known", [start for start, _ in took_s], "s")
    note = f"{writes:.0f} writes/s meanwhile"
    line("from its addition to its vote, under writes", [took for _, took in took_s], "s", JOIN, note)
    line("longest time without an acknowledged write meanwhile", silence, "ms")
    line("acknowledged writes lost", [lost], "count", NONE)
    return lost


def _growth(values: Sequence[float]) -> float:
    return max(values[-2:]) / values[0]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--entries", type=int, default=200_000, help="before the first joins; 1,000,000 for a verdict"
    )
    parser.add_argument("--joins", type=int, default=3)
    parser.add_argument("--snapshot-entries", type=int, default=100_000, help="less for a short version")
    options = parser.parse_args(arguments)
    head(f"{options.joins} daemons join three voters one after the other behind {options.entries:,} entries")
    return min(asyncio.run(measure(options.entries, options.joins, options.snapshot_entries)), 1)


if __name__ == "__main__":
    sys.exit(main())
