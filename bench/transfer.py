"""Leadership handed over under writes: for how long no write is acknowledged, and whether any call fails.

Run: python -m bench.transfer [--count 50] [--runs 3]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

from bench._table import Goal, Running, head, line, percentile, running
from bench._writing import Writer, whole, writing

CALM_S = (0.2, 0.6)
GAP = Goal(floor=300)
NONE = Goal(floor=0)


async def moved(found: Running, writer: Writer) -> tuple[float, float]:
    """Milliseconds that the call of TransferLeader took, and that no write was acknowledged."""
    leader = await whole(found.cluster)
    await asyncio.sleep(random.uniform(*CALM_S))
    to = random.choice([node for node in found.cluster.nodes if node != leader])
    async with found.cluster.client() as client:
        begun = time.perf_counter()
        reply = await client.transfer_leader(to)
        took_s = time.perf_counter() - begun
    if reply.leader != to:
        raise RuntimeError(f"{to} was to lead, and {reply.leader} does")
    await writer.more(50)
    begin, end = writer.silence(begun)
    return took_s * 1e3, (end - begin) * 1e3


async def measure(count: int, runs: int) -> int:
    """How many calls failed and acknowledged writes were lost."""
    calls: list[list[float]] = []
    gaps: list[list[float]] = []
    lost: list[float] = []
    failed: list[float] = []
    written = 0
    for _ in range(runs):
        async with running(3) as found, writing(found) as writer:
            pairs = [await moved(found, writer) for _ in range(count)]
            calls.append([pair[0] for pair in pairs])
            gaps.append([pair[1] for pair in pairs])
            lost.append(len(await writer.lost()))
            failed.append(len(writer.failures))
            written += len(writer.ids)
    for name, runs_of, goal in (("the call itself", calls, Goal()), ("no write acknowledged", gaps, GAP)):
        line(f"{name}, p50", [percentile(values, 50) for values in runs_of], "ms")
        line(f"{name}, p99", [percentile(values, 99) for values in runs_of], "ms", goal)
    line("calls that failed after all repetitions", failed, "count", NONE)
    line("acknowledged writes lost", lost, "count", NONE, f"{written:,} acknowledged")
    return round(sum(lost) + sum(failed))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50, help="of one run")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    head(f"Leadership of three voters is handed over {options.count} times a run, while a client writes")
    return min(asyncio.run(measure(options.count, options.runs)), 1)


if __name__ == "__main__":
    sys.exit(main())
