"""The transfer family of etcd's raft (raft_test.go, TestLeaderTransfer*), on whole clusters."""

from __future__ import annotations

import asyncio

import pytest

from node.consensus.membership import ChangeKind
from node.consensus.port import NotLeader, ProposalError, Role
from tests.consensus.proposal_kit import Cluster, S, cluster_test, engine_of, propose, start
from tests.consensus.rigs import B, Ours
from tests.sim.engine_world import Voter
from tests.sim.loop import run


def transfer(voter: Voter, to: str | None = None) -> asyncio.Task[str]:
    return start(voter, engine_of(voter).transfer(to))


class TestTransfer:
    def test_to_one_that_is_up_to_date(self) -> None:
        """etcd raft TestLeaderTransferToUpToDateNode, and back: TestLeaderTransferBack."""

        async def check(cluster: Cluster) -> None:
            old, heir = cluster.head, cluster.others[0]
            await propose(old, "a")
            assert await transfer(old, heir.id) == heir.id
            assert cluster.head is heir
            await cluster.settled()
            assert await transfer(heir, old.id) == old.id
            assert cluster.head is old

        cluster_test(check)

    def test_in_spite_of_a_leader_that_all_hear(self) -> None:
        """etcd raft TestLeaderTransferWithCheckQuorum: who hears its leader votes for the heir all the same."""

        async def check(cluster: Cluster) -> None:
            await asyncio.sleep(5)
            old, heir = cluster.head, cluster.others[1]
            before = cluster.loop.time()
            await transfer(old, heir.id)
            assert cluster.loop.time() - before < S.election_min_s

        cluster_test(check, size=5)

    def test_to_one_that_lags(self) -> None:
        """etcd raft TestLeaderTransferToSlowFollower."""

        async def check(cluster: Cluster) -> None:
            old, heir = cluster.head, cluster.others[0]
            cluster.isolate(heir)
            for number in range(20):
                await propose(old, f"{number}")
            cluster.network.heal()
            assert await transfer(old, heir.id) == heir.id
            assert heir.log.last_log_index > 20

        cluster_test(check)

    def test_to_oneself_to_a_learner_and_to_nobody_known(self) -> None:
        """etcd raft TestLeaderTransferToSelf, TestLeaderTransferToLearner, TestLeaderTransferToNonExistingNode."""

        async def check(cluster: Cluster) -> None:
            await cluster.add_learner("n4")
            old = cluster.head
            for to in (old.id, "n4", "n9"):
                with pytest.raises(ValueError, match=to):
                    await transfer(old, to)
            assert cluster.head is old
            assert await propose(old, "a") > 0

        cluster_test(check, spares=1)

    def test_it_is_given_up_after_its_time(self) -> None:
        """etcd raft TestLeaderTransferTimeout, TestLeaderTransferIgnoreProposal."""

        async def check(cluster: Cluster) -> None:
            old, heir = cluster.head, cluster.others[0]
            heir.go_down(power_loss=False)
            before = cluster.loop.time()
            call = transfer(old, heir.id)
            await asyncio.sleep(0.1)
            with pytest.raises(NotLeader):
                await propose(old, "meanwhile")
            with pytest.raises(TimeoutError):
                await call
            assert cluster.loop.time() - before < S.transfer_timeout_s + 0.1
            assert cluster.head is old
            assert await propose(old, "after") > 0

        cluster_test(check)

    def test_a_second_one_while_one_runs_is_refused(self) -> None:
        """etcd raft TestLeaderTransferSecondTransferToSameNode, ...ToAnotherNode; here the first goes on."""

        async def check(cluster: Cluster) -> None:
            old = cluster.head
            away, other = cluster.others
            away.go_down(power_loss=False)
            first = transfer(old, away.id)
            await asyncio.sleep(0.1)
            for to in (away.id, other.id, None):
                with pytest.raises(NotLeader, match="handing over already"):
                    await transfer(old, to)
            with pytest.raises(TimeoutError):
                await first
            assert await transfer(old, other.id) == other.id

        cluster_test(check)

    def test_it_ends_when_another_takes_over(self) -> None:
        """etcd raft TestLeaderTransferReceiveHigherTermVote."""

        async def check(cluster: Cluster) -> None:
            old = cluster.head
            away, other = cluster.others
            away.go_down(power_loss=False)
            call = transfer(old, away.id)
            await asyncio.sleep(0.05)
            assert other.machine.life is not None
            other.machine.life.call(engine_of(other)._state.campaign, True)
            assert await call == other.id
            assert engine_of(old).role is Role.FOLLOWER

        cluster_test(check)

    def test_a_stop_ends_it(self) -> None:
        async def check(cluster: Cluster) -> None:
            old, heir = cluster.head, cluster.others[0]
            heir.go_down(power_loss=False)
            call = transfer(old, heir.id)
            await asyncio.sleep(0.05)
            await start(old, engine_of(old).stop())
            before = cluster.loop.time()
            await asyncio.wait([call])
            assert cluster.loop.time() == before

        cluster_test(check)

    def test_to_one_that_is_removed_meanwhile(self) -> None:
        """etcd raft TestLeaderTransferRemoveNode: here the change is refused while a transfer runs."""

        async def check(cluster: Cluster) -> None:
            old, heir = cluster.head, cluster.others[0]
            heir.go_down(power_loss=False)
            call = transfer(old, heir.id)
            await asyncio.sleep(0.05)
            with pytest.raises(NotLeader, match="handing over"):
                await cluster.change(ChangeKind.REMOVE, heir.id)
            with pytest.raises(TimeoutError):
                await call
            await cluster.change(ChangeKind.REMOVE, heir.id)

        cluster_test(check)

    def test_under_load_no_write_is_lost(self) -> None:
        async def check(cluster: Cluster) -> None:
            acknowledged: list[int] = []

            async def write() -> None:
                for number in range(200):
                    try:
                        acknowledged.append(await propose(cluster.voters[0], f"{number}"))
                    except ProposalError:
                        await asyncio.sleep(0.01)

            writing = asyncio.create_task(write())
            for _ in range(5):
                await cluster.settled()
                await transfer(cluster.head)
            await writing
            await cluster.settled()
            terms = cluster.head.log
            assert len(acknowledged) > 150
            assert all(terms.term_at(index) for index in acknowledged)

        cluster_test(check)


class TestTimeoutNow:
    def test_who_is_no_member_does_not_obey(self) -> None:
        """etcd raft TestTransferNonMember."""

        async def main() -> None:
            voter = Ours(voters=3, standby=True)
            await voter.start()
            voter.append(B, 3)
            await voter.settle()
            voter.give({"type": "timeout_now", "sender": B, "term": 3})
            await asyncio.sleep(3 * S.election_max_s)
            assert (voter.role, voter.term) == ("follower", 3)
            assert voter.taken("request_vote") == []

        run(main)
