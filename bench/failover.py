"""The leader killed with -9 under writes: how long until the first acknowledged write, and that none is lost.

Run: python -m bench.failover [--kills 20] [--runs 3]
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench._elections import COMMITS, FIRED, LEADS, LOST, SERVES, STANDS, TOLD, moments
from bench._table import Goal, Running, head, line, percentile, running
from bench._writing import Writer, whole, writing

CALM_S = (0.5, 1.5)
LONG_MS = 1_300
P50 = Goal(floor=1_000)
P99 = Goal(floor=1_500)
NONE = Goal(floor=0)


@dataclass(frozen=True, slots=True)
class Failover:
    """One kill; milliseconds. Each part begins where the one before it ends."""

    told: float
    """From the kill until a survivor was told that the process has ended; infinite when none was."""
    missed: float
    """From the kill until the first survivor's patience ended."""
    asked: float
    """Until one knew that it would win (pre-vote), and stood."""
    elected: float
    committed: float
    acknowledged: float
    answered: float
    """All of it: from the kill until the first acknowledged write."""
    splits: int

    @property
    def parts(self) -> Iterator[tuple[str, float]]:
        names = ("missed", "asked", "elected", "committed", "acknowledged")
        return ((name, getattr(self, name)) for name in names)


async def killed(found: Running, writer: Writer) -> Failover:
    leader = await whole(found.cluster)
    # At no particular moment between two heartbeats.
    await asyncio.sleep(random.uniform(*CALM_S))
    wall, begun = time.time(), time.perf_counter()
    found.cluster.kill(leader)
    await writer.more(50)
    told = sorted(
        moment for node in found.cluster.nodes.values() if node.id != leader for moment in moments(node.data, wall)
    )
    found.cluster.start(leader)
    # A late answer of the old leader does not end it, and a pause behind the new one's begin is none of it.
    _, end = writer.silence(begun, until=begun + _first(told, SERVES) - wall)
    return _split(told, wall, (end - begun) * 1e3)


def _first(told: list[tuple[float, str]], what: str, after: float = 0.0) -> float:
    return next((at for at, name in told if name == what and at >= after), math.inf)


def _split(told: list[tuple[float, str]], wall: float, answered: float) -> Failover:
    fired, commits = _first(told, FIRED), _first(told, COMMITS)
    stands = _first(told, STANDS, fired)
    # Who was elected last led on: an earlier one would have committed.
    leads = max((at for at, name in told if name == LEADS and at <= commits), default=math.inf)
    steps = [(at - wall) * 1e3 for at in (fired, stands, leads, commits)]
    parts = [after - before for before, after in zip([0.0, *steps], [*steps, answered], strict=True)]
    splits = sum(name == LOST for _, name in told)
    return Failover((_first(told, TOLD) - wall) * 1e3, *parts, answered=answered, splits=splits)


async def measure(kills: int, runs: int) -> int:
    """How many acknowledged writes were lost."""
    found_runs: list[list[Failover]] = []
    lost: list[float] = []
    failed: list[float] = []
    written = 0
    for _ in range(runs):
        async with running(3, module="bench._elections") as found, writing(found) as writer:
            found_runs.append([await killed(found, writer) for _ in range(kills)])
            await whole(found.cluster)
            lost.append(len(await writer.lost()))
            failed.append(len(writer.failures))
            written += len(writer.ids)
    _show(found_runs)
    line("acknowledged writes lost", lost, "count", NONE, f"{written:,} acknowledged")
    line("calls that failed after all repetitions", failed, "count")
    return round(sum(lost))


def _show(runs: list[list[Failover]]) -> None:
    answered = [[one.answered for one in run] for run in runs]
    for name, values in (
        ("told that the process has ended", [[one.told for one in run] for run in runs]),
        *((f"part: {name}", [[dict(one.parts)[name] for one in run] for run in runs]) for name in _names(runs)),
    ):
        line(f"{name}, p50", [percentile(run, 50) for run in values], "ms")
        line(f"{name}, p99", [percentile(run, 99) for run in values], "ms")
    line("first acknowledged write, p50", [percentile(run, 50) for run in answered], "ms", P50)
    line("first acknowledged write, p99", [percentile(run, 99) for run in answered], "ms", P99)
    line("first acknowledged write, most", [max(run) for run in answered], "ms")
    line("failovers with split votes", [sum(one.splits > 0 for one in run) for run in runs], "count")
    for one in (one for run in runs for one in run if one.answered > LONG_MS):
        parts = ", ".join(f"{name} {part:.0f}" for name, part in one.parts)
        print(f"  {one.answered:.0f} ms: {parts}; {one.splits} voters lost to a split")


def _names(runs: list[list[Failover]]) -> list[str]:
    return [name for name, _ in runs[0][0].parts]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of one run; 200 for a verdict")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    head(f"The leader of three voters is killed {options.kills} times a run under writes; time since the kill")
    return min(asyncio.run(measure(options.kills, options.runs)), 1)


if __name__ == "__main__":
    sys.exit(main())
