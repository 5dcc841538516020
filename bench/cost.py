"""Where the time of a task goes: CPU and messages per task by process, and the moments of one task alone.

Run: python -m bench.cost [--voters 1 3] [--count 2000] [--runs 3] [--rounds 60]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench import _meter
from bench.tasks import Watch, request, throughput
from cortex.v1 import types_pb2
from tests.e2e.harness import Cluster
from tui.link.client import ClusterClient

_KINDS = ((types_pb2.TASK_TYPE_SHELL, "/bin/true"), (types_pb2.TASK_TYPE_NOOP, "no-op"))


async def cpu(cluster: Cluster, client: ClusterClient, leader: str, count: int, runs: int, counts: bool) -> None:
    """Print what a task costs, by process; with `counts` what it takes, too."""
    pids = _meter.processes(cluster)
    for kind, name in _KINDS:
        if counts:
            _meter.counted(cluster)
        before = _meter.costs(pids)
        rates = [(await throughput(client, count, kind))[1] for _ in range(runs)]
        # What is saved and forgotten behind the last end belongs to the tasks, too.
        await asyncio.sleep(1)
        tasks = count * runs
        found = {process: after - before[process] for process, after in _meter.costs(pids).items()}
        total = Counter[str]()
        for process, spent in found.items():
            group = "leader's daemon" if process.split()[0] == leader else "followers' daemons"
            if process.endswith("supervisor"):
                group = "supervisors"
                total["children"] += int(spent.children_s * 1e6)
            total[group] += int(spent.cpu_s * 1e6)
            total["switches"] += spent.switches
        switches = total.pop("switches")
        parts = "  ".join(f"{group} {us / tasks:.0f}" for group, us in sorted(total.items()))
        print(
            f"{cluster.voters} voter(s) {name:9} {statistics.median(rates):7.0f} tasks/s | µs of CPU a task: "
            f"{sum(total.values()) / tasks:.0f} = {parts} | {switches / tasks:.2f} switches",
            flush=True,
        )
        if counts:
            _print_counts(cluster, leader, tasks)


def _print_counts(cluster: Cluster, leader: str, tasks: int) -> None:
    found = _meter.counted(cluster)
    for node, told in found.items():
        role = "leader" if node == leader else "follower"
        parts = ", ".join(f"{name} {count / tasks:.3f}" for name, count in sorted(told["counts"].items()))
        print(f"    {node} ({role}), per task: {parts}")


async def moments(cluster: Cluster, client: ClusterClient, rounds: int) -> None:
    """Print when each step of one task alone happens, in ms from the call of Submit, medians."""
    found: dict[str, list[float]] = {}
    totals: list[float] = []
    async with Watch(client) as watch:
        for _ in range(rounds):
            await asyncio.sleep(0.05)
            _meter.counted(cluster)
            begun = time.monotonic_ns()
            reply = await client.submit(request(types_pb2.TASK_TYPE_SHELL))
            replied = time.monotonic_ns()
            await watch.ended(reply.id)
            seen = time.monotonic_ns()
            totals.append((seen - begun) / 1e6)
            steps = [
                (begun, "client", "Submit called"),
                (replied, "client", "Submit answered"),
                (seen, "client", "end seen"),
            ]
            for node, told in _meter.counted(cluster).items():
                steps += [(at, node, name) for at, name in told["moments"] if begun <= at <= seen]
            repeats = Counter[str]()
            for at, node, name in sorted(steps):
                if name == "turns of the loop":
                    continue
                key = f"{node} {name}"
                repeats[key] += 1
                found.setdefault(f"{key} #{repeats[key]}", []).append((at - begun) / 1e6)
    order = {key: statistics.median(times) for key, times in found.items() if len(times) > rounds // 2}
    print(f"one task alone, {rounds} times: p50 {statistics.median(totals):.2f} ms; medians of its moments, ms:")
    for key, moment in sorted(order.items(), key=lambda item: item[1]):
        print(f"    {moment:7.2f}  {key}  ({len(found[key])}×)")


async def measure(voters: int, options: argparse.Namespace) -> None:
    module = "bench._counted" if options.counts else "node.cli"
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), voters, module=module)
        cluster.start()
        try:
            async with cluster.client() as probe:
                leader = await cluster.leader(probe)
            async with cluster.client(leader) as client:
                await throughput(client, 500, types_pb2.TASK_TYPE_SHELL)
                await cpu(cluster, client, leader, options.count, options.runs, options.counts)
                if options.counts:
                    await moments(cluster, client, options.rounds)
        finally:
            cluster.close()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--voters", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--counts", action="store_true", help="count messages and trace; costs some CPU itself")
    options = parser.parse_args(arguments)
    print(_meter.load_text())
    for voters in options.voters:
        asyncio.run(measure(voters, options))


if __name__ == "__main__":
    main()
