"""The leader killed with -9 under writes: how long until the first acknowledged write, and that none is lost.

Run: python -m bench.failover [--kills 20] [--runs 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from datetime import datetime
from pathlib import Path

from bench._table import Goal, Running, head, line, percentile, running
from bench._writing import Writer, whole, writing

CALM_S = (0.5, 1.5)
P50 = Goal(floor=1_000)
P99 = Goal(floor=1_500)
NONE = Goal(floor=0)


async def killed(found: Running, writer: Writer) -> tuple[float, float]:
    """Milliseconds from the kill until another one says that it serves, and until the first acknowledged write."""
    leader = await whole(found.cluster)
    # At no particular moment between two heartbeats.
    await asyncio.sleep(random.uniform(*CALM_S))
    wall, begun = time.time(), time.perf_counter()
    found.cluster.kill(leader)
    await writer.more(50)
    served = min(
        served_at(node.data / "cortexd.log", wall) for node in found.cluster.nodes.values() if node.id != leader
    )
    found.cluster.start(leader)
    await whole(found.cluster)
    # Also when the answers came a little at first and then not: the end of the longest silence counts.
    _, end = writer.silence(begun)
    return (served - wall) * 1e3, (end - begun) * 1e3


def served_at(log: Path, after: float) -> float:
    """When this daemon began to serve as the leader, unix seconds; infinite when it did not."""
    for text in log.read_text().splitlines():
        if (
            '"serving"' in text
            and (at := datetime.fromisoformat(json.loads(text)["timestamp"]).timestamp()) > after
        ):
            return at
    return float("inf")


async def measure(kills: int, runs: int) -> int:
    """How many acknowledged writes were lost."""
    served: list[list[float]] = []
    answered: list[list[float]] = []
    lost: list[float] = []
    failed: list[float] = []
    written = 0
    for _ in range(runs):
        async with running(3) as found, writing(found) as writer:
            pairs = [await killed(found, writer) for _ in range(kills)]
            served.append([pair[0] for pair in pairs])
            answered.append([pair[1] for pair in pairs])
            lost.append(len(await writer.lost()))
            failed.append(len(writer.failures))
            written += len(writer.ids)
    for name, runs_of in (("another one serves", served), ("first acknowledged write", answered)):
        line(f"{name}, p50", [percentile(values, 50) for values in runs_of], "ms", P50)
        line(f"{name}, p99", [percentile(values, 99) for values in runs_of], "ms", P99)
        line(f"{name}, most", [max(values) for values in runs_of], "ms")
    line("acknowledged writes lost", lost, "count", NONE, f"{written:,} acknowledged")
    line("calls that failed after all repetitions", failed, "count")
    return round(sum(lost))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of one run; 200 for a verdict")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    head(f"The leader of three voters is killed {options.kills} times a run under writes; time since the kill")
    return min(asyncio.run(measure(options.kills, options.runs)), 1)


if __name__ == "__main__":
    sys.exit(main())
