"""What was acknowledged is in the log, once, in order, everywhere."""

from __future__ import annotations

import asyncio

import pytest

from node.consensus.port import TooLarge
from tests.consensus.conformance.kit import NOOP, Cluster, Rig

SIZES = [1, 3]


@pytest.mark.parametrize("size", SIZES)
def test_the_first_entry_of_a_term_is_a_no_op(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        assert cluster.log[0].index == 1
        terms: set[int] = set()
        for entry in cluster.log:
            assert (entry.term not in terms) == (entry.data.rpartition(b"@")[0] == NOOP)
            terms.add(entry.term)

    rig.run(check, size)


@pytest.mark.parametrize("size", SIZES)
def test_proposals_are_answered_with_their_index(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        indexes = [await cluster.propose(head, b"p%d" % number) for number in range(5)]
        assert indexes == list(range(indexes[0], indexes[0] + 5))
        await cluster.everywhere(indexes[-1])
        for member in cluster.members:
            found = [member.seen[index - 1].data.rpartition(b"@")[0] for index in indexes]
            assert found == [b"p%d" % number for number in range(5)]

    rig.run(check, size)


@pytest.mark.parametrize("size", SIZES)
def test_many_at_once_are_committed_once_each(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        proposals = [b"p%d" % number for number in range(300)]
        tasks = [cluster.propose(cluster.members[number % size], data) for number, data in enumerate(proposals)]
        indexes = await asyncio.gather(*tasks)
        assert len(set(indexes)) == len(proposals)
        await cluster.everywhere(max(indexes))
        for member in cluster.members:
            assert sorted(member.payloads) == sorted(proposals)
            for index, data in zip(indexes, proposals, strict=True):
                assert member.seen[index - 1].data.rpartition(b"@")[0] == data

    rig.run(check, size)


@pytest.mark.parametrize("size", SIZES)
def test_each_members_proposals_keep_their_order(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        tasks = [
            cluster.propose(member, b"%s %d" % (member.id.encode(), number))
            for number in range(50)
            for member in cluster.members
        ]
        await cluster.everywhere(max(await asyncio.gather(*tasks)))
        for member in cluster.members:
            mine = [data for data in cluster.members[0].payloads if data.startswith(member.id.encode())]
            assert mine == [b"%s %d" % (member.id.encode(), number) for number in range(50)]

    rig.run(check, size)


def test_entries_are_stamped_in_the_order_of_the_log(rig: Rig) -> None:
    async def check(cluster: Cluster) -> None:
        tasks = [cluster.propose(cluster.members[0], b"p") for _ in range(100)]
        await asyncio.gather(*tasks)
        stamps = [int(entry.data.rpartition(b"@")[2]) for entry in cluster.log]
        assert stamps == sorted(stamps)

    rig.run(check, 1)


@pytest.mark.parametrize("size", SIZES)
def test_the_largest_proposal_is_taken_and_a_larger_one_refused(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        for member in cluster.members:
            with pytest.raises(TooLarge, match=str(rig.limit_bytes)):
                await cluster.propose(member, bytes(rig.limit_bytes + 1))
            index = await cluster.propose(member, bytes(rig.limit_bytes))
            await cluster.everywhere(index)
        assert cluster.members[-1].payloads == [bytes(rig.limit_bytes)] * size

    rig.run(check, size)


@pytest.mark.parametrize("size", SIZES)
def test_pages_of_entries_join_without_a_gap(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        await asyncio.gather(*(cluster.propose(cluster.members[0], b"p%d" % number) for number in range(40)))
        engine = (await cluster.settled()).engine
        whole = list(engine.entries(0, 1000))
        assert [entry.index for entry in whole] == list(range(1, engine.commit_index + 1))
        paged = []
        while page := engine.entries(len(paged), 7):
            assert len(page) <= 7
            paged += page
        assert paged == whole
        assert list(engine.entries(engine.commit_index, 10)) == []

    rig.run(check, size)


@pytest.mark.parametrize("size", SIZES)
def test_a_restart_goes_on_where_the_log_ended(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        for number in range(10):
            await cluster.surely(b"p%d" % number)
        before, term = list(cluster.log), cluster.members[0].engine.term
        for member in cluster.members:
            await cluster.kill(member)
        for member in cluster.members:
            await cluster.boot(member)
        head = await cluster.settled()
        assert head.seen[: len(before)] == before
        assert head.engine.term > term
        index = await cluster.propose(head, b"after")
        assert index > len(before) + 1
        await cluster.everywhere(index)

    rig.run(check, size)


def test_nothing_acknowledged_is_lost_when_leaders_are_killed(rig: Rig) -> None:
    async def check(cluster: Cluster) -> None:
        kept: list[bytes] = []
        for generation in range(3):
            head = await cluster.settled()
            tasks = {
                b"%d %d" % (generation, number): cluster.propose(head, b"%d %d" % (generation, number))
                for number in range(20)
            }
            await next(iter(tasks.values()))
            acknowledged = [data for data, task in tasks.items() if task.done() and not task.exception()]
            await cluster.kill(head)
            kept += acknowledged
            await cluster.settled()
            await cluster.boot(head)
        await cluster.settled()
        for member in cluster.members:
            assert set(kept) <= set(member.payloads)
            assert len(member.payloads) == len(set(member.payloads))

    rig.run(check, 3)
