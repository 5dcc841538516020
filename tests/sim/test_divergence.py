"""A voter whose state differs from the majority's stops and says so, whether it leads or follows."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from tests.sim.daemon_scenario import Client
from tests.sim.daemon_world import World
from tests.sim.loop import SimLoop, run


@pytest.mark.sim
@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
def test_who_differs_stops(leads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        world = World(loop, 1, voters=3, workers=0)
        structlog.configure(processors=[world.log])
        # The harness sees the difference at once; this is about what the daemons see.
        monkeypatch.setattr(world.checker, "applied", lambda *_: None)
        for host in world.hosts:
            host.boot()
        client = Client(world, 1)

        async def submit(count: int) -> None:
            for _ in range(count):
                spec = types_pb2.TaskSpec(argv=[b"sim", b"2", b"0"])
                task = pb.TaskRequest(spec=spec)
                await client.change("Submit", pb.SubmitRequest(mutation=client.mutation(), task=task))

        await client.life.spawn(submit(10))
        leader = world.leader()
        assert leader is not None
        victim = leader if leads else next(host for host in world.voters if host is not leader)
        assert victim.daemon is not None
        assert victim.daemon.voter is not None
        victim.daemon.voter.replica.state.digest += 1
        await client.life.spawn(submit(20))
        await asyncio.sleep(5)
        stopped = [found for found in world.violations.found if "differs from the majority's" in found]
        assert len(stopped) == 1
        assert f"{victim.id} stopped" in stopped[0]

    try:
        run(main, limit_s=600)
    finally:
        structlog.reset_defaults()
