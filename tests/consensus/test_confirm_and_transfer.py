"""What only a leader can do: confirm that it leads, and hand over."""

from __future__ import annotations

import asyncio

import pytest

from node.consensus.port import NotLeader, OutcomeUnknown, ProposalError, Role
from tests.consensus.proposal_kit import Cluster, S, cluster_test, engine_of, propose, start
from tests.sim.engine_world import Voter


class TestConfirm:
    def test_it_takes_a_round_trip_and_not_a_heartbeat(self) -> None:
        async def check(cluster: Cluster) -> None:
            before = cluster.loop.time()
            for _ in range(20):
                await start(cluster.head, engine_of(cluster.head).confirm())
            assert cluster.loop.time() - before < 20 * 0.004

        cluster_test(check)

    def test_many_share_a_round(self) -> None:
        async def check(cluster: Cluster) -> None:
            sent = cluster.network.counts["sent"]
            await asyncio.gather(*(start(cluster.head, engine_of(cluster.head).confirm()) for _ in range(1000)))
            assert cluster.network.counts["sent"] - sent < 40

        cluster_test(check)

    def test_one_voter_confirms_itself(self) -> None:
        async def check(cluster: Cluster) -> None:
            await start(cluster.head, engine_of(cluster.head).confirm())

        cluster_test(check, size=1)

    def test_only_the_leader_can(self) -> None:
        async def check(cluster: Cluster) -> None:
            with pytest.raises(NotLeader):
                await start(cluster.others[0], engine_of(cluster.others[0]).confirm())

        cluster_test(check)

    def test_a_leader_without_quorum_ends_in_not_leader(self) -> None:
        async def check(cluster: Cluster) -> None:
            deposed = cluster.head
            cluster.isolate(deposed)
            with pytest.raises(NotLeader):
                await start(deposed, engine_of(deposed).confirm())
            assert engine_of(deposed).role is not Role.LEADER

        cluster_test(check)

    def test_answers_to_rounds_begun_before_the_call_do_not_count(self) -> None:
        """A leader that was paused while another took over must not confirm by what arrived before."""

        async def check(cluster: Cluster) -> None:
            deposed = cluster.head
            assert deposed.machine.life is not None
            deposed.machine.life.pause()
            await asyncio.sleep(3 * S.election_max_s)
            assert engine_of(deposed).role is Role.LEADER
            deposed.machine.life.resume()
            with pytest.raises(NotLeader):
                await start(deposed, engine_of(deposed).confirm())

        cluster_test(check)


class TestTransfer:
    @pytest.mark.parametrize("named", [False, True])
    def test_to_a_voter_with_a_short_gap(self, named: bool) -> None:
        async def check(cluster: Cluster) -> None:
            await asyncio.gather(*(propose(cluster.head, f"{number}") for number in range(100)))
            old, heir = cluster.head, cluster.others[-1]
            before = cluster.loop.time()
            found = await start(old, engine_of(old).transfer(heir.id if named else None))
            assert found == cluster.head.id != old.id
            assert not named or found == heir.id
            while True:
                try:
                    await propose(heir, "next")
                    break
                except ProposalError:
                    await asyncio.sleep(0.01)
            assert cluster.loop.time() - before < 0.3

        cluster_test(check)

    def test_under_load_nothing_ends_unknown(self) -> None:
        async def check(cluster: Cluster) -> None:
            outcomes: list[object] = []
            over = False

            async def client(voter: Voter) -> None:
                while not over:
                    outcomes.extend(await asyncio.gather(propose(voter, "x"), return_exceptions=True))
                    await asyncio.sleep(0.001)

            clients = [asyncio.create_task(client(voter)) for voter in cluster.voters for _ in range(5)]
            for _ in range(10):
                old = cluster.head
                await start(old, engine_of(old).transfer())
                await asyncio.sleep(0.3)
            over = True
            await asyncio.gather(*clients)
            acknowledged = sum(isinstance(outcome, int) for outcome in outcomes)
            unknown = sum(isinstance(outcome, OutcomeUnknown) for outcome in outcomes)
            assert acknowledged > 1000
            assert unknown <= acknowledged // 20

        cluster_test(check)

    def test_a_lagging_heir_first_catches_up(self) -> None:
        async def check(cluster: Cluster) -> None:
            heir = cluster.others[0]
            cluster.isolate(heir)
            for number in range(50):
                await propose(cluster.head, f"{number}")
            cluster.network.heal()
            old = cluster.head
            assert await start(old, engine_of(old).transfer(heir.id)) == heir.id
            assert heir.log.last_log_index >= 52

        cluster_test(check)

    def test_to_one_that_is_away_fails_and_the_leader_goes_on(self) -> None:
        async def check(cluster: Cluster) -> None:
            old, heir = cluster.head, cluster.others[0]
            heir.go_down(power_loss=True)
            call = start(old, engine_of(old).transfer(heir.id))
            await asyncio.sleep(0.1)
            with pytest.raises(NotLeader):
                await propose(old, "meanwhile")
            with pytest.raises(TimeoutError):
                await call
            assert cluster.head is old
            assert await propose(old, "afterwards") > 0

        cluster_test(check)

    def test_refused_where_it_makes_no_sense(self) -> None:
        async def check(cluster: Cluster) -> None:
            with pytest.raises(NotLeader):
                await start(cluster.others[0], engine_of(cluster.others[0]).transfer())
            with pytest.raises(ValueError, match="n9"):
                await start(cluster.head, engine_of(cluster.head).transfer("n9"))

        cluster_test(check)

    def test_alone_there_is_nobody(self) -> None:
        async def check(cluster: Cluster) -> None:
            with pytest.raises(NotLeader):
                await start(cluster.head, engine_of(cluster.head).transfer())

        cluster_test(check, size=1)
