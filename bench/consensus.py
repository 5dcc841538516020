"""Commits per second and latency of the embedded engine: 1 and 3 voters, each in a process, real disks, loopback.

Who proposes is in the process of one voter. Each value is applied into SQLite on every voter, as a daemon applies
and saves: its proposer is answered when it is applied, and the rate is of all the time until it is saved.

Run: python -m bench.consensus [seconds] [folder] [--no-apply]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from bench._measure import Way, measure
from bench._voter import Apart, Voter, collect_less
from node.consensus.port import NotLeader, Role

VALUE = bytes(range(256))
IN_FLIGHT = (1, 10, 100, 1000)
_PATIENCE_S = 60.0
PEERS = (
    ("goal", "≥ 750", "≥ 6,000", "≥ 30,000", "≥ 70,000"),
    ("etcd 3.4, Python client", "903", "3,311", "9,104", "10,813"),
    ("etcd 3.4, C client", "1,378", "4,808", "14,199", "26,593"),
    ("raftos as published", "~600 for 100 writes, then 6", "hangs", "hangs", "hangs"),
)
"""Measured elsewhere (3 nodes, 2 cores, 256-byte values, fsync 0.3 ms): only ratios of one run carry over."""


class Cluster:
    """Voters on folders of their own. The first one is in this process, each other one in a process of its own."""

    def __init__(self, folder: Path, size: int, *, apply: bool) -> None:
        self.here = Voter("n1", folder / "n1", apply=apply)
        names = [f"n{number}" for number in range(2, size + 1)]
        self.others = {name: Apart(name, folder / name, apply=apply) for name in names}

    async def start(self) -> None:
        voters: list[Voter | Apart] = [self.here, *self.others.values()]
        addresses = {voter.name: await voter.listen() for voter in voters}
        # Each can be reached now, and connects to all others.
        await asyncio.gather(*(voter.start(addresses) for voter in voters))

    async def lead(self, name: str) -> None:
        """Return once this voter leads."""
        engine = self.here.engine
        async with asyncio.timeout(_PATIENCE_S):
            while engine.leader != name or not engine.commit_index:
                with suppress(NotLeader, TimeoutError):
                    if engine.role is Role.LEADER and name != self.here.name:
                        await engine.transfer(name)
                    elif engine.leader in self.others:
                        await self.others[engine.leader].tell("transfer", name)
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for voter in self.others.values():
            await voter.stop()
        await self.here.stop()

    def way(self, *, at_leader: bool) -> Way:
        """Values proposed in this process, each committed, and applied here; settled is what all have saved."""
        engine, host = self.here.engine, self.here.host
        leader = self.here.name if at_leader else next(iter(self.others))

        async def commit() -> None:
            await host.applied_through(await engine.propose(VALUE))

        async def settle() -> None:
            index = engine.commit_index
            await asyncio.gather(
                host.saved_through(index), *(one.tell("settle", str(index)) for one in self.others.values())
            )

        return Way(commit, partial(self.lead, leader), settle)


async def bench(folder: Path, seconds: float, *, apply: bool) -> None:
    what = "applied into SQLite" if apply else "applied to nothing"
    print(f"{len(VALUE)}-byte values, {what}, {seconds:g} s each, journals in {folder}")
    print(f"{'engine':38}{'in flight':>10}{'commits/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}")
    for size, at_leader in ((1, True), (3, True), (3, False)):
        with tempfile.TemporaryDirectory(dir=folder) as data:
            cluster = Cluster(Path(data), size, apply=apply)
            await cluster.start()
            way = cluster.way(at_leader=at_leader)
            await measure(way, 10, 0.5)
            for in_flight in IN_FLIGHT:
                found = await measure(way, in_flight, seconds)
                what = f"{size} voter{'s' * (size > 1)}, proposed at {'the leader' if at_leader else 'a follower'}"
                print(f"{what:38}{in_flight:>10}{found.columns()}", flush=True)
            await cluster.stop()
    print("\nfor comparison, three voters, commits/s at 1 / 10 / 100 / 1000 in flight:")
    for peer, *figures in PEERS:
        print(f"  {peer:26}" + " / ".join(figures))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=2.0)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(tempfile.gettempdir()))
    parser.add_argument("--no-apply", action="store_true", help="the engine alone: nothing goes into SQLite")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    collect_less()
    asyncio.run(bench(options.folder, options.seconds, apply=not options.no_apply))
    return 0


if __name__ == "__main__":
    sys.exit(main())
