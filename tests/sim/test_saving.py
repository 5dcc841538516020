"""A voter that cannot save hands leadership on, stops applying at the bound, and comes back when its disk does."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from node.store.errors import StoreUnavailable
from tests.sim.daemon_scenario import Client
from tests.sim.daemon_world import World
from tests.sim.loop import SimLoop, run

_BOUND = 200


@pytest.mark.sim
def test_a_full_disk_under_the_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.saver.BOUND", _BOUND)

    def refuse(*_: object) -> None:
        raise StoreUnavailable("The store /a/b cannot be used: the disk is full.", "Free some space.")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        world = World(loop, 1, voters=3, workers=0)
        structlog.configure(processors=[world.log])
        for host in world.hosts:
            host.boot()
        client = Client(world, 1)

        async def submit(count: int) -> None:
            for _ in range(count):
                task = pb.TaskRequest(spec=types_pb2.TaskSpec(argv=[b"sim", b"2", b"0"]))
                request = pb.SubmitRequest(mutation=client.mutation(), task=task)
                assert await client.change("Submit", request) is not None

        await client.life.spawn(submit(5))
        victim = world.leader()
        assert victim is not None
        assert victim.daemon is not None
        assert victim.daemon.voter is not None
        replica = victim.daemon.voter.replica
        with monkeypatch.context() as broken:
            broken.setattr(victim.store, "save", refuse)
            await client.life.spawn(submit(1))
            await asyncio.sleep(10)
            leader = world.leader()
            assert leader is not None
            assert leader is not victim
            assert leader.daemon is not None
            assert leader.daemon.voter is not None
            nodes = leader.daemon.voter.replica.state.nodes
            cause, _, remedy = nodes[victim.id].alarm.partition(" (the disk is full). ")
            assert cause.startswith("Its rows cannot be saved: ")
            assert remedy.startswith("Make room")
            await client.life.spawn(submit(100))
            behind = leader.daemon.voter.replica.state.index - replica.state.index
            assert behind > 50, "it stopped at the bound"
            assert world.leader() is leader
        await asyncio.sleep(10)
        assert replica.state.index == leader.daemon.voter.replica.state.index
        assert replica.saver.saved_index == replica.state.index
        assert leader.daemon.voter.replica.state.nodes[victim.id].alarm == ""
        assert world.violations.found == []

    try:
        run(main, limit_s=600)
    finally:
        structlog.reset_defaults()
