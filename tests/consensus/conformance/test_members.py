"""The set of members changes through the log, one at a time."""

from __future__ import annotations

from contextlib import suppress

import pytest

from node.consensus.membership import Change, ChangeKind, ChangeRefused
from node.consensus.port import NotLeader
from tests.consensus.conformance.kit import Cluster, Rig

SIZES = [1, 3]
NEW = Change(ChangeKind.ADD_LEARNER, "n9", "n9:1")
REMOVED = Change(ChangeKind.REMOVE, "n9")


@pytest.mark.parametrize("size", SIZES)
def test_a_learner_is_added_and_removed(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        index = await cluster.start(head, head.engine.change_membership(NEW, b"add"))
        await cluster.everywhere(index)
        for member in cluster.members:
            assert member.engine.membership.learners == ("n9",)
            assert member.seen[index - 1].membership == member.engine.membership.encode()
            assert [peer.id for peer in member.engine.peers if not peer.voter] == ["n9"]
            # A copy of the state may be of before the change.
            assert member.engine.membership_at(index).learners == ("n9",)
            assert member.engine.membership_at(index - 1) == member.engine.membership.after(REMOVED)
        index = await cluster.start(head, head.engine.change_membership(REMOVED, b"remove"))
        await cluster.everywhere(index)
        for member in cluster.members:
            assert member.engine.membership.learners == ()
            assert member.payloads == [b"add", b"remove"]

    rig.run(check, size)


@pytest.mark.parametrize("size", SIZES)
def test_a_change_that_makes_no_sense_is_refused(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        with pytest.raises(ChangeRefused):
            await cluster.start(head, head.engine.change_membership(Change(ChangeKind.REMOVE, "n9"), b"x"))
        assert head.payloads == []

    rig.run(check, size)


def test_only_the_leader_changes_the_membership(rig: Rig) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        other = next(member for member in cluster.members if member is not head)
        with pytest.raises(NotLeader):
            await cluster.start(other, other.engine.change_membership(NEW, b"add"))

    rig.run(check, 3)


@pytest.mark.parametrize("size", SIZES)
def test_the_membership_outlives_a_restart(rig: Rig, size: int) -> None:
    async def check(cluster: Cluster) -> None:
        head = await cluster.settled()
        await cluster.start(head, head.engine.change_membership(NEW, b"add"))
        for member in cluster.members:
            await cluster.kill(member)
        for member in cluster.members:
            await cluster.boot(member)
        await cluster.settled()
        for member in cluster.members:
            assert member.engine.membership.learners == ("n9",)
            assert member.engine.membership_at(member.engine.commit_index).learners == ("n9",)
            # Who began behind the change may not know, and says so.
            with suppress(LookupError):
                assert not member.engine.membership_at(1).learners

    rig.run(check, size)
