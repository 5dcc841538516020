"""Whole path: tasks per second and latency of one task, through real daemons over gRPC."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster
from tui.client import ClusterClient

ENDED = (
    types_pb2.TASK_STATE_COMPLETED,
    types_pb2.TASK_STATE_DEAD_LETTER,
    types_pb2.TASK_STATE_FAILED,
)


def request(kind: types_pb2.TaskType.ValueType) -> cluster_pb2.TaskRequest:
    argv = [b"/bin/true"] if kind == types_pb2.TASK_TYPE_SHELL else []
    return cluster_pb2.TaskRequest(name="bench", spec=types_pb2.TaskSpec(type=kind, argv=argv))


async def throughput(client: ClusterClient, count: int, kind: types_pb2.TaskType.ValueType) -> tuple[float, float]:
    """Seconds until the batch is acknowledged, and tasks per second until its last end is visible on a watch."""
    watching = asyncio.Event()
    done = asyncio.Event()
    ended: set[str] = set()

    async def watch() -> None:
        async for reply in client.watch(0):
            if reply.snapshot_end:
                watching.set()
            for change in reply.changes:
                if watching.is_set() and change.HasField("task") and change.task.state in ENDED:
                    ended.add(change.task.id)
            if len(ended) >= count:
                done.set()
                return

    watcher = asyncio.create_task(watch())
    await watching.wait()
    begun = time.perf_counter()
    await client.submit_batch([request(kind)] * count)
    acknowledged = time.perf_counter() - begun
    async with asyncio.timeout(300):
        await done.wait()
    elapsed = time.perf_counter() - begun
    await watcher
    return acknowledged, count / elapsed


async def latency(client: ClusterClient, rounds: int) -> list[float]:
    """Milliseconds from the call of Submit to the end being visible on a watch, one task at a time."""
    watching = asyncio.Event()
    ends: dict[str, asyncio.Event] = {}

    async def watch() -> None:
        async for reply in client.watch(0):
            if reply.snapshot_end:
                watching.set()
            for change in reply.changes:
                if change.HasField("task") and change.task.state in ENDED:
                    ends.setdefault(change.task.id, asyncio.Event()).set()

    watcher = asyncio.create_task(watch())
    await watching.wait()
    found: list[float] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        reply = await client.submit(request(types_pb2.TASK_TYPE_SHELL))
        await ends.setdefault(reply.id, asyncio.Event()).wait()
        found.append((time.perf_counter() - begun) * 1000)
        await asyncio.sleep(0.02)
    watcher.cancel()
    return found


async def measure(voters: int, count: int, rounds: int, runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), voters)
        cluster.start()
        try:
            async with cluster.client() as probe:
                leader = await cluster.leader(probe)
            async with cluster.client(leader) as client:
                await throughput(client, 200, types_pb2.TASK_TYPE_SHELL)
                await _report(client, voters, count, rounds, runs)
        finally:
            cluster.close()


async def _report(client: ClusterClient, voters: int, count: int, rounds: int, runs: int) -> None:
    for kind, name in ((types_pb2.TASK_TYPE_SHELL, "/bin/true"), (types_pb2.TASK_TYPE_NOOP, "no-op")):
        found = [await throughput(client, count, kind) for _ in range(runs)]
        rates = sorted(rate for _, rate in found)
        acks = sorted(ack * 1000 for ack, _ in found)
        print(
            f"{voters} voter(s)  {count} × {name:9}  {statistics.median(rates):7.0f} tasks/s"
            f"  ({rates[0]:.0f}–{rates[-1]:.0f})   batch acknowledged {statistics.median(acks):6.0f} ms"
        )
    found_ms = sorted(await latency(client, rounds))
    p95 = found_ms[int(len(found_ms) * 0.95)]
    p50 = statistics.median(found_ms)
    print(f"{voters} voter(s)  one task, submit -> exit visible  p50 {p50:.1f} ms  p95 {p95:.1f} ms")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--voters", type=int, nargs="*", default=[1, 3])
    options = parser.parse_args(arguments)
    for voters in options.voters:
        asyncio.run(measure(voters, options.count, options.rounds, options.runs))


if __name__ == "__main__":
    main()
