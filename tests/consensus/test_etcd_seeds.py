"""The etcd engine under whatever a seed brings: lost and late requests, cuts, deaths, sleep, compaction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from node.consensus.port import OutcomeUnknown, ProposalError
from tests.consensus.conformance.kit import Cluster, Member
from tests.consensus.conformance.on_model import ModelCluster, run_on_model

SEEDS = 6
_MILD = ("sleep", "compact", "leases", "transfer", "campaign")
RUN_S = 60.0
COUNTS: Callable[[], Counter[str]] = Counter


class Scenario:
    """Load and faults of one seed on a cluster that has begun."""

    def __init__(self, cluster: ModelCluster) -> None:
        self.cluster = cluster
        self.random = cluster.random
        self.counts = COUNTS()
        self.outcomes: dict[bytes, asyncio.Task[int]] = {}
        self.acknowledged_upto = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + RUN_S
        clients = [loop.create_task(self.client(number, end)) for number in range(4)]
        readers = [loop.create_task(self.reader(end)) for _ in range(2)]
        while loop.time() < end:
            await self.fault()
            await asyncio.sleep(self.random.expovariate(1.0))
        await asyncio.gather(*clients, *readers)
        await self.fair()
        await self.cluster.settled()
        await self.cluster.surely(b"last")
        await self.check()

    async def client(self, number: int, end: float) -> None:
        loop, sent = asyncio.get_running_loop(), 0
        while loop.time() < end:
            if self.cluster.up:
                member = self.random.choice(self.cluster.up)
                data = b"%d %d" % (number, sent)
                sent += 1
                task = self.outcomes[data] = self.cluster.propose(member, data)
                task.add_done_callback(self.note)
            await asyncio.sleep(self.random.expovariate(20.0))

    def note(self, task: asyncio.Task[int]) -> None:
        if not task.cancelled() and task.exception() is None:
            self.acknowledged_upto = max(self.acknowledged_upto, task.result())

    async def reader(self, end: float) -> None:
        """A linearizable read waits for everything that was acknowledged before it."""
        loop = asyncio.get_running_loop()
        while loop.time() < end:
            await asyncio.sleep(self.random.expovariate(10.0))
            if not self.cluster.up:
                continue
            member = self.random.choice(self.cluster.up)
            due = self.acknowledged_upto
            asked: asyncio.Task[int] = self.cluster.start(member, member.engine.read_index())
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())
            # A member that is killed never ends it, not even cancelled.
            await asyncio.wait([asked], timeout=3)
            if not asked.done() or isinstance(asked.exception(), ProposalError):
                continue
            self.counts["linearizable reads"] += 1
            if (index := asked.result()) < due:
                self.cluster.violations.append(f"read at {index}, but {due} was acknowledged before")

    async def fault(self) -> None:
        cluster = self.cluster
        weather = cluster.weather
        kind = self.random.choice(
            ["weather", "calm", "calm", "cut", "heal", "heal", "kill", "boot", "boot", *_MILD]
        )
        self.counts[kind] += 1
        if kind == "weather":
            weather.lost, weather.answer_lost = self.random.uniform(0, 0.3), self.random.uniform(0, 0.3)
            weather.late, weather.watch_ends = self.random.random(), self.random.uniform(0, 0.1)
            cluster.network.weather.loss = self.random.uniform(0, 0.2)
        elif kind == "calm":
            weather.lost = weather.answer_lost = weather.watch_ends = cluster.network.weather.loss = 0.0
        elif kind == "cut":
            cluster.isolate(self.someone(cluster.members))
        elif kind == "heal":
            cluster.heal()
        elif kind == "kill" and cluster.up:
            await cluster.kill(self.someone(cluster.up))
        elif kind == "boot":
            await self.boot_all()
        elif kind == "sleep" and cluster.up:
            cluster.clocks[self.someone(cluster.up).id].slept_us += self.random.randrange(10_000_000)
        elif kind == "compact":
            cluster.etcd.compact(cluster.etcd.revision)
        elif kind == "leases":
            cluster.etcd.extend_leases()
        elif kind in ("transfer", "campaign"):
            await self.push(kind)

    def someone(self, among: list[Member]) -> Member:
        leading = [member for member in among if member.leads]
        return leading[0] if leading and self.random.random() < 0.5 else self.random.choice(among)

    async def boot_all(self) -> None:
        for member in self.cluster.members:
            if not member.up:
                await self.cluster.boot(member)

    async def push(self, kind: str) -> None:
        heads = [member for member in self.cluster.up if member.leads]
        if not heads:
            return
        if kind == "transfer":
            self.cluster.start(heads[0], _quietly(heads[0]))
            return
        self.cluster.start(heads[0], _allow(heads[0], allowed=False))
        await asyncio.sleep(self.random.uniform(0, 3))
        if heads[0].up:
            self.cluster.start(heads[0], _allow(heads[0], allowed=True))

    async def fair(self) -> None:
        weather = self.cluster.weather
        weather.lost = weather.answer_lost = weather.late = weather.watch_ends = 0.0
        self.cluster.network.weather.loss = 0.0
        self.cluster.heal()
        await self.boot_all()

    async def check(self) -> None:
        """Of all proposals whose proposer lived to see an outcome."""
        last = (await self.cluster.settled()).payloads
        if len(last) != len(set(last)):
            self.cluster.violations.append("a proposal is in the log twice")
        known = set(last)
        for data, task in self.outcomes.items():
            if not task.done():
                continue
            error = task.exception()
            self.counts[type(error).__name__ if error is not None else "acknowledged"] += 1
            if error is None and data not in known:
                self.cluster.violations.append(f"{data!r} was acknowledged and is lost")
            elif error is not None and not isinstance(error, OutcomeUnknown) and data in known:
                self.cluster.violations.append(f"{data!r} ended in {error!r} and is in the log")
        self.counts["terms"] += len({entry.term for entry in self.cluster.log})
        self.counts["entries"] += len(self.cluster.log)


async def _quietly(member: Member) -> None:
    try:
        await member.engine.transfer()
    except (ProposalError, TimeoutError):
        return


async def _allow(member: Member, *, allowed: bool) -> None:
    member.engine.allow_campaign(allowed)


def run_seed(seed: int) -> Counter[str]:
    """Raises AssertionError with what was violated; `python -m tests.consensus.test_etcd_seeds SEED` replays."""
    counts: Counter[str] = Counter()

    async def check(cluster: Cluster) -> None:
        assert isinstance(cluster, ModelCluster)
        scenario = Scenario(cluster)
        await scenario.run()
        counts.update(scenario.counts)

    run_on_model(check, 3, seed)
    return counts


@pytest.mark.sim
def test_seeds() -> None:
    counts: Counter[str] = Counter()
    for seed in range(SEEDS):
        try:
            counts.update(run_seed(seed))
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    # What was never reached was never tested.
    for reached in ("acknowledged", "NotLeader", "OutcomeUnknown", "Superseded", "linearizable reads", "terms"):
        assert counts[reached] > 0, counts


if __name__ == "__main__":
    import sys

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    low, _, high = sys.argv[1].partition("..")
    for one in range(int(low), int(high or low) + 1):
        print(one, dict(run_seed(one)))
