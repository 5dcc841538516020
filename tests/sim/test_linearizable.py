"""Linearizable reads: a leader that is cut off, or was frozen, shows nothing rather than what was once so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog

from cortex.v1 import cluster_pb2 as pb
from node.core.faults import Code, Fault
from node.link import Caller, LinkClosed
from tests.sim.daemon_client import Client
from tests.sim.daemon_world import Host, World
from tests.sim.loop import SimLoop, run

NAME = "max_queue_depth"
ANN = Caller("ann")
# An election and what follows, several times over.
SOON_S = 10.0


class Cut:
    """Three voters, of which the leader is about to be cut off from the others; clients reach all of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = Client(world, 1)

    async def begin(self) -> Host:
        """The leader, once it serves and has told what it leads."""
        for host in self.world.hosts:
            host.boot()
        await self.write("1000")
        leader = self.world.leader()
        assert leader is not None
        return leader

    async def write(self, value: str) -> None:
        request = pb.SetSettingRequest(mutation=self.client.mutation(), name=NAME, value=value)
        assert await self.client.life.spawn(self.client.change("SetSetting", request)) is not None

    async def read(self, host: Host, *, linearizable: bool) -> str:
        """The setting as this daemon shows it; the code of its refusal otherwise."""
        request = pb.GetSettingsRequest(freshness=pb.Freshness(linearizable=linearizable))
        try:
            reply = await self.client.link.call(host.address, "GetSettings", request, SOON_S, ANN)
        except Fault as fault:
            return fault.code
        except LinkClosed:
            return "closed"
        assert isinstance(reply, pb.GetSettingsReply)
        assert reply.index
        return next(view.value for view in reply.settings if view.name == NAME)

    def isolate(self, host: Host) -> None:
        self.world.network.isolate(host.address, [other.address for other in self.world.hosts])


def played(story: Callable[[Cut], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        world = World(loop, 1, voters=3, workers=0)
        structlog.configure(processors=[world.log])
        cut = Cut(world)
        await cut.client.life.spawn(story(cut))
        assert world.violations.found == []

    try:
        run(main, limit_s=600)
    finally:
        structlog.reset_defaults()


@pytest.mark.sim
def test_a_leader_that_is_cut_off_shows_nothing_by_a_quorum_that_it_lacks() -> None:
    async def story(cut: Cut) -> None:
        old = await cut.begin()
        assert await cut.read(old, linearizable=True) == "1000"
        cut.isolate(old)
        # It still thinks that it leads.
        assert old.daemon is not None
        assert old.daemon.voter is not None
        assert old.daemon.voter.replica.serving
        plain, strict = await asyncio.gather(cut.read(old, linearizable=False), cut.read(old, linearizable=True))
        assert plain == "1000"
        assert strict == Code.NO_LEADER
        await cut.write("2000")
        assert await cut.read(old, linearizable=False) == "1000"
        assert await cut.read(old, linearizable=True) == Code.NO_LEADER
        cut.world.network.heal()
        leader = cut.world.leader()
        assert leader is not None
        assert leader is not old
        assert await cut.read(leader, linearizable=True) == "2000"

    played(story)


@pytest.mark.sim
def test_any_voter_shows_what_was_acknowledged_before_and_a_follower_that_is_cut_off_nothing() -> None:
    async def story(cut: Cut) -> None:
        leader = await cut.begin()
        follower, other = (host for host in cut.world.hosts if host is not leader)
        for number in range(2000, 2020):
            await cut.write(str(number))
            for host in (follower, other, leader):
                assert await cut.read(host, linearizable=True) == str(number)
        cut.isolate(follower)
        await cut.write("3000")
        plain, strict = await asyncio.gather(
            cut.read(follower, linearizable=False), cut.read(follower, linearizable=True)
        )
        assert (plain, strict) == ("2019", Code.NO_LEADER)

    played(story)


@pytest.mark.sim
def test_a_leader_that_was_frozen_does_not_show_what_it_had() -> None:
    async def story(cut: Cut) -> None:
        old = await cut.begin()
        life = old.machine.life
        assert life is not None
        life.pause()
        # Asked now, answered when it goes on.
        waiting = asyncio.ensure_future(cut.read(old, linearizable=True))
        await cut.write("2000")
        life.resume()
        strict = await cut.read(old, linearizable=True)
        assert strict in ("2000", Code.NO_LEADER, Code.DEADLINE, "closed")
        assert await waiting in ("2000", Code.NO_LEADER, Code.DEADLINE, "closed")

    played(story)
