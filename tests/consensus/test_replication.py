"""How logs become equal, and when an entry is committed. Each test: set up, act, check."""

from __future__ import annotations

import asyncio
import random
from itertools import groupby

import pytest

from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.wire import Codec
from tests.consensus.rigs import CLUSTER, ME, B, C, D, Ours, with_log
from tests.consensus.test_elections import voter_test
from tests.sim.loop import run

S = RaftSettings()
LEADER_TERMS = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
FIGURE_7 = {
    "a: misses an entry": [1, 1, 1, 4, 4, 5, 5, 6, 6],
    "b: misses many": [1, 1, 1, 4],
    "c: has one too many": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    "d: has a newer term": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    "e: has others of one term": [1, 1, 1, 4, 4, 4, 4],
    "f: has others of two terms": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    "empty": [],
}


async def relay(one: Ours, other: Ours, turns: int) -> int:
    """Carry messages between two voters for some turns; how many appends were refused."""
    refusals = 0
    for _ in range(turns):
        for source, target in ((one, other), (other, one)):
            messages, source.sent = source.sent, []
            for data in messages:
                if data["to"] == target.me:
                    refusals += data["type"] == "append_entries_response" and not data["success"]
                    message = Codec(CLUSTER, source.me).encode(data, target.me)
                    target.life.call(target.engine.receive, message)
        await asyncio.sleep(0.002)
    return refusals


def plain(log: list[tuple[int, str]]) -> list[int]:
    return [term for term, _ in log]


class TestAgreement:
    @pytest.mark.parametrize("terms", FIGURE_7.values(), ids=FIGURE_7.keys())
    @pytest.mark.parametrize("message_bytes", [1, 1 << 20])
    def test_figure_7(self, terms: list[int], message_bytes: int) -> None:
        """Raft paper, figure 7: six followers, each with a log of its own."""

        async def main() -> None:
            settings = RaftSettings(max_message_bytes=message_bytes)
            leader = with_log(Ours(voters=5, settings=settings), LEADER_TERMS, term=7)
            follower = with_log(Ours(voters=5, settings=settings, me=B), terms, term=7)
            await leader.start()
            term = await leader.stand()
            leader.vote(C, term)
            leader.vote(D, term)
            await leader.settle()
            await follower.start()
            await relay(leader, follower, turns=60)
            assert plain(leader.log) == [*LEADER_TERMS, term]
            assert follower.log == leader.log

        run(main)

    @pytest.mark.parametrize("terms", FIGURE_7.values(), ids=FIGURE_7.keys())
    def test_fast_rejection_costs_at_most_one_round_trip_per_conflicting_term(self, terms: list[int]) -> None:
        """Raft paper 5.3; etcd raft TestFastLogRejection."""

        async def main() -> None:
            leader = with_log(Ours(voters=5), LEADER_TERMS, term=7)
            follower = with_log(Ours(voters=5, me=B), terms, term=7)
            await leader.start()
            term = await leader.stand()
            leader.vote(C, term)
            leader.vote(D, term)
            await leader.settle()
            await follower.start()
            shared = sum(1 for mine, its in zip(LEADER_TERMS, terms, strict=False) if mine == its)
            conflicting = len(list(groupby(terms[shared:])))
            assert await relay(leader, follower, turns=40) <= conflicting + 1

        run(main)

    def test_appends_in_any_order_and_number_give_the_same_log(self) -> None:
        """Reordered and doubled appends: dissertation 3.5, etcd raft TestHandleMsgApp."""

        async def check(voter: Ours) -> None:
            rng = random.Random(7)
            texts = [f"e{index}" for index in range(1, 31)]
            for _ in range(600):
                first = rng.randint(0, 29)
                count = rng.randint(0, 5)
                committed = rng.randint(0, 30)
                entries = [(1, text) for text in texts[first : first + count]]
                before = voter.log
                voter.append(B, 1, prev=(first, min(first, 1)), entries=entries, commit=committed)
                assert voter.log[: len(before)] == before
                assert len(voter.log) >= voter.engine._log.commit_index
                if rng.random() < 0.05:
                    await voter.settle()
            for index, text in enumerate(texts):
                voter.append(B, 1, prev=(index, min(index, 1)), entries=[(1, text)], commit=index + 1)
            await voter.settle()
            assert voter.log == [(1, text) for text in texts]
            assert voter.commit == 30
            await voter.lose_power()
            assert voter.log == [(1, text) for text in texts]

        voter_test(check)

    def test_a_conflicting_suffix_goes_on_the_disk_too(self) -> None:
        async def check(voter: Ours) -> None:
            voter.append(B, 1, entries=[(1, "a"), (1, "b"), (1, "c")], commit=1)
            await voter.settle()
            voter.append(C, 2, prev=(1, 1), entries=[(2, "x")])
            await voter.settle()
            await voter.lose_power()
            assert voter.log == [(1, "a"), (2, "x")]

        voter_test(check)

    def test_entries_that_contradict_themselves_are_dropped(self) -> None:
        async def check(voter: Ours) -> None:
            voter.append(B, 3, entries=[(2, "a"), (1, "b")])
            voter.append(B, 3, entries=[(4, "a")])
            voter.append(B, 3, prev=(0, 2), entries=[(1, "a")])
            await voter.settle()
            assert (voter.log, voter.term) == ([], 0)

        voter_test(check)


class TestFollower:
    def test_it_acknowledges_only_what_is_on_its_disk(self) -> None:
        async def check(voter: Ours) -> None:
            voter.machine.sync_s = (0.3, 0.3)
            voter.append(B, 1, entries=[(1, "a")], request=1)
            await asyncio.sleep(0.1)
            assert voter.taken("append_entries_response") == []
            # Heartbeats do not wait for the disk.
            voter.append(B, 1, request=2)
            (answer,) = voter.taken("append_entries_response")
            assert (answer["success"], answer["request_id"], answer["last_log_index"]) == (True, 2, 0)
            await asyncio.sleep(0.3)
            (answer,) = voter.taken("append_entries_response")
            assert answer["last_log_index"] == 1

        voter_test(check)

    def test_a_crash_before_the_sync_is_as_if_it_had_not_come(self) -> None:
        async def check(voter: Ours) -> None:
            voter.machine.sync_s = (1.0, 1.0)
            voter.append(B, 1, entries=[(1, "a")])
            await asyncio.sleep(0.5)
            voter.machine.sync_s = (0.0002, 0.0006)
            await voter.lose_power()
            assert voter.log in ([], [(1, "a")])
            assert voter.sent == []

        voter_test(check)

    def test_it_commits_only_what_it_knows_to_equal_the_leaders(self) -> None:
        """Entries of an older leader behind the verified ones are not committed by a newer one's commit index."""

        async def check(voter: Ours) -> None:
            voter.append(B, 1, entries=[(1, "a"), (1, "b"), (1, "c")])
            await voter.settle()
            voter.append(C, 2, prev=(1, 1), commit=3)
            await voter.settle()
            assert voter.commit == 1

        voter_test(check)

    def test_it_tells_the_host_only_what_its_own_disk_has(self) -> None:
        async def check(voter: Ours) -> None:
            voter.machine.sync_s = (1.0, 1.0)
            voter.append(B, 1, entries=[(1, "a")], commit=1)
            await asyncio.sleep(0.5)
            assert (voter.commit, list(voter.engine.entries(0, 10))) == (0, [])
            await asyncio.sleep(2)
            assert [entry.data for entry in voter.engine.entries(0, 10)] == [b"a"]

        voter_test(check)

    def test_it_refuses_to_give_up_a_committed_entry(self) -> None:
        async def check(voter: Ours) -> None:
            voter.append(B, 1, entries=[(1, "a")], commit=1)
            await voter.settle()
            voter.append(C, 2, entries=[(2, "x")])
            await voter.settle()
            assert voter.log == [(1, "a")]

        voter_test(check)

    def test_clocks_and_digests_travel_with_heartbeats(self) -> None:
        async def check(voter: Ours) -> None:
            voter.host.applied_to = (7, 5, b"digest")
            codec = Codec(CLUSTER, B)
            heartbeat = {
                "type": "append_entries",
                "term": 1,
                "entries": [],
                "prev_log_index": 0,
                "prev_log_term": 0,
            }
            message = codec.encode({**heartbeat, "commit_index": 0, "request_id": 1, "wall_us": 123}, ME)
            voter.life.call(voter.engine.receive, message)
            assert voter.host.clocks == [(B, 123)]
            (answer,) = voter.taken("append_entries_response")
            assert answer["applied"] == (7, 5, b"digest")
            assert answer["wall_us"] == voter.machine.clock.wall_us()

        voter_test(check)

    def test_messages_for_others_or_of_another_cluster_are_dropped(self) -> None:
        async def check(voter: Ours) -> None:
            request = {"type": "request_vote", "term": 9, "last_log_index": 9, "last_log_term": 9}
            request |= {"pre_vote": False, "transfer": False}
            for cluster, sender, to in [
                ("other", B, ME),
                (CLUSTER, B, C),
                (CLUSTER, ME, ME),
            ]:
                voter.life.call(voter.engine.receive, Codec(cluster, sender).encode(request, to))
            await voter.settle()
            assert (voter.term, voter.sent) == (0, [])

        voter_test(check)
