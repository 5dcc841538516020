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
from tui.link.client import ClusterClient

ENDED = (
    types_pb2.TASK_STATE_COMPLETED,
    types_pb2.TASK_STATE_DEAD_LETTER,
    types_pb2.TASK_STATE_FAILED,
)


def request(kind: types_pb2.TaskType.ValueType) -> cluster_pb2.TaskRequest:
    argv = [b"/bin/true"] if kind == types_pb2.TASK_TYPE_SHELL else []
    return cluster_pb2.TaskRequest(name="bench", spec=types_pb2.TaskSpec(type=kind, argv=argv))


class Watch:
    """Whose tasks have ended, as a watch of the cluster sees it."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self._live = asyncio.Event()
        self._ended: dict[str, asyncio.Event] = {}
        self._wanted = 0
        self._done = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watch:
        self._task = asyncio.create_task(self._run())
        await self._live.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        async for reply in self._client.watch(0):
            if reply.snapshot_end:
                self._live.set()
            if not self._live.is_set():
                continue
            for change in reply.changes:
                if change.HasField("task") and change.task.state in ENDED:
                    self._event(change.task.id).set()
                    self._wanted -= 1
            if self._wanted <= 0:
                self._done.set()

    def _event(self, task_id: str) -> asyncio.Event:
        return self._ended.setdefault(task_id, asyncio.Event())

    async def ended(self, task_id: str) -> None:
        """Return once this one has ended."""
        await self._event(task_id).wait()

    def expect(self, count: int) -> None:
        self._wanted = count
        self._done.clear()

    async def done(self) -> None:
        """Return once as many have ended as expect() said."""
        async with asyncio.timeout(300):
            await self._done.wait()


async def throughput(client: ClusterClient, count: int, kind: types_pb2.TaskType.ValueType) -> tuple[float, float]:
    """Seconds until the batch is acknowledged, and tasks per second until its last end is visible on a watch."""
    async with Watch(client) as watch:
        watch.expect(count)
        begun = time.perf_counter()
        await client.submit_batch([request(kind)] * count)
        acknowledged = time.perf_counter() - begun
        await watch.done()
        return acknowledged, count / (time.perf_counter() - begun)


async def latency(client: ClusterClient, rounds: int) -> list[float]:
    """Milliseconds from the call of Submit to the end being visible on a watch, one task at a time."""
    found: list[float] = []
    async with Watch(client) as watch:
        for _ in range(rounds):
            begun = time.perf_counter()
            reply = await client.submit(request(types_pb2.TASK_TYPE_SHELL))
            await watch.ended(reply.id)
            found.append((time.perf_counter() - begun) * 1000)
            await asyncio.sleep(0.02)
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
