"""Voters come and go at random while machines die and links fail: nothing is lost, and the end is quiet."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from tests.sim.daemon_world import Host
from tests.sim.members_kit import Story, played

SEEDS = 2
DEEDS = 30
DOWN_S = (0.1, 1.0, 4.0, 8.0)


class Chaos:
    """One seed's deeds."""

    def __init__(self, it: Story, seed: int, reached: Counter[str]) -> None:
        self._it = it
        self._random = random.Random(f"{seed}/members")
        self._reached = reached

    async def play(self) -> None:
        deeds = [(4, self._add), (3, self._remove), (1, self._transfer), (3, self._fall), (2, self._isolate)]
        for _ in range(DEEDS):
            deed = self._random.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])[0]
            await deed()
            await asyncio.sleep(self._random.choice([0.1, 0.5, 2.0]))
        # Whatever is down or cut off comes back by itself.
        await asyncio.sleep(max(DOWN_S))
        self._it.world.network.heal()
        for host in self._it.world.hosts:
            if not host.up:
                host.boot()

    def _somebody(self) -> Host:
        return self._random.choice(self._it.world.hosts)

    async def _add(self) -> None:
        request = pb.AddVoterRequest(mutation=self._it.operator.mutation(), node=self._somebody().id)
        await self._asked("added", "AddVoter", request)

    async def _remove(self) -> None:
        request = pb.RemoveVoterRequest(mutation=self._it.operator.mutation(), node=self._somebody().id)
        await self._asked("removed", "RemoveVoter", request)

    async def _transfer(self) -> None:
        await self._asked("transferred", "TransferLeader", pb.TransferLeaderRequest())

    async def _asked(
        self, what: str, method: str, request: pb.AddVoterRequest | pb.RemoveVoterRequest | pb.TransferLeaderRequest
    ) -> None:
        reply = await self._it.operator.ask(method, request, patience=5)
        self._reached[what] += reply is not None

    async def _fall(self) -> None:
        host = self._somebody()
        if not host.up:
            return
        self._reached["fallen"] += 1
        if self._random.random() < 0.5:
            host.kill()
        else:
            host.lose_power(forget_saves=self._random.random() < 0.3)
        self._it.world.at(self._random.choice(DOWN_S), lambda: None if host.up else host.boot())

    async def _isolate(self) -> None:
        self._reached["isolated"] += 1
        network = self._it.world.network
        network.isolate(self._somebody().address, [other.address for other in self._it.world.hosts])
        self._it.world.at(self._random.choice(DOWN_S), network.heal)


@pytest.mark.sim
def test_nothing_is_lost_whoever_votes() -> None:
    reached: Counter[str] = Counter()
    for seed in range(SEEDS):

        async def story(it: Story, seed: int = seed) -> None:
            await it.begin()
            await Chaos(it, seed, reached).play()
            await it.until(lambda: it.world.leader() is not None)
            # Learners that are left are promoted, as everybody is there.
            await it.until(lambda: not any(row.role == types_pb2.NODE_ROLE_LEARNER for row in it.rows.values()))
            leader = it.world.leader()
            assert leader is not None
            term = leader.daemon.voter.engine.term if leader.daemon and leader.daemon.voter else 0
            await asyncio.sleep(20)
            assert it.world.leader() is leader
            assert leader.daemon is not None
            assert leader.daemon.voter is not None
            assert leader.daemon.voter.engine.term == term
            await it.end(members=len(it.voters))

        played(story, voters=3, standbys=3, seed=seed)
    assert min(reached[what] for what in ("added", "removed", "transferred", "fallen", "isolated")) > 0, reached
