"""What happens to a cluster of real daemons: one fault after the other, all kinds before one comes again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.chaos.cluster import ChaosCluster, library

Fault = Callable[[], Awaitable[None]]


class Faults:
    """run() for a while; in the end everything runs and the network is whole."""

    def __init__(self, cluster: ChaosCluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.kinds: dict[str, Fault] = {
            "kill one": self._kill_one,
            "kill all": self._kill_all,
            "freeze": self._freeze,
            "cut one way": self._cut_one_way,
            "isolate": self._isolate,
            "fill the disk": self._fill_disk,
        }
        if library():
            self.kinds["move the clock"] = self._move_clock

    async def run(self, count: int, every_s: float) -> None:
        """So many faults, each begun and ended within `every_s` but for what takes longer to come back."""
        deck: list[str] = []
        for _ in range(count):
            if not deck:
                deck = sorted(self.kinds)
                self._random.shuffle(deck)
            kind = deck.pop()
            self.counts[kind] += 1
            rest = asyncio.create_task(asyncio.sleep(every_s))
            await self.kinds[kind]()
            await rest

    def _some(self) -> str:
        return self._random.choice(list(self._cluster.nodes))

    async def _for(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self._random.uniform(least_s, most_s))

    async def _kill_one(self) -> None:
        node = self._some()
        self._cluster.kill(node)
        await self._for(0.2, 3.0)
        self._cluster.start(node)

    async def _kill_all(self) -> None:
        self._cluster.kill()
        await self._for(0.1, 0.5)
        self._cluster.start()

    async def _freeze(self) -> None:
        node = self._some()
        self._cluster.freeze(node)
        await self._for(0.5, 4.0)
        self._cluster.thaw(node)

    async def _cut_one_way(self) -> None:
        source, target = self._random.sample(list(self._cluster.nodes), 2)
        self._cluster.ground.cut(source, target)
        await self._for(1.0, 4.0)
        self._cluster.ground.heal()

    async def _isolate(self) -> None:
        self._cluster.ground.isolate(self._some())
        await self._for(1.0, 4.0)
        self._cluster.ground.heal()

    async def _fill_disk(self) -> None:
        await asyncio.to_thread(self._cluster.disk.fill)
        await self._for(1.0, 3.0)
        self._cluster.disk.empty()
        # One that was killed meanwhile, or could not begin, is started by hand, as an operator would.
        self._cluster.start()

    async def _move_clock(self) -> None:
        node = self._some()
        self._cluster.skew_s[node] = self._random.choice([-3600, -40, 40, 3600])
        self._cluster.kill(node)
        self._cluster.start(node)
        await self._for(1.0, 3.0)
        del self._cluster.skew_s[node]
        self._cluster.kill(node)
        self._cluster.start(node)
