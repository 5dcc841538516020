"""How long one call takes that submits 10,000 tasks, until all are acknowledged durable.

Twice: tasks that no node may run, which is the submission alone, and no-op tasks that run meanwhile.

Run: python -m bench.batch [--count 10000] [--runs 5] [--voters 1 3]
"""

from __future__ import annotations

import argparse
import asyncio
import time

from bench._table import Goal, Running, head, line, running
from bench.tasks import request, throughput
from cortex.v1 import types_pb2

_GOAL = Goal(500, 100)


async def waiting(found: Running, count: int) -> tuple[float, str]:
    """Milliseconds, and CPU, of one batch that waits; cancelled afterwards."""
    task = request(types_pb2.TASK_TYPE_SHELL)
    task.spec.constraints.capabilities.append("nowhere")
    await found.settled()
    found.mark()
    begun = time.perf_counter()
    reply = await found.client.submit_batch([task] * count)
    took_ms = (time.perf_counter() - begun) * 1e3
    spent = found.cpu_us(count)
    for first in range(0, count, 1000):
        await found.client.cancel(reply.ids[first : first + 1000])
    return took_ms, spent


async def measure(voters: int, count: int, runs: int) -> None:
    async with running(voters) as found:
        await waiting(found, count // 10)
        name = f"{count:,} tasks in one call, {voters} voter{'s' * (voters > 1)}"
        alone = [await waiting(found, count) for _ in range(runs)]
        line(f"{name}, that wait", [took_ms for took_ms, _ in alone], "ms", _GOAL, alone[-1][1])
        busy = [await throughput(found.client, count, types_pb2.TASK_TYPE_NOOP) for _ in range(runs)]
        line(f"{name}, no-ops that run", [took_s * 1e3 for took_s, _ in busy], "ms", _GOAL)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--voters", type=int, nargs="*", default=[1, 3])
    options = parser.parse_args(arguments)
    head("Batch submit, until acknowledged durable")
    for voters in options.voters:
        asyncio.run(measure(voters, options.count, options.runs))


if __name__ == "__main__":
    main()
