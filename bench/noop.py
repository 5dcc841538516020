"""What the engine itself costs: no-op tasks through the in-process executor, rows saved.

Run: python -m bench.noop [--count 10000] [--runs 5] [--voters 1 3]
"""

from __future__ import annotations

import argparse
import asyncio

from bench._table import Goal, head, line, running
from bench.tasks import throughput
from cortex.v1 import types_pb2

_GOALS = {1: Goal(20_000, 60_000, least=True), 3: Goal(12_000, 40_000, least=True)}


async def measure(voters: int, count: int, runs: int) -> None:
    async with running(voters) as found:
        await throughput(found.client, count // 10, types_pb2.TASK_TYPE_NOOP)
        found.mark()
        rates = [(await throughput(found.client, count, types_pb2.TASK_TYPE_NOOP))[1] for _ in range(runs)]
        await asyncio.sleep(1)
        name = f"{count:,} no-op tasks, {voters} voter{'s' * (voters > 1)}"
        line(name, rates, "tasks/s", _GOALS.get(voters, Goal()), found.cpu_us(count * runs))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--voters", type=int, nargs="*", default=[1, 3])
    options = parser.parse_args(arguments)
    head("No-op tasks, from the call of SubmitBatch to the last end seen by a watch")
    for voters in options.voters:
        asyncio.run(measure(voters, options.count, options.runs))


if __name__ == "__main__":
    main()
