"""The embedded engine on simulated machines and virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, TypeVar

from node.consensus.raftos.engine import RaftosEngine
from node.consensus.raftos.settings import RaftSettings
from tests.consensus.conformance.kit import Check, Cluster, Member, Rig, checked
from tests.sim.env import SimMachine
from tests.sim.loop import SimLoop, run
from tests.sim.net import Network, RaftOnly

T = TypeVar("T")


class RaftosCluster(Cluster):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        self._network = Network(loop, random.Random(1))
        self._machines = {member.id: SimMachine(loop, member.id, 1) for member in self.members}

    async def boot(self, member: Member) -> None:
        life, env = self._machines[member.id].boot()
        link = self._network.link(member.address, life)
        engine = RaftosEngine(env, member, member.id, self.addresses, "conformance", link.send_raft)
        member.begin(engine)
        self._network.attach(member.address, RaftOnly(engine.receive), life)
        await life.spawn(engine.start())

    async def kill(self, member: Member) -> None:
        self._network.detach(member.address)
        self._machines[member.id].kill()
        member.engine = None

    def isolate(self, member: Member) -> None:
        self._network.isolate(member.address, list(self.addresses.values()))

    def heal(self) -> None:
        self._network.heal()

    def start(self, member: Member, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        life = self._machines[member.id].life
        assert life is not None
        return life.spawn(work)

    async def close(self) -> None:
        """The loop ends with the test, and everything on it."""


class RaftosRig(Rig):
    name = "raftos"
    limit_bytes = RaftSettings().max_proposal_bytes

    def run(self, check: Check, size: int = 3) -> None:
        async def main() -> None:
            await checked(RaftosCluster(size), check)

        run(main)
