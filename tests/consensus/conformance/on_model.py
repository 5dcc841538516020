"""The etcd engine on simulated machines, virtual time and a model of etcd."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from node.consensus.etcd.engine import EtcdEngine
from node.consensus.etcd.settings import EtcdSettings
from node.env import Clock
from tests.consensus.conformance.kit import Check, Cluster, Member, Rig, checked
from tests.consensus.etcd_model import EtcdModel, ModelClient, Weather
from tests.sim.env import SimMachine
from tests.sim.loop import SimLoop, run
from tests.sim.net import Network, RaftOnly

T = TypeVar("T")


class SleepingClock:
    """The clocks of a machine that may be suspended: the one since boot goes on, timers do not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.slept_us = 0

    def wall_us(self) -> int:
        return self._clock.wall_us() + self.slept_us

    def boot_us(self) -> int:
        return self._clock.boot_us() + self.slept_us


class ModelCluster(Cluster):
    def __init__(self, size: int, seed: int = 1, settings: EtcdSettings | None = None) -> None:
        super().__init__(size)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        self.random = random.Random(seed)
        self.settings = settings or EtcdSettings()
        self.etcd = EtcdModel(loop)
        self.weather = Weather()
        self.network = Network(loop, random.Random(f"{seed}/network"))
        self.machines = {member.id: SimMachine(loop, member.id, seed) for member in self.members}
        self.clocks: dict[str, SleepingClock] = {}
        self._cut: set[str] = set()

    async def boot(self, member: Member) -> None:
        life, env = self.machines[member.id].boot()
        self.clocks[member.id] = clock = SleepingClock(env.clock)
        env = replace(env, clock=clock)
        link = self.network.link(member.address, life)
        client = ModelClient(
            self.etcd,
            random.Random(self.random.getrandbits(64)),
            self.weather,
            lambda: member.id in self._cut,
            self.settings.call_timeout_s,
        )
        engine = EtcdEngine(
            env,
            member,
            member.id,
            self.addresses,
            "conformance",
            link.send_raft,
            client,
            settings=self.settings,
        )
        member.begin(engine)
        self.network.attach(member.address, RaftOnly(engine.receive), life)
        await life.spawn(engine.start())

    async def kill(self, member: Member) -> None:
        self.network.detach(member.address)
        self.machines[member.id].kill()
        member.engine = None

    def isolate(self, member: Member) -> None:
        self._cut.add(member.id)
        self.network.isolate(member.address, list(self.addresses.values()))

    def heal(self) -> None:
        self._cut.clear()
        self.network.heal()

    def start(self, member: Member, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        life = self.machines[member.id].life
        assert life is not None
        return life.spawn(work)

    def led(self, member: Member) -> None:
        super().led(member)
        leading = [other.id for other in self.members if other.leads]
        if len(leading) > 1:
            self.violations.append(f"{' and '.join(leading)} lead at once")

    async def close(self) -> None:
        """The loop ends with the test, and everything on it."""


class ModelRig(Rig):
    name = "etcd-model"
    limit_bytes = EtcdSettings().max_proposal_bytes

    def run(self, check: Check, size: int = 3) -> None:
        run_on_model(check, size)


def run_on_model(check: Callable[[Any], Awaitable[None]], size: int = 3, seed: int = 1, **settings: Any) -> None:
    """As Rig.run(), with this seed and these settings of the engine."""

    async def main() -> None:
        cluster = ModelCluster(size, seed, EtcdSettings(**settings))
        await checked(cluster, lambda _cluster: check(cluster))

    run(main)
