"""A log of one member in memory: the port's reference model, and the engine of tests that need no other."""

from __future__ import annotations

from collections.abc import Sequence

from cortex.v1 import raft_pb2
from node.consensus.entries import Entries
from node.consensus.freshness import Freshness
from node.consensus.membership import Change, Membership
from node.consensus.port import Committed, Host, NotLeader, Peer, Role, TooLarge, Trouble

MAX_PROPOSAL_BYTES = 4 << 20


class MemoryLog:
    """What outlives an engine, as a disk does."""

    def __init__(self) -> None:
        self.term = 0
        self.entries = Entries()
        self.membership: Membership | None = None


class MemoryEngine:
    """Implements node.consensus.port.Consensus. It leads from start() to stop(), each time in a new term."""

    def __init__(self, host: Host, id: str = "n1", address: str = "n1:1", log: MemoryLog | None = None) -> None:  # noqa: A002
        self._host, self._id = host, id
        self.log = log or MemoryLog()
        self._first = Membership.of_voters({id: address})
        self._running = False
        self._may_lead = True
        self.freshness = Freshness()

    @property
    def role(self) -> Role:
        return Role.LEADER if self._running and self._may_lead else Role.FOLLOWER

    @property
    def term(self) -> int:
        return self.log.term

    @property
    def leader(self) -> str | None:
        return self._id if self.role is Role.LEADER else None

    @property
    def commit_index(self) -> int:
        return self.log.entries.last_index

    @property
    def last_index(self) -> int:
        return self.log.entries.last_index

    @property
    def snapshot_index(self) -> int:
        return 0

    @property
    def notice(self) -> str:
        return ""

    @property
    def trouble(self) -> Trouble | None:
        return None

    @property
    def membership(self) -> Membership:
        return self.log.membership or self._first

    def membership_at(self, index: int) -> Membership:
        entries = self.log.entries
        known = [entry.membership for entry in entries.between(entries.base_index, index) if entry.membership]
        return Membership.decode(known[-1]) if known else self._first

    @property
    def peers(self) -> Sequence[Peer]:
        members = self.membership.members
        return [Peer(m.id, m.address, m.id == self._id, self.last_index, m.voter) for m in members]

    async def start(self) -> None:
        self._running = True
        self._begin_term()

    async def stop(self) -> None:
        self._running = False

    async def propose(self, proposal: bytes) -> int:
        return self._append(proposal)

    async def change_membership(self, change: Change, proposal: bytes) -> int:
        after = self.membership.after(change)
        index = self._append(proposal, after.encode())
        self.log.membership = after
        return index

    def entries(self, after: int, limit: int) -> Sequence[Committed]:
        return self.log.entries.between(after, after + limit)

    async def confirm(self) -> None:
        self._check_leads()

    async def read_index(self) -> int:
        self._check_leads()
        return self.commit_index

    async def transfer(self, to: str | None = None) -> str:
        raise NotLeader("there is nobody to hand over to")

    def allow_campaign(self, allowed: bool) -> None:
        if allowed != self._may_lead:
            self._may_lead = allowed
            if allowed and self._running:
                self._begin_term()
            else:
                self._host.role_changed()

    def receive(self, message: raft_pb2.RaftMessage) -> None:
        """There is nobody to hear from."""

    def _begin_term(self) -> None:
        if self._may_lead:
            self.log.term += 1
            self._host.role_changed()
            self._append(self._host.noop())

    def _append(self, proposal: bytes, membership: bytes = b"") -> int:
        self._check_leads()
        if len(proposal) > MAX_PROPOSAL_BYTES:
            raise TooLarge(f"{len(proposal)} bytes; the limit is {MAX_PROPOSAL_BYTES}")
        index = self.last_index + 1
        self.log.entries.append([Committed(index, self.term, self._host.stamp(proposal), membership)])
        self._host.committed()
        return index

    def _check_leads(self) -> None:
        if self.role is not Role.LEADER:
            raise NotLeader("this member does not lead")
