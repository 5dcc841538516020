"""A cluster of whole daemons whose voters come and go: a client that writes all the time, and an operator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from node.core.faults import Fault
from node.link import Caller, LinkClosed
from tests.sim.daemon_client import Client
from tests.sim.daemon_world import Host, World
from tests.sim.loop import SimLoop, run

ANN = Caller("ann")
PATIENCE_S = 120.0


class Story:
    """A cluster of few voters with standbys, one client that writes all the time, and an operator."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.writer = Client(world, 1)
        self.operator = Client(world, 2)
        self.acknowledged: list[str] = []
        self.acknowledged_at: dict[str, int] = {}
        """Index of the entry that made each."""
        self.writing = True

    async def begin(self) -> None:
        for host in self.world.hosts:
            host.boot()
        await self.until(lambda: self.world.leader() is not None)
        self.load = asyncio.ensure_future(self._write())
        await self.until(lambda: len(self.acknowledged) > 5)
        # A standby is known as soon as its worker has joined.
        await self.until(lambda: len(self.rows) == len(self.world.hosts))

    async def _write(self) -> None:
        while self.writing:
            task = pb.TaskRequest(spec=types_pb2.TaskSpec(argv=[b"sim", b"2", b"0"], kill_timeout_ms=100))
            request = pb.SubmitRequest(mutation=self.writer.mutation(), task=task)
            reply = await self.writer.change("Submit", request)
            assert isinstance(reply, pb.SubmitReply), "no call fails for good"
            self.acknowledged.append(reply.id)
            self.acknowledged_at[reply.id] = reply.index
            await asyncio.sleep(0.1)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    @property
    def rows(self) -> dict[str, types_pb2.Node]:
        replica = self.world.serving()
        return dict(replica.state.nodes) if replica is not None else {}

    @property
    def voters(self) -> list[str]:
        replica = self.world.serving()
        return list(replica.consensus.membership.voters) if replica is not None else []

    def host(self, name: str) -> Host:
        return next(host for host in self.world.hosts if host.id == name)

    async def add(self, name: str) -> None:
        """Learner, then voter."""
        request = pb.AddVoterRequest(mutation=self.operator.mutation(), node=name, wait_ms=5000)
        reply = await self.operator.change("AddVoter", request)
        assert isinstance(reply, pb.ChangeVoterReply), self.world.counts
        await self.until(lambda: name in self.voters)

    async def remove(self, name: str) -> None:
        request = pb.RemoveVoterRequest(mutation=self.operator.mutation(), node=name)
        reply = await self.operator.change("RemoveVoter", request)
        assert isinstance(reply, pb.ChangeVoterReply), self.world.counts
        await self.until(lambda: name not in self.voters and self.world.serving() is not None)

    async def ask(self, name: str, method: str, request: Any) -> Any:
        """What this one daemon says: its answer, or the code of its refusal."""
        try:
            return await self.operator.link.call(self.host(name).address, method, request, 10.0, ANN)
        except Fault as fault:
            return fault.code
        except LinkClosed:
            return "closed"

    async def end(self, members: int) -> None:
        """Every acknowledged write is there, on every voter alike; rows say who votes."""
        written = len(self.acknowledged)
        await self.until(lambda: len(self.acknowledged) > written + 5)
        self.writing = False
        await self.load
        assert len(self.voters) == members
        leader = self.world.serving()
        assert leader is not None
        await self.until(lambda: all(replica.state.index == leader.state.index for replica in self.replicas()))
        for replica in self.replicas():
            missing = [task_id for task_id in self.acknowledged if replica.task(task_id) is None]
            assert missing == []
            assert replica.state.digest == leader.state.digest
        await self.until(
            lambda: (
                {row.id for row in self.rows.values() if row.role == types_pb2.NODE_ROLE_VOTER} == set(self.voters)
            )
        )
        assert self.world.violations.found == []

    def replicas(self) -> list[Any]:
        daemons = [self.host(name).daemon for name in self.voters]
        return [daemon.voter.replica for daemon in daemons if daemon is not None and daemon.voter is not None]


def played(story: Callable[[Story], Coroutine[Any, Any, None]], voters: int, standbys: int, seed: int = 1) -> None:
    """Run it on virtual time."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        world = World(loop, seed, voters=voters, workers=0, standbys=standbys)
        structlog.configure(processors=[world.log])
        cluster = Story(world)
        await cluster.writer.life.spawn(story(cluster))

    try:
        run(main, limit_s=3600)
    finally:
        structlog.reset_defaults()
