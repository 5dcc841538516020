"""Daemons that come to vote and cease to, while a client writes: nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from node.consensus.raftos.settings import RaftSettings
from node.core.faults import Code
from tests.sim.members_kit import Story, played


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
        # Its leader tells it for as long as this.
        await asyncio.sleep(RaftSettings().farewell_s + 1)
        it.host(gone).boot()
        await asyncio.sleep(20)
        assert it.world.leader() is leader
        assert (await it.ask(leader.id, "Status", pb.StatusRequest())).term == status.term
        await it.until(lambda: it.rows[gone].online)
        # Its own log still says that it votes.
        seen = await it.ask(gone, "ListVoters", pb.ListVotersRequest())
        assert [view.id for view in seen.voters] == it.voters
        assert seen.known
        notice = (await it.ask(gone, "Status", pb.StatusRequest())).notice
        assert f"{gone} was removed from the voters" in notice
        assert f"`cortex voters add {gone}`" in notice
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
