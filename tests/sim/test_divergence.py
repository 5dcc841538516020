"""A voter whose rows differ from the majority's makes them anew from the log, whether it leads or follows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import structlog

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from node.core.model import Row
from node.replica import Replica
from node.store.errors import StoreDamaged
from node.store.store import Store
from tests.sim.daemon_scenario import Client
from tests.sim.daemon_world import Host, World
from tests.sim.loop import SimLoop, run

Play = Callable[[World, Callable[[int], Awaitable[None]]], Awaitable[None]]


def play(story: Play, monkeypatch: pytest.MonkeyPatch) -> World:
    """Run a story in a cluster of three whose harness does not look at digests itself."""
    worlds: list[World] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        world = World(loop, 1, voters=3, workers=0)
        worlds.append(world)
        structlog.configure(processors=[world.log])
        # The harness sees the difference at once; this is about what the daemons see.
        monkeypatch.setattr(world.checker, "applied", lambda *_: None)
        for host in world.hosts:
            host.boot()
        client = Client(world, 1)

        async def submit(count: int) -> None:
            for _ in range(count):
                task = pb.TaskRequest(spec=types_pb2.TaskSpec(argv=[b"sim", b"2", b"0"]))
                await client.change("Submit", pb.SubmitRequest(mutation=client.mutation(), task=task))

        async def submitted(count: int) -> None:
            await client.life.spawn(submit(count))
            await asyncio.sleep(5)

        await submitted(10)
        await story(world, submitted)

    try:
        run(main, limit_s=600)
    finally:
        structlog.reset_defaults()
    return worlds[0]


def victim_of(world: World, *, leads: bool) -> Host:
    leader = world.leader()
    assert leader is not None
    return leader if leads else next(host for host in world.voters if host is not leader)


def replica_of(host: Host) -> Replica:
    assert host.daemon is not None
    assert host.daemon.voter is not None
    return host.daemon.voter.replica


@pytest.mark.sim
@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
def test_who_differs_makes_its_rows_anew(leads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World, submit: Callable[[int], Awaitable[None]]) -> None:
        victim = victim_of(world, leads=leads)
        former = replica_of(victim)
        former.state.digest += 1
        await submit(20)
        assert replica_of(victim) is not former
        digests = {host.id: replica_of(host).state.digest for host in world.voters}
        assert len(set(digests.values())) == 1, digests
        await submit(5)
        saved, digest = victim.store.recount_digest()
        assert saved.digest == digest == replica_of(victim_of(world, leads=True)).state.digest

    assert play(story, monkeypatch).violations.found == []


@pytest.mark.sim
def test_who_differs_again_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World, submit: Callable[[int], Awaitable[None]]) -> None:
        victim = victim_of(world, leads=False)
        for _ in range(2):
            replica_of(victim).state.digest += 1
            await submit(20)

    stopped = play(story, monkeypatch).violations.found
    assert len(stopped) == 1
    assert "differs from the majority's" in stopped[0]


@pytest.mark.sim
def test_rows_that_cannot_be_read_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise StoreDamaged("The store is damaged.", "It is rebuilt.")

    async def story(world: World, submit: Callable[[int], Awaitable[None]]) -> None:
        victim = victim_of(world, leads=True)
        former = replica_of(victim)
        monkeypatch.setattr(victim.store, "save", damaged)
        await submit(5)
        assert replica_of(victim) is not former
        await submit(5)
        assert victim.store.recount_digest()[1] == replica_of(victim_of(world, leads=True)).state.digest

    assert play(story, monkeypatch).violations.found == []


@pytest.mark.sim
def test_rows_that_cannot_be_loaded_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Store.load_live
    failures = [StoreDamaged("A row cannot be read.", "It is rebuilt.")]

    def load_live(self: Store) -> list[Row]:
        if failures:
            raise failures.pop()
        return sound(self)

    async def story(world: World, submit: Callable[[int], Awaitable[None]]) -> None:
        victim = victim_of(world, leads=False)
        victim.kill()
        monkeypatch.setattr(Store, "load_live", load_live)
        victim.boot()
        await submit(5)
        assert not failures
        assert victim.store.recount_digest()[1] == replica_of(victim_of(world, leads=True)).state.digest

    assert play(story, monkeypatch).violations.found == []
