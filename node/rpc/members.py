"""Calls about who keeps the log, and who leads: list, add, remove, transfer."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NoReturn

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import log_pb2, types_pb2
from cortex.v1.types_pb2 import StoredReply
from node.consensus.membership import Change, ChangeKind, ChangeRefused
from node.consensus.port import NotLeader, Peer
from node.core import validate
from node.core.faults import Code, Fault, no_leader
from node.core.model import FIRST_LEVEL, Key, Table, reply_key
from node.link import Caller
from node.rpc.calls import Calls, Handlers, accepted

_MEMBERS_LIMIT = 9
_WAIT_LIMIT_MS = 5_000
_LIST = "See `cortex voters`."
_UP = "See in `cortex voters` which are up, and start those that are not."


class MemberCalls(Calls):
    """Every method raises Fault."""

    def handlers(self) -> Handlers:
        return {
            "ListVoters": self.list_voters,
            "AddVoter": self.add_voter,
            "RemoveVoter": self.remove_voter,
            "TransferLeader": self.transfer_leader,
        }

    async def list_voters(self, request: pb.ListVotersRequest, caller: Caller) -> pb.ListVotersReply:
        """Who is up, and how far, only the leader knows; without one those that are known here are listed."""
        await self._fresh(request.freshness)
        serving = self._replica.serving
        if not serving:
            try:
                return await self._ask_leader("ListVoters", request, pb.ListVotersReply, caller)
            except Fault as fault:
                if fault.code != Code.NO_LEADER:
                    raise
        index = self._replica.consensus.commit_index
        return pb.ListVotersReply(
            voters=[_view(peer, index, self._replica.leader or "", known=serving) for peer in self._replica.peers],
            index=index,
            term=self._replica.term,
            age_us=self._age_us(),
            known=serving,
        )

    async def add_voter(self, request: pb.AddVoterRequest, caller: Caller) -> pb.ChangeVoterReply:
        """Learner now; voter as soon as it has caught up, which the leader sees to and this call waits for."""
        if not 0 <= request.wait_ms <= _WAIT_LIMIT_MS:
            message = f"wait_ms is {request.wait_ms}."
            raise Fault(Code.INVALID, message, f"It goes from 0 to {_WAIT_LIMIT_MS}.")
        entry = self._entry(request.mutation, caller)
        if not self._replica.serving:
            return await self._ask_leader("AddVoter", request, pb.ChangeVoterReply, caller)
        node_id = self._lookup.node_id(request.node)
        reply = self._stored(entry)
        if reply is None:
            change = self._addition(node_id)
            # One that still catches up is waited for once more.
            reply = await self._change(change, entry) if change is not None else None
        if reply is not None:
            accepted(reply)
        index = self._state.index if reply is None else reply.index
        voter = await self._votes_within(node_id, request.wait_ms / 1000)
        return pb.ChangeVoterReply(operation_id=entry.request_id, index=index, ids=[node_id], voter=voter)

    async def remove_voter(self, request: pb.RemoveVoterRequest, caller: Caller) -> pb.ChangeVoterReply:
        """Whoever leads hands leadership over first: it is the next leader that removes it."""
        entry = self._entry(request.mutation, caller)
        if not self._replica.serving:
            return await self._ask_leader("RemoveVoter", request, pb.ChangeVoterReply, caller)
        reply = self._stored(entry)
        if reply is None:
            node_id = self._named(request.node)
            if node_id not in (peer.id for peer in self._replica.peers):
                raise Fault(Code.WRONG_STATE, f"{node_id} is neither voter nor learner.", _LIST)
            if node_id == self._parts.node_id:
                await self._leave_to_another(node_id)
            reply = await self._change(Change(ChangeKind.REMOVE, node_id), entry)
        (answer,) = accepted(reply)
        return pb.ChangeVoterReply(operation_id=entry.request_id, index=reply.index, ids=[answer.id])

    async def transfer_leader(self, request: pb.TransferLeaderRequest, caller: Caller) -> pb.TransferLeaderReply:
        if not self._replica.serving:
            return await self._ask_leader("TransferLeader", request, pb.TransferLeaderReply, caller)
        clock = self._parts.env.clock
        begun_us = clock.boot_us()
        target = self._named(request.node) if request.node else self._heir()
        if target == self._parts.node_id:
            return pb.TransferLeaderReply(leader=target, term=self._replica.term)
        peer = next((peer for peer in self._replica.peers if peer.id == target and peer.voter), None)
        if peer is None:
            raise Fault(Code.INVALID, f"{target} does not vote.", "Choose one of `cortex voters`.")
        if not peer.up:
            raise Fault(Code.WRONG_STATE, f"{target} does not answer, so it cannot lead.", _UP)
        try:
            leader = await self._replica.consensus.transfer(target)
        except NotLeader:
            raise no_leader() from None
        except (TimeoutError, ValueError):
            message = f"{target} did not take over in time; {self._parts.node_id} leads on."
            remedy = "Nobody leads whose disk is full or hangs: see `cortex status`, or choose another voter."
            raise Fault(Code.DEADLINE, message, remedy) from None
        took_us = clock.boot_us() - begun_us
        return pb.TransferLeaderReply(leader=leader, took_us=took_us, term=self._replica.term)

    def _entry(self, mutation: pb.Mutation, caller: Caller) -> log_pb2.Entry:
        """What a change is recorded in; its request id is also the one that is passed on."""
        mutation.request_id = validate.request_id(mutation.request_id) or self._parts.env.new_id()
        mutation.client = mutation.client or caller.actor
        return log_pb2.Entry(client=mutation.client, request_id=mutation.request_id, actor=caller.actor)

    def _stored(self, entry: log_pb2.Entry) -> log_pb2.Reply | None:
        """The answer to this very request, if it was carried out before."""
        key = Key(Table.REPLIES, reply_key(entry.client, entry.request_id))
        row = self._state.get(*key) or self._replica.cold_rows(entry).get(key)
        return log_pb2.Reply.FromString(row.reply) if isinstance(row, StoredReply) else None

    def _addition(self, node_id: str) -> Change | None:
        """What makes a node a learner; None when it is one."""
        member = self._replica.consensus.membership.find(node_id)
        if member is not None and member.voter:
            raise Fault(Code.WRONG_STATE, f"{node_id} votes already.", _LIST)
        if member is not None:
            return None
        node = self._state.nodes[node_id]
        if node.state == types_pb2.NODE_STATE_REMOVED:
            message = f"Node {node_id} was removed from the cluster."
            raise Fault(Code.WRONG_STATE, message, "Start its daemon with a new data folder, then add it.")
        if not node.may_vote:
            message = f"{node_id} runs with --worker, and keeps no log."
            remedy = f"Start its daemon with --join alone, then `cortex voters add {node_id}`."
            raise Fault(Code.WRONG_STATE, message, remedy)
        if max(node.level, FIRST_LEVEL) < self._state.level:
            message = f"{node_id} knows feature level {node.level}; the cluster is at {self._state.level}."
            raise Fault(Code.WRONG_STATE, message, f"Upgrade its daemon, then `cortex voters add {node_id}`.")
        count = len(self._replica.peers)
        if count >= _MEMBERS_LIMIT:
            message = f"There are {count} voters and learners; {_MEMBERS_LIMIT} is the limit."
            raise Fault(Code.WRONG_STATE, message, "Remove one first, or let this one be a worker.")
        return Change(ChangeKind.ADD_LEARNER, node_id, node.address)

    async def _change(self, change: Change, entry: log_pb2.Entry) -> log_pb2.Reply:
        try:
            return await self._replica.change_members(change, entry)
        except ChangeRefused as refused:
            raise Fault(Code.WRONG_STATE, str(refused), _UP) from None

    async def _votes_within(self, node_id: str, wait_s: float) -> bool:
        """Whether the node votes, after waiting for that at most so long."""

        def votes() -> bool:
            node = self._state.nodes.get(node_id)
            return node is not None and node.role == types_pb2.NODE_ROLE_VOTER

        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not votes():
                    await self._replica.feed.wait()
        return votes()

    def _named(self, text: str) -> str:
        """Id of a voter or learner, which need not have a node row: its worker may join later; or of a node."""
        ids = [peer.id for peer in self._replica.peers]
        if text in ids or text in self._state.nodes:
            return text
        found = [one for one in ids if text and one.startswith(text)]
        return found[0] if len(found) == 1 else self._lookup.node_id(text)

    async def _leave_to_another(self, node_id: str) -> NoReturn:
        """Leadership goes to another voter, whose cluster can do without this one. Raises Fault in any case."""
        others = [peer for peer in self._replica.peers if peer.voter and peer.id != node_id]
        if not others:
            raise Fault(Code.WRONG_STATE, f"{node_id} is the last voter.", "Add another one first.")
        up = sum(peer.up for peer in others)
        if 2 * up <= len(others):
            message = f"This would break quorum: {up} of the {len(others)} voters it leaves are up."
            raise Fault(Code.WRONG_STATE, message, _UP)
        heir = self._heir()
        await self._replica.transfer(heir)
        message = f"{node_id} led; it handed leadership to {heir}, and nothing else was changed yet."
        raise Fault(Code.NO_LEADER, message, "Try again: the new leader removes it.")

    def _heir(self) -> str:
        """The voter that leadership had best go to: up, not about to leave, with the longest log."""
        nodes = self._state.nodes

        def rank(peer: Peer) -> tuple[bool, int, str]:
            node = nodes.get(peer.id)
            stays = node is None or node.state in (types_pb2.NODE_STATE_ACTIVE, types_pb2.NODE_STATE_CORDONED)
            return stays, peer.match_index, peer.id

        able = [peer for peer in self._replica.peers if peer.voter and peer.up and peer.id != self._parts.node_id]
        if not able:
            message = "No other voter is up that could lead."
            raise Fault(Code.WRONG_STATE, message, "Start one, or add one with `cortex voters add NODE`.")
        return max(able, key=rank).id


def _view(peer: Peer, index: int, leader: str, *, known: bool) -> pb.VoterView:
    return pb.VoterView(
        id=peer.id,
        address=peer.address,
        voter=peer.voter,
        leader=peer.id == leader,
        up=peer.up and known,
        match_index=peer.match_index,
        lag=max(0, index - peer.match_index) if known else 0,
        catching_up=not peer.voter,
        snapshot_sent_bytes=peer.snapshot_sent_bytes,
        snapshot_bytes=peer.snapshot_bytes,
    )
