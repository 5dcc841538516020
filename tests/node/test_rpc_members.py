"""Calls about who keeps the log and who leads: what is refused, what is done once, and what is said honestly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, Entry, NodeJoin, NodeLeave
from cortex.v1.types_pb2 import Node
from node.consensus.membership import Change, ChangeKind, ChangeRefused, Member, Membership
from node.consensus.memory.engine import MemoryEngine
from node.consensus.port import ChangeInProgress, Host, OutcomeUnknown, Peer
from node.core.faults import Code, Fault
from node.env import Env
from node.rpc.members import MemberCalls
from tests.node.replica_kit import ANN, Alone, alone


class Engine(MemoryEngine):
    """Its log takes no time; changes of the membership are made as they are asked for."""

    def __init__(self, host: Host, id: str, address: str) -> None:  # noqa: A002
        super().__init__(host, id, address)
        self.down: set[str] = set()
        self.busy = 0
        self.lose_answers = 0
        self.changes: list[Change] = []
        self.transfers: list[str | None] = []

    @property
    def peers(self) -> Sequence[Peer]:
        own = self.last_index
        return [
            Peer(one.id, one.address, one.id not in self.down, own if one.id == "n1" else 1, one.voter)
            for one in self.membership.members
        ]

    async def change_membership(self, change: Change, proposal: bytes) -> int:
        if self.busy:
            self.busy -= 1
            raise ChangeInProgress("the change before this one is not committed yet")
        after = self.membership.after(change)
        if change.kind is ChangeKind.REMOVE and len(self.down) * 2 >= len(after.voters):
            raise ChangeRefused("This would break quorum.")
        self.changes.append(change)
        index = await super().change_membership(change, proposal)
        if self.lose_answers:
            self.lose_answers -= 1
            raise OutcomeUnknown("nobody answered")
        return index

    async def transfer(self, to: str | None = None) -> str:
        self.transfers.append(to)
        if to in self.down or to is None:
            raise TimeoutError
        return to


class Desk:
    """A leader of one voter with standbys s1 to s3, a worker, and the calls."""

    def __init__(self, made: Alone) -> None:
        self.replica = made.replica
        self.engine: Any = made.engine
        parts: Any = SimpleNamespace(
            replica=made.replica,
            node_id="n1",
            env=Env.real(Path("/nonexistent")),
            leadership=made.leadership,
            link=None,
            address_of=lambda _id: None,
        )
        self.calls = MemberCalls(parts)

    async def add(self, node: str, request: str = "", wait_ms: int = 0) -> pb.ChangeVoterReply:
        mutation = pb.Mutation(client="c", request_id=request or f"add-{node}")
        return await self.calls.add_voter(pb.AddVoterRequest(mutation=mutation, node=node, wait_ms=wait_ms), ANN)

    async def remove(self, node: str, request: str = "") -> pb.ChangeVoterReply:
        mutation = pb.Mutation(client="c", request_id=request or f"remove-{node}")
        return await self.calls.remove_voter(pb.RemoveVoterRequest(mutation=mutation, node=node), ANN)

    async def promote(self, node: str) -> None:
        await self.replica.change_members(Change(ChangeKind.PROMOTE, node), Entry())

    async def voters(self, *nodes: str) -> None:
        """Make voters of them."""
        for node in nodes:
            await self.add(node)
            await self.promote(node)

    def role(self, node: str) -> types_pb2.NodeRole.ValueType:
        return self.replica.state.nodes[node].role


async def refused(call: Awaitable[Any], code: Code, text: str) -> None:
    with pytest.raises(Fault) as caught:
        await call
    assert caught.value.code == code, caught.value.message
    assert text in caught.value.message
    assert caught.value.remedy


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    async with alone(folder, Engine) as made:
        for name in ("s1", "s2", "s3", "w1"):
            node = Node(id=name, incarnation="i", address=f"{name}:1", may_vote=name != "w1")
            await made.do(Command(node_join=NodeJoin(node=node)))
        yield Desk(made)


async def test_an_added_node_is_a_learner_until_it_has_caught_up(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        reply = await it.add("s1", wait_ms=1)
        assert (list(reply.ids), reply.voter, reply.operation_id) == (["s1"], False, "add-s1")
        assert it.engine.membership.find("s1") == Member("s1", "s1:1", voter=False)
        assert it.role("s1") == types_pb2.NODE_ROLE_LEARNER
        waiting = asyncio.ensure_future(it.add("s1", "again", wait_ms=5000))
        await asyncio.sleep(0)
        await it.promote("s1")
        assert (await waiting).voter
        assert [change.kind for change in it.engine.changes] == [ChangeKind.ADD_LEARNER, ChangeKind.PROMOTE]


async def test_a_request_that_is_repeated_is_carried_out_once(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        first = await it.add("s1")
        await it.promote("s1")
        again = await it.add("s1")
        assert (again.index, again.voter) == (first.index, True)
        gone = await it.remove("s1")
        assert await it.remove("s1") == gone
        assert len(it.engine.changes) == 3


async def test_a_change_whose_answer_was_lost_is_found_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        it.engine.lose_answers = 1
        await refused(it.add("s1"), Code.OUTCOME_UNKNOWN, "may still happen")
        assert list((await it.add("s1")).ids) == ["s1"]
        assert len(it.engine.changes) == 1


async def test_a_change_waits_for_the_one_before(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        it.engine.busy = 3
        assert list((await it.add("s1")).ids) == ["s1"]


async def test_what_cannot_be_added(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await refused(it.add("w1"), Code.WRONG_STATE, "w1 runs with --worker")
        await refused(it.add("nobody"), Code.NOT_FOUND, "nobody")
        await refused(it.add("n1"), Code.WRONG_STATE, "n1 votes already")
        await refused(it.add("s1", wait_ms=5001), Code.INVALID, "5001")
        await it.replica.execute([Command(node_leave=NodeLeave(id="s2", removed=True))])
        await refused(it.add("s2"), Code.WRONG_STATE, "was removed")
        it.engine.log.membership = Membership.of(Member(f"v{n}", f"v{n}:1") for n in range(9))
        await refused(it.add("s1"), Code.WRONG_STATE, "9 is the limit")
        assert not it.engine.changes


async def test_what_cannot_be_removed(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await refused(it.remove("n1"), Code.WRONG_STATE, "n1 is the last voter")
        await refused(it.remove("s1"), Code.WRONG_STATE, "neither voter nor learner")
        await refused(it.remove("nobody"), Code.NOT_FOUND, "nobody")
        await it.voters("s1", "s2")
        it.engine.down = {"s1"}
        await refused(it.remove("s2"), Code.WRONG_STATE, "would break quorum")
        await refused(it.remove("n1"), Code.WRONG_STATE, "1 of the 2 voters it leaves are up")
        assert not it.engine.transfers
        assert it.role("s2") == types_pb2.NODE_ROLE_VOTER


async def test_a_removed_voter_goes_on_as_a_worker(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.voters("s1", "s2")
        assert list((await it.remove("s2")).ids) == ["s2"]
        assert it.role("s2") == types_pb2.NODE_ROLE_WORKER
        assert it.engine.membership.find("s2") is None


async def test_a_leader_hands_over_before_it_is_removed(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.voters("s1", "s2")
        await refused(it.remove("n1"), Code.NO_LEADER, "handed leadership to s2")
        assert it.engine.transfers == ["s2"]
        assert it.engine.membership.is_voter("n1")


async def test_the_list_says_how_far_everybody_is(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.voters("s1")
        await it.add("s2")
        reply = await it.calls.list_voters(pb.ListVotersRequest(), ANN)
        assert (reply.known, reply.index) == (True, it.engine.commit_index)
        own, first, second = reply.voters
        assert (own.id, own.leader, own.lag, own.catching_up) == ("n1", True, 0, False)
        assert (first.voter, first.match_index, first.lag) == (True, 1, reply.index - 1)
        assert (second.voter, second.catching_up, second.address) == (False, True, "s2:1")


async def test_leadership_goes_to_whoever_is_named_and_can(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:

        def to(node: str) -> Awaitable[pb.TransferLeaderReply]:
            return it.calls.transfer_leader(pb.TransferLeaderRequest(node=node), ANN)

        await refused(to(""), Code.WRONG_STATE, "No other voter is up")
        await it.voters("s1", "s2")
        await it.add("s3")
        assert (await to("n1")).leader == "n1"
        assert not it.engine.transfers
        reply = await to("s1")
        assert (reply.leader, reply.took_us >= 0) == ("s1", True)
        await refused(to("s3"), Code.INVALID, "s3 does not vote")
        await refused(to("w1"), Code.INVALID, "w1 does not vote")
        it.engine.down = {"s2"}
        await refused(to("s2"), Code.WRONG_STATE, "s2 does not answer")
        assert (await to("")).leader == "s1"
        for kind in (ChangeKind.ADD_LEARNER, ChangeKind.PROMOTE):
            await it.replica.change_members(Change(kind, "w10", "w10:1"))
        assert (await to("w10")).leader == "w10", "its worker has not joined yet"
        await refused(to("w1"), Code.INVALID, "w1 does not vote")
        await refused(to("w2"), Code.NOT_FOUND, "no node 'w2'")
