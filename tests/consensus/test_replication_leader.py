"""Replication seen from the leader: what commits, what is under way, and what comes back."""

from __future__ import annotations

import asyncio

import pytest

from node.consensus.raftos.settings import RaftSettings
from tests.consensus.rigs import ALL, ME, B, C, Ours, with_log
from tests.consensus.test_elections import follow, voter_test
from tests.sim.loop import run

S = RaftSettings()


class TestLeader:
    def test_figure_8_an_older_entry_on_a_majority_is_not_committed_by_that(self) -> None:
        """Raft paper, figure 8; etcd raft TestCannotCommitWithoutNewTermEntry."""

        async def main() -> None:
            voter = with_log(Ours(voters=5), [1, 2], term=3)
            await voter.start()
            term = await voter.lead()
            assert voter.log[2] == (term, "")
            voter.appended(B, term, last_index=2)
            voter.appended(C, term, last_index=2)
            await voter.settle()
            assert voter.commit == 0
            voter.appended(B, term, last_index=3)
            voter.appended(C, term, last_index=3)
            await voter.settle()
            assert voter.commit == 3

        run(main)

    def test_it_commits_nothing_that_its_own_disk_lacks(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            voter.machine.sync_s = (1.0, 1.0)
            waiting = asyncio.ensure_future(voter.propose("a"))
            await voter.settle()
            voter.appended(B, term, last_index=2)
            voter.appended(C, term, last_index=2)
            await asyncio.sleep(0.5)
            assert voter.commit < 2
            await asyncio.sleep(1)
            assert await waiting == voter.commit == 2

        voter_test(check)

    @pytest.mark.parametrize(("voters", "needed"), [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
    def test_it_commits_with_a_majority_and_not_with_less(self, voters: int, needed: int) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            for peer in voter.peers[: needed - 1]:
                voter.appended(peer, term, last_index=1)
            await voter.settle()
            assert voter.commit == 0
            voter.appended(voter.peers[needed - 1], term, last_index=1)
            await voter.settle()
            assert voter.commit == 1

        voter_test(check, voters)

    def test_the_same_peer_twice_is_no_majority(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            for _ in range(3):
                voter.appended(B, term, last_index=1)
            await voter.settle()
            assert voter.commit == 0

        voter_test(check, voters=5)

    def test_followers_learn_of_a_commit_before_the_next_heartbeat(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            for peer in voter.peers:
                voter.appended(peer, term, last_index=1)
            await voter.settle()
            waiting = asyncio.ensure_future(voter.propose("a"))
            await voter.settle()
            voter.sent.clear()
            voter.appended(B, term, last_index=2)
            await asyncio.sleep(2 * S.commit_notice_s)
            told = {data["to"]: data["commit_index"] for data in voter.taken("append_entries")}
            assert told == {B: 2, C: 2}
            assert await waiting == 2

        voter_test(check)

    def test_a_follower_that_forwarded_learns_of_the_commit_at_once(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            for peer in voter.peers:
                voter.appended(peer, term, last_index=1)
            await voter.settle()
            voter.give({"type": "forward", "sender": C, "term": term, "number": 1, "proposals": [b"a"]})
            await voter.settle()
            voter.sent.clear()
            voter.appended(B, term, last_index=2)
            await asyncio.sleep(S.commit_notice_s / 10)
            told = [(data["to"], data["commit_index"]) for data in voter.taken("append_entries")]
            assert told == [(C, 2)]

        voter_test(check)

    def test_what_is_proposed_together_is_one_write_and_one_message(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            voter.appended(B, term, last_index=1)
            await voter.settle()
            voter.sent.clear()
            before = voter.machine.disk("raft").syncs
            calls = [asyncio.ensure_future(voter.propose(f"p{number}")) for number in range(200)]
            await voter.settle()
            assert voter.machine.disk("raft").syncs - before <= 2
            (message,) = [data for data in voter.taken("append_entries") if data["to"] == B]
            assert len(message["entries"]) == 200
            voter.appended(B, term, last_index=201)
            assert sorted(await asyncio.gather(*calls)) == list(range(2, 202))

        voter_test(check)

    def test_what_is_under_way_to_a_peer_is_bounded_and_flows_on(self) -> None:
        settings = RaftSettings(max_message_bytes=1000, max_inflight=3)

        async def main() -> None:
            voter = Ours(settings=settings)
            await voter.start()
            term = await voter.lead()
            voter.appended(B, term, last_index=1)
            await voter.settle()
            voter.sent.clear()
            calls = [asyncio.ensure_future(voter.propose("x" * 400)) for _ in range(40)]
            await voter.settle()
            sent = [len(data["entries"]) for data in voter.taken("append_entries") if data["to"] == B]
            assert sent == [2, 2, 2]
            done = 1
            while done < 41:
                done += 2
                voter.appended(B, term, last_index=done)
                await voter.settle()
            assert await asyncio.gather(*calls)

        run(main)

    def test_a_lost_message_is_noticed_at_the_next_heartbeat(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            voter.appended(B, term, last_index=1)
            await voter.settle()
            waiting = asyncio.ensure_future(voter.propose("a"))
            await voter.settle()
            voter.sent.clear()  # lost
            await asyncio.sleep(S.heartbeat_s)
            heartbeat = next(data for data in voter.taken("append_entries") if data["to"] == B)
            assert (heartbeat["entries"], heartbeat["prev_log_index"]) == ([], 2)
            voter.refused(B, term, prev_index=2, request=heartbeat["request_id"])
            await voter.settle()
            resent = next(data for data in voter.taken("append_entries") if data["to"] == B)
            assert [entry.data for entry in resent["entries"]] == [b"a"]
            voter.appended(B, term, last_index=2)
            assert await waiting == 2

        voter_test(check)

    def test_a_silent_peer_is_not_flooded(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            for _ in range(30):
                request = max(
                    data["request_id"] for data in [*voter.sent, {"request_id": 1}] if "request_id" in data
                )
                voter.appended(B, term, last_index=len(voter.log), request=request)
                calls = [asyncio.ensure_future(voter.propose("x")) for _ in range(5)]
                await asyncio.sleep(S.heartbeat_s)
                voter.appended(B, term, last_index=len(voter.log))
                await asyncio.gather(*calls)
            to_silent = [data for data in voter.taken("append_entries") if data["to"] == C]
            assert len(to_silent) <= 35
            assert sum(map(len, (data["entries"] for data in to_silent))) <= 1

        voter_test(check)

    def test_late_and_foreign_answers_do_no_harm(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            voter.appended(B, term, last_index=1)
            voter.appended(B, term - 1, last_index=99)
            voter.appended(C, term, last_index=99)
            voter.refused(B, term, prev_index=1)
            voter.refused(B, term, prev_index=77)
            await voter.settle()
            assert {peer.id: peer.match_index for peer in voter.engine.peers} == {ME: 1, B: 1, C: 1}
            assert voter.role == "leader"

        voter_test(check)

    def test_it_leaves_when_a_newer_term_is_heard_of(self) -> None:
        async def check(voter: Ours) -> None:
            term = await voter.lead()
            voter.append(C, term + 1)
            assert (voter.role, voter.term, voter.engine.leader) == ("follower", term + 1, C)

        voter_test(check)

    def test_a_follower_that_hears_one_leader_hears_of_the_next(self) -> None:
        async def check(voter: Ours) -> None:
            await follow(voter, B, 1, for_s=0.5)
            voter.append(C, 2)
            assert (voter.engine.leader, voter.term) == (C, 2)

        voter_test(check, voters=len(ALL))
