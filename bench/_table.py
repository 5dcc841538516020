"""Figures beside the goals of Cortex, as lines of one table, and the daemons that they are taken from."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import _meter
from tests.e2e.harness import Cluster
from tui.link.client import ClusterClient

_WIDTHS = (58, 11, 25, 12, 12)
_SETTLE_S = 60.0
_LOOK_S = 0.5
# Of one core, all daemons together.
_AT_REST = 0.15


@dataclass(frozen=True, slots=True)
class Goal:
    """What is aimed at: `floor` must be reached, `goal` is wished for. `least`: more is better."""

    floor: float | None = None
    goal: float | None = None
    least: bool = False

    def verdict(self, value: float) -> str:
        """goal, floor or below: what `value` reaches."""
        for name, limit in (("goal", self.goal), ("floor", self.floor)):
            if limit is not None and (value >= limit if self.least else value <= limit):
                return name
        return "" if self.floor is None and self.goal is None else "below"


NO_GOAL = Goal()


def head(title: str) -> None:
    """The columns, under the conditions that the figures were taken in."""
    print(f"{title}\n{_meter.load_text()}")
    names = ("", "median", "least – most (runs)", "floor", "goal")
    print("".join(f"{name:{width}}" for name, width in zip(names, _WIDTHS, strict=True)) + "reached", flush=True)


def line(name: str, values: Sequence[float], unit: str, goal: Goal = NO_GOAL, note: str = "") -> None:
    """One figure: its median and range over the runs, beside its goal."""
    middle = statistics.median(values)
    cells = (
        f"{name}, {unit}",
        _number(middle),
        f"{_number(min(values))} – {_number(max(values))} ({len(values)})",
        _limit(goal.floor, least=goal.least),
        _limit(goal.goal, least=goal.least),
    )
    text = "".join(f"{cell:{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))
    print(f"{text}{goal.verdict(middle):8}{note}".rstrip(), flush=True)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _limit(value: float | None, *, least: bool) -> str:
    return "" if value is None else f"{'≥' if least else '≤'} {_number(value)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(slots=True)
class Running:
    """A cluster that serves, a client of its leader, and what its processes have cost since mark()."""

    cluster: Cluster
    leader: str
    client: ClusterClient
    pids: Mapping[str, int]
    _before: Mapping[str, _meter.Cost] = field(default_factory=dict)

    def mark(self) -> None:
        self._before = _meter.costs(self.pids)

    def cpu_us(self, count: int) -> str:
        """CPU since mark() for each of `count` things, microseconds, by kind of process."""
        found = {name: cost - self._before[name] for name, cost in _meter.costs(self.pids).items()}
        sums = dict.fromkeys(("leader", "followers", "supervisors", "children"), 0.0)
        for name, cost in found.items():
            node, kind = name.split()
            if kind == "supervisor":
                sums["supervisors"] += cost.cpu_s
                sums["children"] += cost.children_s
            else:
                sums["leader" if node == self.leader else "followers"] += cost.cpu_s
        parts = ", ".join(f"{name} {s / count * 1e6:.0f}" for name, s in sums.items() if s / count >= 1e-6)
        return f"µs of CPU each: {parts}"

    async def settled(self) -> None:
        """Return once the daemons have done what is left of earlier work, such as saving rows."""
        async with asyncio.timeout(_SETTLE_S):
            while True:
                before = _meter.costs(self.pids)
                await asyncio.sleep(_LOOK_S)
                spent = (cost - before[name] for name, cost in _meter.costs(self.pids).items())
                if sum(cost.cpu_s for cost in spent) < _AT_REST * _LOOK_S:
                    return

    def memory_mb(self) -> list[float]:
        """Resident size of each daemon now."""
        return [_meter.memory_mb(pid) for name, pid in self.pids.items() if name.endswith("daemon")]


@asynccontextmanager
async def running(
    voters: int, environment: Mapping[str, str] | None = None, module: str = "node.cli"
) -> AsyncIterator[Running]:
    """Daemons of their own in a temporary folder; gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), voters, module=module, environment=dict(environment or {}))
        cluster.start()
        try:
            async with cluster.client() as probe:
                leader = await cluster.leader(probe)
            async with cluster.client(leader) as client:
                await _joined(client, voters)
                yield Running(cluster, leader, client, _meter.processes(cluster))
        finally:
            cluster.close()


async def _joined(client: ClusterClient, voters: int) -> None:
    """Return once every daemon has its session with the leader."""
    async with asyncio.timeout(60):
        while True:
            nodes = (await client.list_nodes()).nodes
            if sum(view.node.online for view in nodes) == voters:
                return
            await asyncio.sleep(0.05)
