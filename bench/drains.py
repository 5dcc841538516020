"""A drain of a node with 1,000 running tasks: its rehearsal, and how long until the node is empty.

Run: python -m bench.drains [--count 1000] [--runs 1]
"""

from __future__ import annotations

import argparse
import asyncio
import time

from bench._table import Running, head, line, running
from cortex.v1 import cluster_pb2, types_pb2

_WAIT_S = 300
_LIVE = (types_pb2.OPERATION_STATE_SCHEDULED, types_pb2.OPERATION_STATE_RUNNING)


async def filled(found: Running, node: str, count: int) -> list[str]:
    """Ids of sleeping tasks that all run on `node`."""
    others = [each for each in found.cluster.nodes if each != node]
    for other in others:
        await found.client.cordon(other)
    spec = types_pb2.TaskSpec(type=types_pb2.TASK_TYPE_SHELL, argv=[b"sleep", b"3600"])
    reply = await found.client.submit_batch([cluster_pb2.TaskRequest(spec=spec)] * count)
    await until(found, node, count)
    for other in others:
        await found.client.uncordon(other)
    return list(reply.ids)


async def until(found: Running, node: str, count: int) -> None:
    """Return once exactly `count` tasks run on `node` and no more are assigned to it."""
    async with asyncio.timeout(_WAIT_S):
        while True:
            tasks = 0
            begun = 0
            for view in (await found.client.list_nodes()).nodes:
                if view.node.id == node:
                    tasks, begun = view.assigned + view.running, view.running
            if tasks == begun == count:
                return
            await asyncio.sleep(0.02)


async def drained(found: Running, node: str) -> tuple[float, float]:
    """Milliseconds of the rehearsal, and from the call of DrainNode until the node is drained."""
    begun = time.perf_counter()
    plan = (await found.client.rehearse_drain(cluster_pb2.DrainRequest(node=node))).plan
    rehearsed_ms = (time.perf_counter() - begun) * 1e3
    begun = time.perf_counter()
    request = cluster_pb2.DrainRequest(node=node, plan_id=plan.id, undo_window_ms=0)
    reply = await found.client.drain_node(request)
    async with asyncio.timeout(_WAIT_S):
        while True:
            operation = (await found.client.get_operation(reply.operation_id)).operation
            if operation.state not in _LIVE:
                break
            await asyncio.sleep(0.02)
    return rehearsed_ms, (time.perf_counter() - begun) * 1e3


async def measure(count: int, runs: int) -> None:
    async with running(3, {"CORTEX_SLOTS": str(count)}) as found:
        rehearsals: list[float] = []
        drains: list[float] = []
        for _ in range(runs):
            node = next(each for each in found.cluster.nodes if each != found.leader)
            ids = await filled(found, node, count)
            found.mark()
            rehearsed_ms, drained_ms = await drained(found, node)
            rehearsals.append(rehearsed_ms)
            drains.append(drained_ms)
            note = found.cpu_us(count)
            for first in range(0, count, 1000):
                await found.client.cancel(ids[first : first + 1000])
            for each in found.cluster.nodes:
                await until(found, each, 0)
            await found.client.uncordon(node)
        line(f"rehearsal, {count:,} running tasks", rehearsals, "ms")
        line(f"drain of {count:,} running tasks, until the node is empty", drains, "ms", note=note)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args(arguments)
    head("Drains, three voters; each task is ended on one machine and begun on another")
    asyncio.run(measure(options.count, options.runs))


if __name__ == "__main__":
    main()
