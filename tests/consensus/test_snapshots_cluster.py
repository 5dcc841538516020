"""Whole clusters whose logs begin behind snapshots: who was away, who is new, who leaves, while writes go on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from node.consensus.membership import ChangeKind
from node.consensus.port import Role
from tests.consensus.proposal_kit import Cluster, cluster_test, engine_of, propose, start
from tests.consensus.snapshot_kit import SMALL
from tests.consensus.test_elections import S
from tests.sim.engine_world import Voter
from tests.sim.net import Weather

SHORT = replace(S, **SMALL)


async def write(cluster: Cluster, count: int) -> None:
    """So many entries, each acknowledged."""
    for number in range(0, count, 10):
        proposals = [f"op{cluster.loop.time()}.{number + more}" for more in range(min(10, count - number))]
        calls = [propose(cluster.head, text) for text in proposals]
        for text, index in zip(proposals, await asyncio.gather(*calls), strict=True):
            cluster.checker.acknowledge(text.encode(), index)
        await asyncio.sleep(0.05)


class Writer:
    """Writes until it is told to stop, whoever leads."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._over = False
        self.count = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._over:
            await write(self._cluster, 10)
            self.count += 10

    async def stop(self) -> None:
        self._over = True
        await self._task


async def level(cluster: Cluster, *voters: Voter) -> None:
    """Wait until these have applied what the leader has."""
    for _ in range(3000):
        await asyncio.sleep(0.02)
        if all(voter.up and voter.state.index >= cluster.head.state.index for voter in voters):
            break
    for voter in cluster.up:
        cluster.checker.state(voter.id, voter.state.lines)
    assert [voter.state.index for voter in voters] == [cluster.head.state.index] * len(voters)


async def another_leads(cluster: Cluster, old: Voter | None = None) -> None:
    """Wait until somebody else leads and has committed in its term."""
    for _ in range(3000):
        await asyncio.sleep(0.02)
        leader = cluster.leader()
        if leader is not None and leader is not old:
            engine = engine_of(leader)
            if leader.log.term_at(engine.commit_index) == engine.term:
                return
    raise AssertionError("nobody leads")


def first_held(voter: Voter) -> int:
    return voter.log.base_index + 1


class TestWhoWasAway:
    def test_gets_a_snapshot_while_writes_go_on(self) -> None:
        async def check(cluster: Cluster) -> None:
            away = cluster.others[0]
            away.go_down(power_loss=True)
            await write(cluster, 200)
            writer = Writer(cluster)
            await away.boot()
            for _ in range(2000):
                if cluster.counts["snapshots installed"]:
                    break
                await asyncio.sleep(0.02)
            before = writer.count
            await asyncio.sleep(2)
            assert writer.count > before
            await writer.stop()
            await level(cluster, away)
            assert cluster.counts["snapshots installed"] >= 1
            assert first_held(away) > 100

        cluster_test(check, settings=SHORT)

    def test_needs_none_for_what_slow_followers_are_kept(self) -> None:
        async def check(cluster: Cluster) -> None:
            await write(cluster, 30)
            away = cluster.others[0]
            cluster.isolate(away)
            await write(cluster, 15)
            cluster.network.heal()
            await level(cluster, away)
            assert cluster.counts["snapshots installed"] == 0

        cluster_test(check, settings=replace(SHORT, keep_entries=100))

    def test_once_cut_off_again_and_again(self) -> None:
        """Each time for a while only, in bad weather; what has come stays."""

        async def check(cluster: Cluster) -> None:
            away = cluster.others[0]
            cluster.isolate(away)
            await write(cluster, 200)
            cluster.network.weather = Weather(loss=0.2, duplicate=0.2, reorder=0.2, reorder_s=0.1)
            for _ in range(20):
                cluster.network.heal()
                await asyncio.sleep(0.4)
                cluster.isolate(away)
                await asyncio.sleep(0.2)
            cluster.network.heal()
            await level(cluster, away)
            assert cluster.counts["snapshots installed"] == 1

        cluster_test(check, settings=replace(SHORT, snapshot_entries=150, piece_bytes=50, piece_retry_s=0.2))

    def test_twice(self) -> None:
        async def check(cluster: Cluster) -> None:
            away = cluster.others[0]
            for _ in range(2):
                cluster.isolate(away)
                await write(cluster, 100)
                cluster.network.heal()
                await level(cluster, away)
                # Until the leader hears that it is back, the log waits for it.
                await write(cluster, 10)
                await level(cluster, away)
                await asyncio.sleep(1)
            assert cluster.counts["snapshots installed"] == 2

        cluster_test(check, settings=SHORT)

    @pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.005, 0.02, 0.1, 0.3])
    @pytest.mark.parametrize("power_loss", [False, True])
    def test_and_goes_down_while_it_installs(self, power_loss: bool, delay_s: float) -> None:
        async def check(cluster: Cluster) -> None:
            away = cluster.others[0]
            cluster.isolate(away)
            await write(cluster, 200)
            cluster.network.heal()
            for _ in range(2000):
                if ".snap.part" in str(away.machine.disk("snapshots").names()):
                    break
                await asyncio.sleep(0.005)
            await asyncio.sleep(delay_s)
            away.go_down(power_loss=power_loss)
            await away.boot()
            await write(cluster, 30)
            await level(cluster, away)

        cluster_test(check, settings=SHORT)

    def test_with_a_log_that_nobody_else_has(self) -> None:
        """It led, cut off, and wrote what was never committed; the others went far beyond."""

        async def check(cluster: Cluster) -> None:
            await write(cluster, 10)
            old = cluster.head
            cluster.isolate(old)
            lost = [propose(old, f"lost {number}") for number in range(150)]
            await another_leads(cluster, old)
            await write(cluster, 100)
            cluster.network.heal()
            await level(cluster, old)
            assert cluster.counts["snapshots installed"] == 1
            assert all(call.exception() is not None for call in lost)

        cluster_test(check, settings=SHORT)

    def test_and_leads_afterwards(self) -> None:
        async def check(cluster: Cluster) -> None:
            away = cluster.others[0]
            cluster.isolate(away)
            await write(cluster, 100)
            cluster.network.heal()
            await level(cluster, away)
            await start(cluster.head, engine_of(cluster.head).transfer(away.id))
            await cluster.settled()
            assert cluster.head is away
            await write(cluster, 100)
            await level(cluster, *cluster.others)

        cluster_test(check, settings=SHORT)


class TestMembers:
    def test_a_new_voter_begins_with_a_snapshot(self) -> None:
        async def check(cluster: Cluster) -> None:
            await write(cluster, 200)
            writer = Writer(cluster)
            await cluster.add_voter("n4")
            await writer.stop()
            new = cluster.named("n4")
            await level(cluster, new)
            assert cluster.counts["snapshots installed"] == 1
            assert engine_of(new).membership.is_voter("n4")

        cluster_test(check, settings=SHORT, spares=1)

    def test_a_learner_that_leaves_while_it_is_sent_one(self) -> None:
        async def check(cluster: Cluster) -> None:
            await write(cluster, 200)
            spare = cluster.named("n4")
            cluster.network.weather = Weather(delay_s=(0.2, 0.3))
            await cluster.add_learner("n4")
            for _ in range(2000):
                if ".snap.part" in str(spare.machine.disk("snapshots").names()):
                    break
                await asyncio.sleep(0.01)
            await cluster.change(ChangeKind.REMOVE, "n4")
            cluster.network.weather = Weather()
            await write(cluster, 100)
            await asyncio.sleep(10)
            assert engine_of(cluster.head)._life._held == {}
            assert engine_of(spare).role is Role.FOLLOWER
            assert len(cluster.head.log.entries) <= 40

        cluster_test(check, settings=replace(SHORT, piece_bytes=20, max_pieces=1), spares=1)

    def test_members_are_known_from_snapshots_alone(self) -> None:
        """All go down; what made them members is in no log any more."""

        async def check(cluster: Cluster) -> None:
            await cluster.add_voter("n4")
            await write(cluster, 300)
            for voter in cluster.voters:
                assert first_held(voter) > 200
                voter.go_down(power_loss=True)
            for voter in cluster.voters:
                await voter.boot()
            await cluster.settled()
            for voter in cluster.voters:
                assert engine_of(voter).membership.voters == ("n1", "n2", "n3", "n4")
            await write(cluster, 10)

        cluster_test(check, settings=SHORT, spares=1)


class TestLeaderChange:
    def test_the_next_leader_sends_its_own(self) -> None:
        async def check(cluster: Cluster) -> None:
            away = cluster.others[0]
            cluster.isolate(away)
            await write(cluster, 200)
            cluster.network.weather = Weather(delay_s=(0.05, 0.06))
            cluster.network.heal()
            for _ in range(2000):
                if ".snap.part" in str(away.machine.disk("snapshots").names()):
                    break
                await asyncio.sleep(0.005)
            cluster.head.go_down(power_loss=False)
            await another_leads(cluster)
            await write(cluster, 10)
            await level(cluster, away)
            assert cluster.counts["snapshots installed"] == 1

        cluster_test(check, settings=replace(SHORT, snapshot_entries=150, piece_bytes=50, max_pieces=1))


class TestForLong:
    def test_memory_and_disk_stay_flat(self) -> None:
        async def check(cluster: Cluster) -> None:
            disks, held = [], []
            for _ in range(30):
                await write(cluster, 50)
                disks.append(max(voter.machine.disk("raft").used_bytes() for voter in cluster.up))
                held.append(max(len(voter.log.entries) for voter in cluster.up))
            assert max(held) <= 20 + 15 + 5 + 10
            assert max(disks) <= 6 * SHORT.segment_bytes

        cluster_test(check, settings=SHORT)
