"""One run: load and faults for a while, then everything comes back and is held against the promises."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.cluster import ChaosCluster
from tests.chaos.faults import Faults
from tests.e2e.harness import shell
from tests.e2e.test_faults import Load, check_all
from tui.link.client import ClusterClient

_COMMAND = "echo done"


@dataclass(frozen=True, slots=True)
class Outcome:
    faults: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    unknown: int = 0

    def line(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        return (
            f"faults {self.faults.total()} ({kinds}) acknowledged {self.acknowledged} tasks, outcome unknown of "
            f"{self.unknown}: none lost, no run with two results, replicas equal"
        )


async def run(root: Path, seed: int, faults: int, every_s: float = 5.0) -> Outcome:
    """Raises AssertionError, with the daemons' last words, when a promise was broken."""
    cluster = ChaosCluster(root, voters=3)
    try:
        cluster.start()
        async with cluster.client() as client:
            await cluster.whole(client)
            load = await _under_load(cluster, client, chaos := Faults(cluster, seed), faults, every_s)
            cluster.start()
            await cluster.whole(client)
            # A new submission works at once, and what came before it is there.
            load.acknowledged.add((await client.submit(shell(_COMMAND))).id)
            await check_all(cluster, client, load)
        return Outcome(chaos.counts, len(load.acknowledged), load.unknown)
    finally:
        cluster.close()


async def _under_load(
    cluster: ChaosCluster, client: ClusterClient, chaos: Faults, faults: int, every_s: float
) -> Load:
    load, stop = Load(client, _COMMAND), asyncio.Event()
    loading = asyncio.create_task(load.run(stop))
    await load.more(20)
    await chaos.run(faults, every_s)
    cluster.ground.heal()
    before = len(load.acknowledged)
    await load.more(20)
    assert len(load.acknowledged) > before
    stop.set()
    await loading
    return load
