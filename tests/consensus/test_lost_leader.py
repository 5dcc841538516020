"""A leader whose process ended: its port refuses, so the others need not wait for a time-out to miss it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from node.consensus.port import ProposalError, Superseded
from tests.consensus.proposal_kit import Cluster, cluster_test, engine_of, propose
from tests.consensus.rigs import ALL, B, C, D, Ours
from tests.consensus.test_elections import S, voter_test, votes
from tests.sim.engine_world import Voter
from tests.sim.loop import run
from tests.sim.net import Weather

A = ALL[0]


def named_test(me: str, check: Callable[[Ours], Awaitable[None]]) -> None:
    """Run `check` on one started voter of three that is called `me`."""

    async def main() -> None:
        voter = Ours(me=me)
        await voter.start()
        await check(voter)

    run(main)


async def asked_within(voter: Ours, limit_s: float) -> float | None:
    """After how many seconds it asks for votes of any kind; None if not within the limit."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    voter.sent.clear()
    while clock() - begun < limit_s:
        if voter.taken("request_vote"):
            return clock() - begun
        await asyncio.sleep(0.005)
    return None


async def written(voter: Voter) -> None:
    """Propose until it is committed, as a daemon does with a call."""
    for _ in range(1000):
        try:
            await propose(voter, "x")
        except ProposalError:
            await asyncio.sleep(0.01)
        else:
            return
    raise AssertionError("no leader")


def refuse(voter: Ours, address: str) -> None:
    voter.life.call(voter.engine.refused, address)


class TestRefused:
    def test_who_sees_it_stands_after_a_heartbeat_without_a_word(self) -> None:
        async def check(voter: Ours) -> None:
            for term in range(3, 23):
                voter.append(B, term)
                refuse(voter, B)
                took_s = await asked_within(voter, 5.0)
                assert took_s is not None
                assert S.heartbeat_s <= took_s <= 2 * S.heartbeat_s + 0.01

        voter_test(check)

    def test_who_sees_it_helps_another_one_at_once(self) -> None:
        async def check(voter: Ours) -> None:
            voter.append(B, 3)
            refuse(voter, B)
            voter.sent.clear()
            voter.ask_vote(C, 4, pre_vote=True)
            voter.ask_vote(C, 4)
            assert await votes(voter) == [(C, True), (C, True)]

        voter_test(check)

    def test_a_word_of_the_leader_takes_it_back(self) -> None:
        """What broke between the two alone is no reason to disturb the others."""

        async def check(voter: Ours) -> None:
            voter.append(B, 3)
            for request in range(2, 50):
                refuse(voter, B)
                await asyncio.sleep(S.heartbeat_s * 0.9)
                voter.append(B, 3, request=request)
            assert await asked_within(voter, S.election_min_s - 0.01) is None
            voter.append(B, 3, request=51)
            voter.ask_vote(C, 4, pre_vote=True)
            assert await votes(voter) == [(C, False)]

        voter_test(check)

    def test_it_says_nothing_of_other_voters(self) -> None:
        async def check(voter: Ours) -> None:
            voter.append(B, 3)
            refuse(voter, C)
            refuse(voter, "elsewhere:1")
            voter.sent.clear()
            voter.ask_vote(C, 4, pre_vote=True)
            assert await votes(voter) == [(C, False)]
            assert await asked_within(voter, S.election_min_s - 0.1) is None

        voter_test(check)

    def test_one_follower_that_is_refused_all_the_time_deposes_nobody(self) -> None:
        """A firewall between two machines that answers with resets."""

        async def check(cluster: Cluster) -> None:
            await propose(cluster.head, "a")
            leader, follower = cluster.head, cluster.others[0]
            term = engine_of(leader).term
            cluster.network.weather = Weather(delay_s=(0.0, 0.05), loss=0.05)
            cluster.network.cut(follower.address, leader.address)
            cluster.network.cut(leader.address, follower.address)
            for _ in range(300):
                assert follower.machine.life is not None
                follower.machine.life.call(engine_of(follower).refused, leader.address)
                await asyncio.sleep(0.05)
            cluster.network.heal()
            await written(follower)
            assert (cluster.head, engine_of(leader).term) == (leader, term)

        cluster_test(check)


class TestKilled:
    @pytest.mark.parametrize(("power_loss", "at_most_s"), [(False, 0.35), (True, 1.3)])
    def test_how_long_the_cluster_has_no_leader(self, power_loss: bool, at_most_s: float) -> None:
        """A machine that loses power refuses nobody: it is missed when a time-out ends."""

        async def check(cluster: Cluster) -> None:
            clock = cluster.loop.time
            cluster.network.weather = Weather(delay_s=(0.001, 0.01))
            for number in range(6):
                await propose(cluster.head, f"{number}")
                await asyncio.sleep(0.31)
                dead, other = cluster.head, cluster.others[number % 2]
                dead.go_down(power_loss=power_loss)
                begun = clock()
                await written(other)
                assert clock() - begun <= at_most_s
                await dead.boot()
                await cluster.settled()

        cluster_test(check)


class TestTwoAtOnce:
    """Both would be granted the other's pre-vote, raise the term, and refuse each other."""

    async def _asks(self, voter: Ours) -> int:
        assert await asked_within(voter, S.election_max_s + 0.01) is not None
        return 1

    def test_the_larger_name_waits(self) -> None:
        async def check(voter: Ours) -> None:
            term = await self._asks(voter)
            voter.ask_vote(A, term, pre_vote=True)
            assert (A, True) in await votes(voter)
            voter.vote(A, term, pre_vote=True)
            assert not [data for data in voter.taken("request_vote") if not data["pre_vote"]]
            voter.ask_vote(A, term)
            assert await votes(voter) == [(A, True)]

        named_test(C, check)

    def test_but_not_for_ever(self) -> None:
        """The other one may be unable to hear who would elect it, and asks and asks."""

        async def check(voter: Ours) -> None:
            clock = asyncio.get_running_loop().time
            term = await self._asks(voter)
            begun = clock()
            while not [data for data in voter.taken("request_vote") if not data["pre_vote"]]:
                voter.ask_vote(A, term, pre_vote=True)
                voter.vote(A, term, pre_vote=True)
                await asyncio.sleep(0.01)
            assert clock() - begun < S.election_min_s

        named_test(C, check)

    def test_the_smaller_name_does_not(self) -> None:
        async def check(voter: Ours) -> None:
            term = await self._asks(voter)
            voter.ask_vote(C, term, pre_vote=True)
            voter.vote(C, term, pre_vote=True)
            await voter.settle()
            assert [data for data in voter.taken("request_vote") if not data["pre_vote"]]

        named_test(A, check)

    def test_the_longer_log_goes_first_whatever_its_name(self) -> None:
        async def check(voter: Ours) -> None:
            term = await self._asks(voter)
            voter.ask_vote(C, term, last_index=1, last_term=1, pre_vote=True)
            voter.vote(C, term, pre_vote=True)
            await voter.settle()
            assert not [data for data in voter.taken("request_vote") if not data["pre_vote"]]

        named_test(A, check)

    def test_who_has_no_vote_is_not_waited_for(self) -> None:
        async def check(voter: Ours) -> None:
            term = await self._asks(voter)
            voter.ask_vote(D, term, last_index=1, last_term=1, pre_vote=True)
            voter.vote(A, term, pre_vote=True)
            await voter.settle()
            assert [data for data in voter.taken("request_vote") if not data["pre_vote"]]

        named_test(C, check)


class TestShorterLogs:
    def test_who_is_asked_by_one_that_cannot_win_stands_itself(self) -> None:
        async def check(voter: Ours) -> None:
            for last, term in enumerate(range(2, 12)):
                voter.append(B, term, prev=(last, term - 1 if last else 0), entries=[(term, "a")])
                await asyncio.sleep(S.election_min_s + 0.001)
                voter.ask_vote(C, term + 1, pre_vote=True)
                took_s = await asked_within(voter, 5.0)
                assert took_s is not None
                assert took_s <= S.heartbeat_s + 0.01

        voter_test(check)

    def test_not_while_a_leader_is_heard(self) -> None:
        async def check(voter: Ours) -> None:
            voter.append(B, 2, entries=[(2, "a")])
            for _ in range(20):
                voter.ask_vote(C, 3, pre_vote=True)
            assert await asked_within(voter, S.election_min_s - 0.01) is None

        voter_test(check)


def test_what_an_earlier_leader_took_and_lost_ends_at_once() -> None:
    """It may stand behind everything that is committed for long: terms never fall along a log."""

    async def check(voter: Ours) -> None:
        voter.append(B, 1)
        call = asyncio.ensure_future(voter.propose("a"))
        await voter.settle()
        (forward,) = voter.taken("forward")
        answer = {"type": "forward_response", "sender": B, "term": 1, "number": forward["number"]}
        voter.give({**answer, "accepted": True, "code": "", "first_index": 7, "entry_term": 1})
        await voter.settle()
        voter.append(C, 2, entries=[(2, "")], commit=1)
        await voter.settle()
        assert voter.commit == 1
        with pytest.raises(Superseded):
            async with asyncio.timeout(S.heartbeat_s):
                await call

    voter_test(check)
