"""One member leads at a time; it knows when it does not; it can hand over."""

from __future__ import annotations

import asyncio

import pytest

from node.consensus.port import NotLeader, ProposalError, Role
from tests.consensus.conformance.kit import Cluster, Rig

SIZES = [1, 3]


@pytest.mark.parametrize("size", SIZES)
def test_all_know_the_leader_its_term_and_each_other(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        for member in cluster.members:
            engine = member.engine
            assert engine.leader == head.id
            assert engine.term == head.engine.term == head.seen[-1].term
            assert (engine.role is Role.LEADER) == (member is head)
            assert [(peer.id, peer.address, peer.voter) for peer in engine.peers] == [
                (other.id, other.address, True) for other in cluster.members
            ]
            assert engine.membership.voters == tuple(other.id for other in cluster.members)
            assert engine.last_index >= engine.commit_index == len(member.seen)

        def all_caught_up() -> bool:
            return all(peer.up and peer.match_index == head.engine.last_index for peer in head.engine.peers)

        await cluster.until(all_caught_up, "the leader hears how far the others are")

    rig.run(check, size)


@pytest.mark.parametrize("size", SIZES)
def test_the_leader_confirms_and_tells_the_index_to_read_at(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        await cluster.start(head, head.engine.confirm())
        index = await cluster.propose(head, b"p")
        for member in cluster.members:
            assert await cluster.start(member, member.engine.read_index()) >= index
        for member in cluster.members:
            if member is not head:
                with pytest.raises(NotLeader):
                    await cluster.start(member, member.engine.confirm())

    rig.run(check, size)


def test_many_confirm_at_once(rig: Rig) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        await asyncio.gather(*(cluster.start(head, head.engine.confirm()) for _ in range(200)))

    rig.run(check, 3)


@pytest.mark.parametrize("named", [False, True])
def test_leadership_is_handed_over(rig: Rig, named: bool) -> None:
    async def check(cluster: Cluster) -> None:
        old = await cluster.settled()
        term = old.engine.term
        wanted = next(member for member in reversed(cluster.members) if member is not old)
        index = await cluster.propose(old, b"before")
        found = await cluster.start(old, old.engine.transfer(wanted.id if named else None))
        assert found != old.id
        assert found == wanted.id or not named
        head = await cluster.settled()
        assert head.id == found
        assert head.engine.term > term
        later = await cluster.propose(old, b"after")
        assert later > index
        await cluster.everywhere(later)
        assert head.payloads == [b"before", b"after"]

    rig.run(check, 3)


def test_there_is_nobody_to_hand_over_to(rig: Rig) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        with pytest.raises(NotLeader):
            await cluster.start(head, head.engine.transfer())
        assert head.leads

    rig.run(check, 1)


def test_handing_over_to_a_member_that_is_down_fails_and_this_one_goes_on(rig: Rig) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        down = next(member for member in cluster.members if member is not head)
        await cluster.kill(down)
        with pytest.raises(TimeoutError):
            await cluster.start(head, head.engine.transfer(down.id))
        await cluster.surely(b"p", [head])

    rig.run(check, 3)


def test_only_the_leader_hands_over(rig: Rig) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        other = next(member for member in cluster.members if member is not head)
        with pytest.raises(NotLeader):
            await cluster.start(other, other.engine.transfer())

    rig.run(check, 3)


def test_a_leader_that_is_cut_off_confirms_nothing_and_acknowledges_nothing(rig: Rig) -> None:
    async def check(cluster: Cluster) -> None:
        old = await cluster.settled()
        await cluster.surely(b"before")
        others = [member for member in cluster.members if member is not old]
        cluster.isolate(old)
        lost = cluster.propose(old, b"lost or late")
        with pytest.raises(NotLeader):
            await cluster.start(old, old.engine.confirm())
        head = await cluster.settled(others)
        assert head.engine.term > old.engine.term or not old.leads
        index = await cluster.surely(b"meanwhile", others)
        await cluster.until(lambda: not old.leads, "it steps down")
        with pytest.raises(ProposalError):
            await cluster.propose(old, b"refused")
        cluster.heal()
        await cluster.settled()
        await cluster.everywhere(index)
        await asyncio.wait([lost])
        expected = [b"before", b"lost or late", b"meanwhile"]
        if lost.exception() is not None:
            assert isinstance(lost.exception(), ProposalError)
            expected = [data for data in expected if data in head.payloads]
        assert sorted(head.payloads) == sorted(expected)
        assert b"refused" not in head.payloads

    rig.run(check, 3)


def test_a_member_that_was_cut_off_catches_up(rig: Rig) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        away = next(member for member in cluster.members if member is not head)
        cluster.isolate(away)
        for number in range(30):
            await cluster.propose(head, b"p%d" % number)
        assert not away.payloads
        cluster.heal()
        await cluster.settled()
        assert away.payloads == [b"p%d" % number for number in range(30)]

    rig.run(check, 3)


@pytest.mark.parametrize("size", SIZES)
def test_a_member_that_may_not_lead_steps_down(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        old = await cluster.settled()
        term = old.engine.term
        cluster.start(old, _allow(old.engine, allowed=False))
        await cluster.until(lambda: not old.leads, "it steps down")
        others = [member for member in cluster.members if member is not old]
        if others:
            head = await cluster.settled(others)
            assert head.engine.term > term
        else:
            with pytest.raises(NotLeader):
                await cluster.propose(old, b"p")
        cluster.start(old, _allow(old.engine, allowed=True))
        await cluster.surely(b"after")

    rig.run(check, size)


async def _allow(engine: object, *, allowed: bool) -> None:
    engine.allow_campaign(allowed)  # type: ignore[attr-defined]
