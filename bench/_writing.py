"""A client that writes all the time, how long its writes stood still, and what became of those acknowledged."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench._table import Running
from cortex.v1 import cluster_pb2, types_pb2
from tests.e2e.harness import Cluster, all_tasks, eventually
from tui.errors import ClusterError
from tui.link.client import ClusterClient

TOGETHER = 4
PAUSE_S = 0.005
PATIENCE_S = 120.0
_TASK = cluster_pb2.TaskRequest(name="bench", spec=types_pb2.TaskSpec(type=types_pb2.TASK_TYPE_NOOP))


class Writer:
    """Submits no-ops, a few at a time, through one client that repeats what fails, as the command line does."""

    def __init__(self, client: ClusterClient) -> None:
        self._client = client
        self.ids: list[str] = []
        self.moments: list[float] = []
        """time.perf_counter() of each acknowledgement."""
        self.failures: list[ClusterError] = []
        self.index = 0
        self._came = asyncio.Condition()

    async def run(self) -> None:
        """Until it is cancelled."""
        await asyncio.gather(*(self._write() for _ in range(TOGETHER)))

    async def _write(self) -> None:
        while True:
            try:
                reply = await self._client.submit(_TASK)
            except ClusterError as error:
                self.failures.append(error)
                continue
            self.moments.append(time.perf_counter())
            self.ids.append(reply.id)
            self.index = max(self.index, reply.index)
            async with self._came:
                self._came.notify_all()
            # It is to notice every gap, not to fill the queue.
            await asyncio.sleep(PAUSE_S)

    async def more(self, count: int) -> None:
        """Return when that many more are acknowledged."""
        goal = len(self.ids) + count
        async with asyncio.timeout(PATIENCE_S), self._came:
            await self._came.wait_for(lambda: len(self.ids) >= goal)

    def silence(self, since: float, until: float = math.inf) -> tuple[float, float]:
        """Begin and end of the longest time without an acknowledgement that ended after `since`.

        One that begins after `until` does not count.
        """
        first = next(number for number, moment in enumerate(self.moments) if moment > since)
        ends = self.moments[first:]
        begins = [self.moments[first - 1], *ends]
        gaps = [pair for pair in zip(begins, ends, strict=False) if pair[0] <= max(until, begins[0])]
        return max(gaps, key=lambda pair: pair[1] - pair[0])

    async def lost(self) -> set[str]:
        """Acknowledged, and not there."""
        self._client.saw(self.index)
        return set(self.ids) - {task.id for task in await all_tasks(self._client)}


@asynccontextmanager
async def writing(found: Running) -> AsyncIterator[Writer]:
    """Writes to all of its daemons while the block runs."""
    async with found.cluster.client() as client:
        writer = Writer(client)
        task = asyncio.create_task(writer.run())
        try:
            await writer.more(100)
            yield writer
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def whole(cluster: Cluster) -> str:
    """Id of the leader, once it reaches every voter. The client that asks knows of no earlier one."""

    async def all_up(client: ClusterClient) -> str:
        status = await client.status()
        return (
            status.leader if status.healthy and sum(voter.up for voter in status.voters) == cluster.voters else ""
        )

    async with cluster.client() as client:
        try:
            return await eventually(lambda: all_up(client), PATIENCE_S)
        except TimeoutError:
            raise TimeoutError(f"not all voters are up after {PATIENCE_S} s\n{cluster.logs()}") from None
