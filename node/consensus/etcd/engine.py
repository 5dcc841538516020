"""A log kept by an external etcd, behind node.consensus.port.Consensus. Why each step is safe: DESIGN.md."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence

from cortex.v1 import raft_pb2
from node.consensus.entries import Entries
from node.consensus.etcd.election import Election
from node.consensus.etcd.following import Behind, Following
from node.consensus.etcd.forwards import Forwards
from node.consensus.etcd.keys import Keys
from node.consensus.etcd.leading import Leading, Pending
from node.consensus.etcd.members import Members
from node.consensus.etcd.memberships import Memberships
from node.consensus.etcd.owners import Caller
from node.consensus.etcd.questions import holds_key, last_index
from node.consensus.etcd.rounds import Rounds
from node.consensus.etcd.settings import EtcdSettings
from node.consensus.etcd.snapshots import StateStore
from node.consensus.etcd.store import Etcd
from node.consensus.membership import Change, ChangeKind, ChangeRefused, Membership
from node.consensus.port import (
    ChangeInProgress,
    Committed,
    Host,
    NotLeader,
    Overloaded,
    Peer,
    Role,
    TooLarge,
    Trouble,
)
from node.consensus.raftos.proposals import Queue, Waiters
from node.consensus.raftos.wire import Codec, Data, decode
from node.env import Env

Send = Callable[[str, raft_pb2.RaftMessage], None]


class EtcdEngine:
    """One member. Make it and use it inside a running event loop; feed it with receive()."""

    notice = ""  # etcd's members vote

    def __init__(
        self,
        env: Env,
        host: Host,
        id: str,  # noqa: A002
        voters: Mapping[str, str],
        cluster_id: str,
        send: Send,
        etcd: Etcd,
        prefix: str = "/cortex/",
        settings: EtcdSettings | None = None,
    ) -> None:
        """`voters`, addresses by id, are the members of a log that is empty; later the log says who they are."""
        self._env, self._host, self._id, self._etcd = env, host, id, etcd
        self._memberships = Memberships(Membership.of_voters(voters))
        self._cluster_id, self._send_message = cluster_id, send
        self._settings = settings or EtcdSettings()
        self._keys = Keys(prefix.encode())
        self._codec = Codec(cluster_id, id)
        self._changing = self._running = self._marked = self._flush_due = False
        self._may_lead = True
        self._told: tuple[Role, int, str | None, Membership] = (Role.FOLLOWER, 0, None, self.membership)
        self._term = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._ticker: asyncio.TimerHandle | None = None
        self._queue = Queue(lambda: self._loop)
        self._members = Members(id, host, env.clock, self._settings.up_s, self._send)
        self.freshness = self._members.freshness
        self._confirms: Rounds[bool] = Rounds(self._still_leads)
        self._heads: Rounds[int] = Rounds(lambda: last_index(self._etcd, self._keys))

    @property
    def role(self) -> Role:
        if not self._running:
            return Role.FOLLOWER
        if self._leading is not None:
            return Role.LEADER
        return Role.CANDIDATE if self._election.standing else Role.FOLLOWER

    @property
    def term(self) -> int:
        return self._term

    @property
    def leader(self) -> str | None:
        if not self._running:
            return None
        if self._leading is not None:
            return self._id
        holder = self._following.holder
        return holder.id if holder is not None and holder.id != self._id else None

    @property
    def commit_index(self) -> int:
        return self._entries.last_index if self._running else 0

    @property
    def last_index(self) -> int:
        return self.commit_index

    @property
    def snapshot_index(self) -> int:
        return self._states.index if self._running else 0

    @property
    def trouble(self) -> Trouble | None:
        return self._states.trouble if self._running else None

    @property
    def membership(self) -> Membership:
        return self._memberships.current

    def membership_at(self, index: int) -> Membership:
        return self._memberships.at(index)

    @property
    def peers(self) -> Sequence[Peer]:
        leads = self.role is Role.LEADER
        now = asyncio.get_running_loop().time()
        return self._members.peers(self.membership, leads, self.last_index, now)

    @property
    def _leading(self) -> Leading | None:
        """Asks the clock: a process that was stopped may wake up long after its lease."""
        leading = self._election.leading
        return leading if leading is not None and leading.lease.valid else None

    async def start(self) -> None:
        """etcd need not answer yet: what it says later may still end this daemon through Host.fatal()."""
        self._loop = asyncio.get_running_loop()
        self._entries = Entries(base_index=self._host.applied()[0])
        self._waiters = Waiters(self._entries)
        self._states = StateStore(
            self._etcd, self._keys, self._settings, self._env, self._host, self._cluster_id, self._memberships.at
        )
        self._forwards = Forwards(self._settings, self._env, self._id, self._send, self._waiters)
        self._following = Following(
            self._etcd,
            self._keys,
            self._settings,
            self._cluster_id,
            self._memberships.first,
            self._entries,
            self._host.recovery_epoch(),
            self._took,
            self._changed,
        )
        self._election = Election(
            self._etcd,
            self._keys,
            self._settings,
            self._env,
            self._id,
            self._host,
            self._following,
            lambda: self.membership.is_voter(self._id),
            self._changed,
        )
        self._election.may_stand = self._may_lead
        self._running = True
        self._tasks = [self._run(self._follow()), self._run(self._election.run())]
        self._tick()

    async def stop(self) -> None:
        """Waiting proposals end as OutcomeUnknown; the leader's key is given back."""
        if not self._running:
            return
        self._running = False
        if self._ticker is not None:
            self._ticker.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._queue.refuse("this member stops")
        self._forwards.close()
        self._waiters.close()
        self._confirms.close()
        self._heads.close()
        await self._states.stop()
        await self._election.give_up()
        await self._etcd.close()

    async def propose(self, proposal: bytes) -> int:
        if len(proposal) > self._settings.max_proposal_bytes:
            raise TooLarge(f"{len(proposal)} bytes; the limit is {self._settings.max_proposal_bytes}")
        if self.leader is None:
            raise NotLeader("no leader is known")
        if self._crowded(len(proposal)):
            raise Overloaded("too much waits already")
        leading = self._leading
        if leading is None:
            future = self._queue.put(proposal)
            self._flush_soon()
        elif leading.transferring:
            raise NotLeader("leadership is being handed over")
        else:
            future = self._loop.create_future()
            leading.submit(Pending(proposal, self._caller(future)))
        return await future

    def entries(self, after: int, limit: int) -> Sequence[Committed]:
        if not self._running:
            return []
        found = self._entries.between(after, after + limit)
        self._following.read_from(after)
        return found

    async def confirm(self) -> None:
        leading = self._leading
        if leading is None or not await self._confirms() or self._leading is not leading:
            raise NotLeader("this member does not lead")

    async def read_index(self) -> int:
        """etcd itself says how far the log goes, whoever leads."""
        if not self._running or self.leader is None:
            raise NotLeader("no leader is known")
        return await self._heads()

    async def change_membership(self, change: Change, proposal: bytes) -> int:
        """Raises ChangeRefused or a ProposalError."""
        leading = self._leading
        if leading is None or leading.transferring:
            raise NotLeader("this member does not lead")
        if self._changing or self._entries.last_term != leading.term:
            raise ChangeInProgress("the change before this one, or the first entry of this term, is not committed")
        after = self.membership.after(change)
        if change.kind is ChangeKind.REMOVE and change.id == self._id:
            raise ChangeRefused(f"{change.id} leads: hand leadership over to another voter first.")
        if change.kind is ChangeKind.PROMOTE and not self._members.caught_up(change.id, self._loop.time()):
            raise ChangeRefused(f"{change.id} has not caught up with the log yet.")
        if len(proposal) > self._settings.max_proposal_bytes:
            raise TooLarge(f"{len(proposal)} bytes; the limit is {self._settings.max_proposal_bytes}")
        future: asyncio.Future[int] = self._loop.create_future()
        self._changing = True
        try:
            leading.submit(Pending(proposal, self._caller(future), after.encode()))
            return await future
        finally:
            self._changing = False

    async def transfer(self, to: str | None = None) -> str:
        """Hand over. While it lasts no proposal is accepted; when it fails this member goes on leading."""
        leading = self._leading
        others = [peer for peer in self.peers if peer.voter and peer.id != self._id]
        if leading is None or not others:
            raise NotLeader("this member does not lead, or there is nobody to hand over to")
        if to is not None and to not in [peer.id for peer in others]:
            raise ValueError(f"{to} is not another voter")
        if leading.transferring:
            raise NotLeader("this member is handing over already")
        async with asyncio.timeout(self._settings.transfer_timeout_s):
            await self._election.hand_over(leading, lambda: self._heir(to))
            while self.leader in (None, self._id):
                await self._election.step()
        return self.leader or ""

    def _heir(self, to: str | None) -> str | None:
        """Who can take over at once: up, and with the whole log."""
        able = [peer.id for peer in self.peers if peer.voter and peer.up and peer.match_index == self.last_index]
        return next((peer for peer in able if peer != self._id and to in (None, peer)), None)

    def allow_campaign(self, allowed: bool) -> None:
        self._may_lead = allowed
        if self._running:
            self._election.allow(allowed, lambda: self._heir(None))

    def refused(self, address: str) -> None:
        """Who leads is a matter of a lease in etcd, whoever listens where."""

    def receive(self, message: raft_pb2.RaftMessage) -> None:
        """Take a message from the link. What is not for this member, or makes no sense, is dropped."""
        if not self._running or self._following.recovery_epoch is None:
            return
        self._codec.epoch = self._following.recovery_epoch
        if not self._codec.admits(message, fresh=False):
            return
        data = decode(message)
        if data is None or self.membership.find(data["sender"]) is None or data["sender"] == self._id:
            return
        kind, leading = data["type"], self._leading
        if kind == "append_entries" and data["sender"] == self.leader:
            self._members.asked(data, self._term, self.last_index)
        elif kind == "append_entries_response" and leading is not None:
            self._members.answered(data, self._loop.time())
        elif kind == "forward" and leading is not None:
            self._forwards.arrived(data, leading)
        elif kind == "forward_response" and self._forwards.answered(data):
            self._waiters.resolve(self.commit_index)

    async def _follow(self) -> None:
        try:
            await self._following.run()
        except Behind:
            await self._states.install()

    def _took(self, entries: Sequence[Committed]) -> None:
        for entry in entries:
            self._term = max(self._term, entry.term)
            self._memberships.took(entry)
        self._states.log_bytes += sum(len(entry.data) for entry in entries)
        self._host.committed()
        self._waiters.resolve(self._entries.last_index)

    def _changed(self) -> None:
        """The leader's key, the log's end or what this member does about them is another."""
        if not self._running:
            return
        following, leading = self._following, self._leading
        if following.holder is not None:
            self._term = max(self._term, following.base_term + following.holder.revision)
        if leading is not None:
            self._term = max(self._term, leading.term)
            if self._entries.last_index >= leading.begun_after:
                leading.caught_up.set()
        if following.synced:
            self._mark_once()
            self._memberships.read(following.membership, following.begun_at)
        self._states.index = max(self._states.index, following.snapshot_index)
        now = (self.role, self._term, self.leader, self.membership)
        if now != self._told:
            self._told = now
            self._forwards.tick(self.leader, self._term)
            self._host.role_changed()
        self._election.wake()
        self._flush_soon()

    def _mark_once(self) -> None:
        if not self._marked:
            self._marked = True
            self._tasks.append(self._run(self._states.mark()))

    def _crowded(self, more_bytes: int) -> bool:
        settings, leading = self._settings, self._leading
        if leading is not None:
            full = leading.waiting >= settings.max_pending
            return full or leading.waiting_bytes + more_bytes > settings.max_pending_bytes
        return len(self._queue) + self._forwards.waiting >= settings.max_pending

    def _caller(self, future: asyncio.Future[int]) -> Caller:
        return Caller(future, self._waiters, self._loop.time() + self._settings.proposal_timeout_s)

    def _flush_soon(self) -> None:
        if not self._flush_due and self._queue:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Pass on what has come together in one turn of the event loop."""
        self._flush_due = False
        leader = self.leader
        if leader is None:
            self._queue.refuse("no leader is known")
        elif self._leading is not None:
            for proposal in self._queue.take():
                self._leading.submit(Pending(proposal.data, self._caller(proposal.future)))
        else:
            self._forwards.forward(self._queue.take(), leader, self._term)

    def _send(self, data: Data, to: str) -> None:
        member = self.membership.find(to)
        if self._running and member is not None and self._following.recovery_epoch is not None:
            self._codec.epoch = self._following.recovery_epoch
            self._send_message(member.address, self._codec.encode(data, to))

    def _tick(self) -> None:
        leading, settings, now = self._leading, self._settings, self._loop.time()
        self._changed()
        if not self._running:
            return
        if leading is not None:
            self._members.beat(self.membership, leading.term, self.last_index, now, settings.heartbeat_s)
        self._members.compare()
        self._states.tick(leading, self._host.applied()[0])
        self._forwards.tick(self.leader, self._term)
        self._waiters.expire(now)
        self._ticker = self._loop.call_later(settings.forward_retry_s, self._tick)

    async def _still_leads(self) -> bool:
        return await holds_key(self._etcd, self._leading, self._settings.retry_s)

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                self._host.fatal(error)

        return self._loop.create_task(guarded())
