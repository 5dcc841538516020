"""Daemons that come to vote and cease to, while a client writes: nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from node.core.faults import Code, Fault
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


def played(story: Callable[[Story], Coroutine[Any, Any, None]], voters: int, standbys: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        world = World(loop, 1, voters=voters, workers=0, standbys=standbys)
        structlog.configure(processors=[world.log])
        cluster = Story(world)
        await cluster.writer.life.spawn(story(cluster))

    try:
        run(main, limit_s=3600)
    finally:
        structlog.reset_defaults()


@pytest.mark.sim
def test_one_three_five_three_under_a_client_that_writes_all_the_time() -> None:
    async def story(it: Story) -> None:
        await it.begin()
        for name in ("s1", "s2", "s3", "s4"):
            await it.add(name)
        assert it.voters == ["n1", "s1", "s2", "s3", "s4"]
        leader = it.world.leader()
        assert leader is not None
        await it.remove(leader.id)
        assert it.world.leader() is not leader
        await it.remove(next(name for name in it.voters if it.host(name) is not it.world.leader()))
        await it.end(members=3)

    played(story, voters=1, standbys=4)


@pytest.mark.sim
def test_a_daemon_that_was_removed_goes_on_as_a_worker_and_disturbs_nobody() -> None:
    async def story(it: Story) -> None:
        await it.begin()
        leader = it.world.leader()
        assert leader is not None
        gone = next(name for name in it.voters if name != leader.id)
        await it.remove(gone)
        # It asks the others now, and sees what they have.
        seen = await it.ask(gone, "ListVoters", pb.ListVotersRequest())
        assert [view.id for view in seen.voters] == it.voters
        status = await it.ask(gone, "Status", pb.StatusRequest())
        assert status.leader == leader.id
        term = status.term
        # Its configuration still names it as a voter.
        it.host(gone).kill()
        it.host(gone).boot()
        await asyncio.sleep(20)
        assert it.world.leader() is leader
        status = await it.ask(leader.id, "Status", pb.StatusRequest())
        assert status.term == term
        await it.until(lambda: it.rows[gone].online)
        assert it.rows[gone].role == types_pb2.NODE_ROLE_WORKER
        await it.end(members=2)

    played(story, voters=3, standbys=0)


@pytest.mark.sim
def test_a_daemon_that_was_removed_while_it_was_away_disturbs_nobody() -> None:
    async def story(it: Story) -> None:
        await it.begin()
        leader = it.world.leader()
        assert leader is not None
        gone = next(name for name in it.voters if name != leader.id)
        it.host(gone).kill()
        await it.until(lambda: any(not peer.up for peer in it.world.serving().peers))  # type: ignore[union-attr]
        await it.remove(gone)
        status = await it.ask(leader.id, "Status", pb.StatusRequest())
        it.host(gone).boot()
        await asyncio.sleep(20)
        assert it.world.leader() is leader
        assert (await it.ask(leader.id, "Status", pb.StatusRequest())).term == status.term
        await it.until(lambda: it.rows[gone].online)
        await it.end(members=2)

    played(story, voters=3, standbys=0)


@pytest.mark.sim
def test_a_standby_passes_everything_on_until_it_votes() -> None:
    async def story(it: Story) -> None:
        await it.begin()
        for method, request in (
            ("ListVoters", pb.ListVotersRequest()),
            ("ListNodes", pb.ListNodesRequest()),
            ("GetSettings", pb.GetSettingsRequest(freshness=pb.Freshness(linearizable=True))),
        ):
            assert (await it.ask("s1", method, request)).index
        await it.add("s1")
        status = await it.ask("s1", "Status", pb.StatusRequest())
        assert status.node == "s1"
        await it.end(members=2)

    played(story, voters=1, standbys=1)


@pytest.mark.sim
def test_an_unreachable_daemon_stays_a_learner_that_can_be_removed() -> None:
    async def story(it: Story) -> None:
        await it.begin()
        it.host("s1").kill()
        request = pb.AddVoterRequest(mutation=it.operator.mutation(), node="s1", wait_ms=2000)
        reply = await it.operator.change("AddVoter", request)
        assert isinstance(reply, pb.ChangeVoterReply)
        assert not reply.voter
        await asyncio.sleep(10)
        listed = await it.ask("n1", "ListVoters", pb.ListVotersRequest())
        assert [(view.id, view.voter, view.up) for view in listed.voters if view.id == "s1"] == [
            ("s1", False, False)
        ]
        assert it.rows["s1"].role == types_pb2.NODE_ROLE_LEARNER
        await it.remove("s1")
        assert it.rows["s1"].role == types_pb2.NODE_ROLE_WORKER
        await it.end(members=3)

    played(story, voters=3, standbys=1)


@pytest.mark.sim
def test_what_would_break_quorum_is_refused() -> None:
    async def story(it: Story) -> None:
        await it.begin()
        leader = it.world.leader()
        assert leader is not None
        one, other = (name for name in it.voters if name != leader.id)
        it.host(one).kill()
        await it.until(lambda: any(not peer.up for peer in it.world.serving().peers))  # type: ignore[union-attr]
        for name in (other, leader.id):
            request = pb.RemoveVoterRequest(mutation=it.operator.mutation(), node=name)
            assert await it.ask(leader.id, "RemoveVoter", request) == Code.WRONG_STATE
        assert it.world.leader() is leader
        it.host(one).boot()
        await it.end(members=3)

    played(story, voters=3, standbys=0)


@pytest.mark.sim
def test_a_leader_that_stops_or_is_asked_to_hands_over_at_once() -> None:
    async def story(it: Story) -> None:
        await it.begin()
        for stops in (False, True):
            leader = it.world.leader()
            assert leader is not None
            term = (await it.ask(leader.id, "Status", pb.StatusRequest())).term
            begun = asyncio.get_running_loop().time()
            if stops:
                assert leader.daemon is not None
                assert leader.machine.life is not None
                await leader.machine.life.spawn(leader.daemon.stop())
            else:
                reply = await it.ask(leader.id, "TransferLeader", pb.TransferLeaderRequest())
                assert reply.leader != leader.id
                assert 0 < reply.took_us < 300_000
            await it.until(lambda old=leader: it.world.leader() not in (None, old))  # type: ignore[misc]
            # Far less than an election after silence takes.
            assert asyncio.get_running_loop().time() - begun < 0.5
            successor = it.world.leader()
            assert successor is not None
            assert (await it.ask(successor.id, "Status", pb.StatusRequest())).term == term + 1
            if stops:
                leader.kill()
                leader.boot()
        await it.end(members=3)

    played(story, voters=3, standbys=0)
