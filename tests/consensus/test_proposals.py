"""Proposals on a simulated cluster: acknowledged, forwarded, refused, given up; and failover."""

from __future__ import annotations

import asyncio

import pytest

from cortex.v1 import raft_pb2
from node.consensus.port import NotLeader, OutcomeUnknown, Overloaded, ProposalError, Role, Superseded, TooLarge
from node.consensus.raftos.proposals import LIFE_SHIFT, AnsweredSenders
from node.consensus.raftos.settings import RaftSettings
from tests.consensus.proposal_kit import Cluster, S, cluster_test, engine_of, propose, start


class TestAcknowledgement:
    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    def test_from_every_voter_with_the_index_where_it_stands(self, size: int) -> None:
        async def check(cluster: Cluster) -> None:
            calls = {f"{voter.id}/{number}": (voter, number) for voter in cluster.voters for number in range(20)}
            tasks = {text: propose(voter, text) for text, (voter, _) in calls.items()}
            indexes = dict(zip(tasks, await asyncio.gather(*tasks.values()), strict=True))
            for text, index in indexes.items():
                assert cluster.head.log.entries[index - 1].data == text.encode()
            # Those of one voter keep their order.
            for voter in cluster.voters:
                mine = [indexes[f"{voter.id}/{number}"] for number in range(20)]
                assert mine == sorted(mine)

        cluster_test(check, size)

    def test_a_forwarded_one_does_not_wait_for_a_heartbeat(self) -> None:
        async def check(cluster: Cluster) -> None:
            before = cluster.loop.time()
            for number in range(10):
                await propose(cluster.others[0], f"{number}")
            assert cluster.loop.time() - before < 10 * 0.01

        cluster_test(check)

    def test_entries_reads_what_is_committed_in_order(self) -> None:
        async def check(cluster: Cluster) -> None:
            for number in range(5):
                await propose(cluster.head, f"{number}")
            engine = engine_of(cluster.head)
            assert [entry.index for entry in engine.entries(2, 3)] == [3, 4, 5]
            assert engine.entries(engine.commit_index, 10) == []
            assert [entry.data for entry in engine.entries(0, 100)][-1] == b"4"

        cluster_test(check)


class TestRefusal:
    def test_too_large_and_just_not(self) -> None:
        async def check(cluster: Cluster) -> None:
            limit = S.max_proposal_bytes
            for voter in (cluster.head, cluster.others[0]):
                with pytest.raises(TooLarge, match=str(limit)):
                    await propose(voter, "x" * (limit + 1))
                assert await propose(voter, "x" * limit) > 0

        cluster_test(check)

    def test_without_a_leader(self) -> None:
        async def check(cluster: Cluster) -> None:
            lonely = cluster.others[0]
            cluster.isolate(lonely)
            await asyncio.sleep(2 * S.election_max_s)
            with pytest.raises(NotLeader):
                await propose(lonely, "a")

        cluster_test(check)

    @pytest.mark.parametrize("forwarded", [False, True])
    def test_too_much_waiting(self, forwarded: bool) -> None:
        settings = RaftSettings(max_pending=10)

        async def check(cluster: Cluster) -> None:
            voter = cluster.others[0] if forwarded else cluster.head
            for other in cluster.others:
                other.machine.sync_s = (1.0, 1.0)
            calls = []
            for number in range(20):
                calls.append(propose(voter, f"{number}"))
                await asyncio.sleep(0.005)
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            refused = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Overloaded)]
            assert refused == list(range(10, 20))
            assert await propose(voter, "later") > 0

        cluster_test(check, settings=settings)

    def test_too_many_bytes_waiting(self) -> None:
        settings = RaftSettings(max_pending_bytes=10_000)

        async def check(cluster: Cluster) -> None:
            cluster.isolate(cluster.head)
            first = propose(cluster.head, "x" * 9_000)
            await asyncio.sleep(0.01)
            with pytest.raises(Overloaded):
                await propose(cluster.head, "x" * 2_000)
            first.cancel()

        cluster_test(check, settings=settings)


class TestUnknown:
    def test_superseded_when_another_entry_took_its_place(self) -> None:
        async def check(cluster: Cluster) -> None:
            deposed = cluster.head
            cluster.isolate(deposed)
            lost = propose(deposed, "lost")
            await asyncio.sleep(2 * S.step_down_s)
            assert await propose(cluster.head, "kept") > 0
            cluster.network.heal()
            with pytest.raises(Superseded):
                await lost

        cluster_test(check)

    def test_committed_after_all_by_the_next_leader(self) -> None:
        async def check(cluster: Cluster) -> None:
            deposed = cluster.head
            for other in cluster.others:
                cluster.network.cut(other.address, deposed.address)
            call = propose(deposed, "kept")
            await asyncio.sleep(3 * S.step_down_s)
            assert cluster.head is not deposed
            cluster.network.heal()
            index = await call
            assert cluster.head.log.entries[index - 1].data == b"kept"

        cluster_test(check)

    @pytest.mark.parametrize("forwarded", [False, True])
    def test_unknown_when_nothing_is_heard_in_time(self, forwarded: bool) -> None:
        settings = RaftSettings(proposal_timeout_s=2.0, step_down_s=60.0, election_max_s=60.0, election_min_s=50.0)

        async def check(cluster: Cluster) -> None:
            voter = cluster.others[0] if forwarded else cluster.head
            cluster.isolate(voter)
            before = cluster.loop.time()
            with pytest.raises(OutcomeUnknown):
                await propose(voter, "a")
            assert 2.0 <= cluster.loop.time() - before < 2.5

        cluster_test(check, settings=settings)

    def test_unknown_at_stop(self) -> None:
        async def check(cluster: Cluster) -> None:
            voter = cluster.head
            cluster.isolate(voter)
            call = propose(voter, "a")
            await asyncio.sleep(0.1)
            await start(voter, engine_of(voter).stop())
            with pytest.raises(OutcomeUnknown):
                await call
            with pytest.raises(NotLeader):
                await propose(voter, "b")
            assert engine_of(voter).role is Role.FOLLOWER

        cluster_test(check)

    def test_a_forward_without_an_answer_is_unknown_when_the_leader_changes(self) -> None:
        async def check(cluster: Cluster) -> None:
            gone, voter = cluster.head, cluster.others[0]
            gone.go_down(power_loss=True)
            with pytest.raises(OutcomeUnknown):
                await propose(voter, "a")

        cluster_test(check)


class TestForward:
    def dropping(self, cluster: Cluster, kind: str, times: int) -> list[raft_pb2.RaftMessage]:
        """Lose the first messages of a kind."""
        dropped: list[raft_pb2.RaftMessage] = []
        sound = cluster.network.datagram

        def datagram(source: str, target: str, message: raft_pb2.RaftMessage) -> None:
            if message.WhichOneof("kind") == kind and len(dropped) < times:
                dropped.append(message)
            else:
                sound(source, target, message)

        cluster.network.datagram = datagram  # type: ignore[method-assign]
        return dropped

    @pytest.mark.parametrize("kind", ["forward", "forward_response"])
    def test_a_lost_message_is_repeated_and_appends_once(self, kind: str) -> None:
        async def check(cluster: Cluster) -> None:
            dropped = self.dropping(cluster, kind, times=3)
            index = await propose(cluster.others[0], "once")
            assert len(dropped) == 3
            assert [entry.index for entry in cluster.head.log.entries if entry.data == b"once"] == [index]

        cluster_test(check)

    def test_doubled_and_late_copies_append_once(self) -> None:
        async def check(cluster: Cluster) -> None:
            cluster.network.weather.duplicate = 1.0
            cluster.network.weather.reorder = 0.5
            cluster.network.weather.reorder_s = 3.0
            calls = [propose(cluster.others[0], f"op{number}") for number in range(50)]
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.sleep(5)
            texts = [entry.data for entry in cluster.head.log.entries if entry.data.startswith(b"op")]
            assert len(texts) == len(set(texts)) > 0

        cluster_test(check)

    def test_a_restarted_follower_gets_no_answers_of_its_former_life(self) -> None:
        async def check(cluster: Cluster) -> None:
            voter = cluster.others[0]
            first = await propose(voter, "first")
            voter.go_down(power_loss=False)
            await voter.boot()
            await cluster.settled()
            second = await propose(voter, "second")
            assert second > first
            assert cluster.head.log.entries[second - 1].data == b"second"

        cluster_test(check)

    def test_what_followers_were_told_is_kept_for_their_present_lives_only(self) -> None:
        known = AnsweredSenders()
        for life in range(1, 200):
            told = known.of("n2", life << LIFE_SHIFT | 1, 0.0)
            assert told is not None
            assert told.find(life << LIFE_SHIFT | 1) is None
            told.note(life << LIFE_SHIFT | 1, {"life": life})
        again = known.of("n2", 199 << LIFE_SHIFT | 1, 0.0)
        assert again is not None
        assert again.find(199 << LIFE_SHIFT | 1) == {"life": 199}
        assert known.of("n2", 198 << LIFE_SHIFT | 1, 0.0) is None, "a late copy, which was answered long ago"
        for sender in range(1000):
            known.of(f"stranger {sender}", 1 << LIFE_SHIFT, 1.0)
        assert len(known) <= 256
        known.of("n3", 1 << LIFE_SHIFT, 10_000.0)
        assert len(known) == 1

    def test_what_waits_together_travels_together(self) -> None:
        async def check(cluster: Cluster) -> None:
            voter = cluster.others[0]
            await asyncio.gather(*(propose(voter, f"{number}") for number in range(500)))
            assert cluster.counts["forwards"] <= 2

        cluster_test(check)


class TestCluster:
    def test_failover(self) -> None:
        """From the leader's death to the next acknowledged write."""
        gaps: list[float] = []

        async def check(cluster: Cluster) -> None:
            voter = cluster.others[0]
            cluster.head.go_down(power_loss=True)
            before = cluster.loop.time()
            while True:
                try:
                    await propose(voter, "next")
                    break
                except ProposalError:
                    await asyncio.sleep(0.01)
            gaps.append(cluster.loop.time() - before)

        for seed in range(60):
            cluster_test(check, seed=seed)
        gaps.sort()
        assert gaps[len(gaps) // 2] <= 1.0
        assert gaps[-1] <= 3.0

    def test_no_spurious_elections_at_five_percent_loss_and_at_100_ms(self) -> None:
        async def check(cluster: Cluster) -> None:
            cluster.network.weather.loss = 0.05
            leaders = cluster.counts["leaders"]
            await asyncio.sleep(1800)
            cluster.network.weather.loss = 0.0
            cluster.network.weather.delay_s = (0.1, 0.12)
            await asyncio.sleep(1800)
            assert cluster.counts["leaders"] == leaders

        cluster_test(check)

    def test_digests_and_clocks_reach_the_leader(self) -> None:
        async def check(cluster: Cluster) -> None:
            await asyncio.sleep(1)
            assert cluster.counts["digests received"] >= 2 * 8
            assert cluster.counts["clocks observed"] >= 4 * 8

        cluster_test(check)
