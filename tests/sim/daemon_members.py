"""An operator who changes who votes while everything else goes wrong in a cluster of daemons."""

from __future__ import annotations

import asyncio
import random

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from tests.sim.daemon_client import Client
from tests.sim.daemon_world import World

REACHED = ("voters added", "voters removed", "leaders removed", "voters that came back", "leaders transferred")
STANDBYS = 2
_PATIENCE = 5


def shifts(seed: int) -> bool:
    """Whether voters come and go in this seed: a fifth of them."""
    return seed // 10 % 10 in (2, 6)


class Operator:
    """run() goes on until `over`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = random.Random(f"{world.seed}/operator")
        self._client = Client(world, 96)
        self._removed: set[str] = set()
        self.over = False

    async def run(self) -> None:
        while not self.over:
            await asyncio.sleep(self._random.choice([0.5, 2.0, 4.0]) * self._random.uniform(0.5, 1.5))
            replica = self._world.serving()
            if replica is None:
                continue
            membership = replica.consensus.membership
            voters, strangers = list(membership.voters), self._strangers([one.id for one in membership.members])
            deed = self._random.random()
            if deed < 0.15:
                reply = await self._client.ask("TransferLeader", pb.TransferLeaderRequest(), _PATIENCE)
                self._count("leaders transferred", reply)
            elif strangers and (len(voters) < 3 or deed < 0.6):
                await self._add(self._random.choice(strangers))
            elif len(voters) > 1:
                leader = self._world.leader()
                leads = leader is not None and self._random.random() < 0.4
                await self._remove(leader.id if leader is not None and leads else self._random.choice(voters))

    def _strangers(self, members: list[str]) -> list[str]:
        return [host.id for host in (*self._world.voters, *self._world.standbys) if host.id not in members]

    async def _add(self, name: str) -> None:
        """Learner first, which the leader's duty makes a voter once it has caught up."""
        request = pb.AddVoterRequest(mutation=self._client.mutation(), node=name, wait_ms=3000)
        reply = await self._client.ask("AddVoter", request, _PATIENCE)
        self._count("voters added", reply)
        if reply is not None:
            self._world.counts["voters that came back"] += name in self._removed
            self._removed.discard(name)

    async def _remove(self, name: str) -> None:
        leader = self._world.leader()
        request = pb.RemoveVoterRequest(mutation=self._client.mutation(), node=name)
        reply = await self._client.ask("RemoveVoter", request, _PATIENCE)
        self._count("voters removed", reply)
        if reply is not None:
            self._world.counts["leaders removed"] += leader is not None and leader.id == name
            self._removed.add(name)

    def _count(self, what: str, reply: object) -> None:
        self._world.counts[what] += reply is not None


def check_roles(world: World) -> None:
    """At the end: rows say who votes."""
    replica = world.serving()
    if replica is None:
        return
    rows = {row.id for row in replica.state.nodes.values() if row.role == types_pb2.NODE_ROLE_VOTER}
    if rows != set(replica.consensus.membership.voters):
        world.report(f"{sorted(rows)} vote by their rows, {list(replica.consensus.membership.voters)} in truth")
