"""How a proposal ends that is not simply committed."""

from __future__ import annotations

import asyncio

import pytest

from node.consensus.port import NotLeader, OutcomeUnknown, Overloaded, ProposalError, Superseded
from tests.consensus.conformance.kit import Cluster, Rig

SIZES = [1, 3]


@pytest.mark.parametrize("size", SIZES)
def test_a_member_that_stops_ends_what_waits(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        cluster.isolate(head)
        tasks = [cluster.propose(head, b"p%d" % number) for number in range(20)]
        await asyncio.sleep(0.05)
        await cluster.start(head, head.engine.stop())
        await asyncio.wait(tasks)
        for task in tasks:
            # Alone it needs nobody's consent.
            assert task.exception() is None or isinstance(task.exception(), OutcomeUnknown | NotLeader)
        with pytest.raises(NotLeader):
            await cluster.propose(head, b"late")
        assert not head.leads

    rig.run(check, size)


def test_without_a_majority_a_follower_knows_no_leader(rig: Rig) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        others = [member for member in cluster.members if member is not head]
        for member in cluster.members:
            cluster.isolate(member)
        for member in others:
            await cluster.until(lambda member=member: member.engine.leader is None, "it forgets the leader")
            with pytest.raises(NotLeader):
                await cluster.propose(member, b"p")
        cluster.heal()
        await cluster.settled()

    rig.run(check, 3)


def test_a_proposal_under_way_when_the_leader_dies_ends_and_ends_truly(rig: Rig) -> None:
    async def check(cluster: Cluster) -> None:
        outcomes: dict[bytes, asyncio.Task[int]] = {}
        for generation in range(3):
            head = await cluster.settled()
            others = [member for member in cluster.members if member is not head]
            for number in range(30):
                data = b"%d %d" % (generation, number)
                outcomes[data] = cluster.propose(others[number % 2], data)
            await asyncio.sleep(0.002 * generation)
            await cluster.kill(head)
            await asyncio.wait([task for task in outcomes.values() if not task.done()] or [_done()])
            await cluster.settled()
            await cluster.boot(head)
        await cluster.surely(b"last")
        last = (await cluster.settled()).payloads
        for data, task in outcomes.items():
            error = task.exception()
            assert error is None or isinstance(error, ProposalError)
            if error is None:
                assert data in last
            elif isinstance(error, NotLeader | Superseded | Overloaded):
                assert data not in last
        assert len(last) == len(set(last))

    rig.run(check, 3)


def _done() -> asyncio.Future[int]:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.set_result(0)
    return future
