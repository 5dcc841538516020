"""Read index: what a linearizable read must wait for, from any voter (dissertation, 6.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from node.consensus.port import NotLeader
from tests.consensus.proposal_kit import Cluster, S, cluster_test, engine_of, propose, start
from tests.consensus.rigs import B, C, Ours
from tests.sim.engine_world import Voter
from tests.sim.loop import run
from tests.sim.net import Weather


def read(voter: Voter) -> asyncio.Task[int]:
    return start(voter, engine_of(voter).read_index())


def rig_test(check: Callable[[Ours], Awaitable[None]], voters: int = 3) -> None:
    async def main() -> None:
        voter = Ours(voters=voters)
        await voter.start()
        await check(voter)

    run(main)


class TestTrio:
    def test_a_leader_that_has_committed_nothing_of_its_own_does_not_answer(self) -> None:
        """etcd raft TestReadOnlyForNewLeader; dissertation 6.4, step 1."""

        async def check(voter: Ours) -> None:
            # An entry that an older leader may have committed, without this voter hearing of it.
            voter.append(B, 1, entries=[(1, "a")])
            await voter.settle()
            term = await voter.stand()
            voter.vote(B, term)
            await voter.settle()
            assert (voter.role, voter.commit) == ("leader", 0)
            call = asyncio.ensure_future(voter.life.spawn(voter.engine.read_index()))
            for _ in range(5):
                for heartbeat in voter.taken("append_entries"):
                    # They hear it, and have nothing of its term on their disks.
                    voter.appended(heartbeat["to"], term, last_index=0, request=heartbeat["request_id"])
                await asyncio.sleep(S.heartbeat_s)
            assert not call.done()
            voter.appended(B, term, last_index=2, request=1)
            for _ in range(3):
                await voter.settle()
                for heartbeat in voter.taken("append_entries"):
                    voter.appended(heartbeat["to"], term, last_index=2, request=heartbeat["request_id"])
            assert await call == 2

        rig_test(check)

    def test_a_deposed_leader_cannot_answer(self) -> None:
        """Dissertation 6.4, step 3; etcd raft TestReadOnlyOptionSafe."""

        async def check(cluster: Cluster) -> None:
            deposed = cluster.head
            cluster.isolate(deposed)
            call = read(deposed)
            await asyncio.sleep(3 * S.election_max_s)
            assert cluster.head is not deposed
            await propose(cluster.head, "newer")
            with pytest.raises(NotLeader):
                await call
            with pytest.raises(NotLeader):
                await read(deposed)

        cluster_test(check)

    def test_a_follower_asks_its_leader(self) -> None:
        """etcd raft TestReadOnlyOptionSafe, its followers; dissertation 6.4, the last paragraph."""

        async def check(cluster: Cluster) -> None:
            follower = cluster.others[0]
            for number in range(10):
                index = await propose(cluster.head, f"{number}")
                assert await read(follower) >= index

        cluster_test(check)


class TestLeader:
    def test_a_read_sees_every_write_acknowledged_before(self) -> None:
        async def check(cluster: Cluster) -> None:
            for number in range(10):
                index = await propose(cluster.head, f"{number}")
                assert await read(cluster.head) == index

        cluster_test(check)

    def test_alone_it_answers_at_once(self) -> None:
        async def check(cluster: Cluster) -> None:
            index = await propose(cluster.head, "a")
            before = cluster.loop.time()
            assert await read(cluster.head) == index
            assert cluster.loop.time() - before < 0.01

        cluster_test(check, size=1)

    def test_a_learner_confirms_nothing(self) -> None:
        """etcd raft TestReadOnlyWithLearner: a learner may ask, and does not count."""

        async def check(cluster: Cluster) -> None:
            head = engine_of(cluster.head)
            await cluster.add_learner("n2")
            await cluster.settled()
            index = await propose(cluster.head, "a")
            assert await read(cluster.named("n2")) >= index
            cluster.isolate(cluster.named("n2"))
            assert await start(cluster.head, head.read_index()) >= index

        cluster_test(check, size=1, spares=1)

    def test_a_paused_leader_that_was_replaced_answers_nothing_stale(self) -> None:
        async def check(cluster: Cluster) -> None:
            paused = cluster.head
            assert paused.machine.life is not None
            paused.machine.life.pause()
            await asyncio.sleep(3 * S.election_max_s)
            assert cluster.head is not paused
            index = await propose(cluster.head, "newer")
            paused.machine.life.resume()
            with suppress(NotLeader):
                assert await read(paused) >= index

        cluster_test(check)


class TestFollower:
    def test_many_share_a_question(self) -> None:
        async def check(cluster: Cluster) -> None:
            sent = cluster.network.counts["sent"]
            found = await asyncio.gather(*(read(cluster.others[0]) for _ in range(1000)))
            assert cluster.network.counts["sent"] - sent < 40
            assert set(found) == {engine_of(cluster.head).commit_index}

        cluster_test(check)

    def test_one_that_comes_while_a_question_is_under_way_is_not_answered_by_it(self) -> None:
        async def check(voter: Ours) -> None:
            voter.append(B, 3)
            await voter.settle()
            first = asyncio.ensure_future(voter.life.spawn(voter.engine.read_index()))
            await asyncio.sleep(0.001)
            later = asyncio.ensure_future(voter.life.spawn(voter.engine.read_index()))
            await asyncio.sleep(0.001)
            (question,) = voter.taken("read_index")
            answer = {"type": "read_index_response", "sender": B, "term": 3, "confirmed": True}
            voter.give({**answer, "number": question["number"], "index": 7})
            assert await first == 7
            voter.give({**answer, "number": question["number"], "index": 8})
            await asyncio.sleep(0.001)
            assert not later.done()
            (question,) = voter.taken("read_index")
            voter.give({**answer, "number": question["number"], "index": 9})
            assert await later == 9

        rig_test(check)

    def test_lost_questions_and_answers_are_repeated(self) -> None:
        async def check(cluster: Cluster) -> None:
            index = await propose(cluster.head, "a")
            cluster.network.weather = Weather(loss=0.3, duplicate=0.3, reorder=0.3)
            for _ in range(30):
                try:
                    assert await read(cluster.others[0]) >= index
                except NotLeader:
                    await cluster.settled()

        cluster_test(check)

    def test_the_question_goes_on_to_the_next_leader(self) -> None:
        async def check(cluster: Cluster) -> None:
            index = await propose(cluster.head, "a")
            asking = cluster.others[0]
            cluster.head.go_down(power_loss=True)
            call = read(asking)
            assert await call >= index

        cluster_test(check)

    def test_it_ends_when_nobody_confirms(self) -> None:
        async def check(cluster: Cluster) -> None:
            follower = cluster.others[0]
            cluster.isolate(follower)
            before = cluster.loop.time()
            with pytest.raises(NotLeader):
                await read(follower)
            assert cluster.loop.time() - before < S.read_timeout_s + 1
            await asyncio.sleep(2 * S.election_max_s)
            with pytest.raises(NotLeader, match="no leader is known"):
                await read(follower)

        cluster_test(check)

    def test_answers_of_an_earlier_life_do_not_count(self) -> None:
        async def check(voter: Ours) -> None:
            voter.append(C, 3)
            await voter.settle()
            call = asyncio.ensure_future(voter.life.spawn(voter.engine.read_index()))
            await asyncio.sleep(0.001)
            (question,) = voter.taken("read_index")
            stale = {"type": "read_index_response", "sender": C, "term": 3, "confirmed": True, "index": 1}
            voter.give({**stale, "number": question["number"] - 1})
            voter.give({**stale, "number": question["number"], "confirmed": False})
            await asyncio.sleep(0.01)
            assert not call.done()
            call.cancel()

        rig_test(check)
