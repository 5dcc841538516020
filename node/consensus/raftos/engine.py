"""The embedded engine: raftos' roles, our journal and rules, behind node.consensus.port.Consensus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from cortex.v1 import raft_pb2
from node.consensus.freshness import Freshness
from node.consensus.membership import Change, Membership
from node.consensus.port import Committed, Host, NotLeader, Overloaded, Peer, Role, TooLarge, Trouble
from node.consensus.raftos import library
from node.consensus.raftos.addresses import Addresses
from node.consensus.raftos.changes import planned
from node.consensus.raftos.damage import disagrees_with_store
from node.consensus.raftos.handover import Handover
from node.consensus.raftos.journal import Journal, JournalUnusable
from node.consensus.raftos.leader import Leader
from node.consensus.raftos.log import Log
from node.consensus.raftos.loglife import LogLife
from node.consensus.raftos.memberships import Memberships
from node.consensus.raftos.peers import peers_of
from node.consensus.raftos.proposals import Forwarder, Queue, Waiters
from node.consensus.raftos.reading import Reads
from node.consensus.raftos.roles import Candidate, Follower
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.state import RaftState
from node.consensus.raftos.wire import Codec, Data, decode
from node.consensus.raftos.writer import HardState, Writer
from node.env import Env

ROLES: Mapping[str, type[library.BaseState]] = {"Follower": Follower, "Candidate": Candidate, "Leader": Leader}
Send = Callable[[str, raft_pb2.RaftMessage], None]


class RaftosEngine:
    """One voter. Make it and use it inside a running event loop; feed it with receive()."""

    def __init__(
        self,
        env: Env,
        host: Host,
        id: str,  # noqa: A002
        voters: Mapping[str, str],
        cluster_id: str,
        send: Send,
        settings: RaftSettings | None = None,
        roles: Mapping[str, type[library.BaseState]] = ROLES,
        address: str = "",
    ) -> None:
        """`voters` maps every voter's id, `id` included, to its address, and counts only while the log is empty.

        It is empty for a daemon that others will add to their cluster, which needs its own `address`.
        """
        if not cluster_id or (voters and id not in voters) or not (voters or address):
            raise ValueError("need a cluster id, and this voter among the voters or its address")
        self._env, self._host, self._id, self._roles = env, host, id, roles
        self._memberships = Memberships(Membership.of_voters(voters))
        self._addresses = Addresses()
        self._cluster_id = cluster_id
        self._send_message = send
        self._settings = settings or RaftSettings()
        self._codec = Codec(cluster_id, id, address or voters[id])
        self._log = Log()
        self._waiters = Waiters(self._log)
        self._life_number = env.random.getrandbits(31)
        self._forwarder = Forwarder(self._settings, self._life_number, self.send, self._waiters)
        self._queue = Queue(lambda: self._loop)
        self._exposed_commit = 0
        self._told: tuple[Role, int, str | None, int] = (Role.FOLLOWER, 0, None, 0)
        self._flush_due = False
        self._running = False
        self._may_campaign = True
        self._ticker: asyncio.TimerHandle | None = None
        self._reads = Reads(self._settings, env.random.getrandbits(31), self.send)
        self._handover = Handover(self._settings)
        self.freshness = Freshness()
        self.cut_bytes = 0
        """Length of the torn tail that start() cut from the journal."""
        self.cluster: list[str] = []
        """raftos' word for the other voters: see state.Server."""
        self._adopt_membership()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    # Consensus

    @property
    def role(self) -> Role:
        if not self._running:
            return Role.FOLLOWER
        state = self._state.state
        if isinstance(state, Leader):
            return Role.LEADER
        return Role.CANDIDATE if isinstance(state, Candidate) else Role.FOLLOWER

    @property
    def term(self) -> int:
        return self._storage.term if self._running else 0

    @property
    def leader(self) -> str | None:
        return self._state.leader if self._running else None

    @property
    def commit_index(self) -> int:
        """Committed and on this voter's own disk, so that what is applied is never ahead of the journal."""
        return self._exposed_commit

    @property
    def last_index(self) -> int:
        return self._log.last_log_index

    @property
    def peers(self) -> Sequence[Peer]:
        role = self._state.state if self._running else None
        return peers_of(self.membership, self._id, self._log.last_log_index, role)

    @property
    def membership(self) -> Membership:
        return self._memberships.current

    def membership_at(self, index: int) -> Membership:
        return self._memberships.at(index)

    async def start(self) -> None:
        """Recover and take part. Raises JournalDamaged, DiskFull or JournalUnusable, which are Faults."""
        self._loop = asyncio.get_running_loop()
        try:
            disk = self._env.open_disk("raft")
        except OSError as error:
            raise JournalUnusable(error) from error
        self._life = LogLife(self._env, self._host, self._cluster_id, self._settings, self._log)
        journal = Journal(disk, self._env.random, self._settings.segment_bytes)
        offload = self._env.make_offload("journal")
        self._writer = Writer(journal, offload, self._settings, self._durable, self._fatal)
        try:
            recovered = await self._writer.start(await self._life.start())
        except OSError as error:
            raise JournalUnusable(error) from error
        self._log.begin(recovered.base, recovered.entries)
        self._recover_memberships(recovered.entries)
        self.cut_bytes = recovered.cut_bytes
        applied = self._host.applied()[0]
        if not self._log.base_index <= applied <= self._log.last_log_index:
            await self._writer.stop()
            raise disagrees_with_store(self._log.base_index, self._log.last_log_index, applied)
        alone = self.membership.voters == (self._id,)
        self._storage = HardState(self._writer, recovered.term, recovered.vote, alone=alone)
        self._state = RaftState(
            self,
            self._id,
            self._host,
            self._env.clock,
            self._env.random,
            self._settings,
            self._log,
            self._memberships,
            self._storage,
            self._writer,
            self._life,
            self._roles,
            self._life_number + 1,
        )
        self._state.may_campaign = self._may_campaign
        self._running = True
        self._log.commit(applied)
        self._exposed_commit = applied
        self._life.attach(self._writer, self._memberships)
        self._state.start()
        self._tick()

    def _recover_memberships(self, entries: Sequence[Committed]) -> None:
        snapshot = self._life.latest
        if snapshot is not None:
            self._memberships = Memberships(Membership.decode(snapshot.membership), snapshot.index)
            self._codec.epoch = snapshot.recovery_epoch
        self._memberships.append(entry for entry in entries if entry.index > self._life.snapshot_index)
        self._adopt_membership()

    async def stop(self) -> None:
        """Waiting proposals end as OutcomeUnknown."""
        if not self._running:
            return
        self._halt()
        await self._life.stop()
        await self._writer.stop()

    def _halt(self) -> None:
        self._running = False
        self._state.stop()
        self._state.receiver.halt()
        self._life.halt()
        if self._ticker is not None:
            self._ticker.cancel()
        self._queue.refuse("this voter stops")
        self._forwarder.close()
        self._reads.stop()
        self._waiters.close()
        self._handover.stop()

    async def propose(self, proposal: bytes) -> int:
        if len(proposal) > self._settings.max_proposal_bytes:
            raise TooLarge(f"{len(proposal)} bytes; the limit is {self._settings.max_proposal_bytes}")
        if not self._running or self._state.leader is None:
            raise NotLeader("no leader is known")
        if self._crowded(len(proposal)):
            raise Overloaded("too much waits already")
        future = self._queue.put(proposal)
        self.log_changed()
        return await future

    async def change_membership(self, change: Change, proposal: bytes) -> int:
        """Append `proposal` with the membership after `change`; its index once it is committed."""
        role = self._state.state if self._running else None
        if not isinstance(role, Leader) or role.transferring:
            raise NotLeader("this voter does not lead, or is handing over")
        membership = planned(role, change)
        if len(proposal) > self._settings.max_proposal_bytes:
            raise TooLarge(f"{len(proposal)} bytes; the limit is {self._settings.max_proposal_bytes}")
        future: asyncio.Future[int] = self._loop.create_future()
        deadline = self._loop.time() + self._settings.proposal_timeout_s
        self._waiters.add(role.change(membership, proposal), self._storage.term, [future], deadline)
        return await future

    def _crowded(self, more_bytes: int) -> bool:
        settings, role = self._settings, self._state.state
        size_bytes = self._queue.size_bytes + more_bytes
        if len(self._queue) >= settings.max_pending or size_bytes > settings.max_pending_bytes:
            return True
        if isinstance(role, Leader):
            return role.overloaded(size_bytes)
        return self._forwarder.waiting >= settings.max_pending

    def entries(self, after: int, limit: int) -> Sequence[Committed]:
        return self._log.between(after, min(after + limit, self._exposed_commit))

    @property
    def snapshot_index(self) -> int:
        return self._life.snapshot_index if self._running else 0

    @property
    def notice(self) -> str:
        return self._state.notice if self._running else ""

    @property
    def trouble(self) -> Trouble | None:
        return self._life.trouble if self._running else None

    async def confirm(self) -> None:
        if not self._running or not isinstance(self._state.state, Leader):
            raise NotLeader("this voter does not lead")
        await self._state.state.confirm()

    async def read_index(self) -> int:
        """What is committed at some moment after the call, by word of a leader that was confirmed after it."""
        if not self._running:
            raise NotLeader("this voter has stopped")
        return await self._reads.ask(self._state)

    async def transfer(self, to: str | None = None) -> str:
        """Hand over. While it lasts no proposal is accepted; when it fails this voter goes on leading."""
        if not self._running:
            raise NotLeader("this voter has stopped")
        return await self._handover.run(self._state, to)

    def allow_campaign(self, allowed: bool) -> None:
        self._may_campaign = allowed
        if self._running:
            self._state.may_campaign = allowed
            if not allowed and isinstance(self._state.state, Leader):
                self._state.state.abdicate()

    def receive(self, message: raft_pb2.RaftMessage) -> None:
        """Take a message from the link. What is not for this voter, or makes no sense, is dropped."""
        if not self._running or not self._codec.admits(message, fresh=not self._log.last_log_index):
            return
        data = decode(message)
        if data is None or data["sender"] in ("", self._id):
            return
        # Not only of members: a voter that lags does not know who was added since, its leader perhaps.
        self._addresses.heard(data["sender"], message.from_address)
        try:
            self._state.request_handler(data)
        except Exception as error:
            self._fatal(error)

    def refused(self, address: str) -> None:
        """Nobody listens at `address` any more: the process that did has ended."""
        if self._running and self._state.leader and self._addresses.find(self._state.leader) == address:
            self._state.lose_leader()

    # raftos' server

    def send(self, data: Data, destination: str) -> None:
        address = self._addresses.find(destination)
        if self._running and address is not None:
            self._send_message(address, self._codec.encode(data, destination))

    def broadcast(self, data: Data) -> None:
        for peer in self.cluster:
            self.send(data, peer)

    def role_changed(self) -> None:
        self._flush_soon()

    def membership_changed(self) -> None:
        self._adopt_membership()
        self._flush_soon()

    def _adopt_membership(self) -> None:
        self._addresses.adopt(self.membership)
        self.cluster[:] = [voter for voter in self.membership.voters if voter != self._id]

    def log_changed(self) -> None:
        self._flush_soon()

    def forwarded(self, data: Data) -> None:
        if self._forwarder.answered(data):
            self._waiters.resolve(self._exposed_commit)

    def read_answered(self, data: Data) -> None:
        self._reads.answered(data)
        self._reads.flush(self._state)

    # One pass per turn of the event loop gathers what has come together.

    def _flush_soon(self) -> None:
        if not self._flush_due and self._running:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if not self._running:
            return
        self._tell_role()
        if not self._running:
            return
        role = self._state.state
        if self._queue:
            self._dispatch(role)
        self._reads.flush(self._state)
        if isinstance(role, Leader):
            role.append_entries()
        self._expose_commit()

    def _dispatch(self, role: library.BaseState) -> None:
        now = self._loop.time()
        leader, term = self._state.leader, self._storage.term
        if isinstance(role, Leader) and not role.transferring:
            queue = self._queue.take()
            first = role.execute_command([proposal.data for proposal in queue])
            deadline = now + self._settings.proposal_timeout_s
            self._waiters.add(first, term, [proposal.future for proposal in queue], deadline)
        elif leader is not None and leader != self._id:
            self._forwarder.forward(self._queue.take(), leader, term, now)
        else:
            self._queue.refuse("no leader is known, or it is handing over")

    def _expose_commit(self) -> None:
        commit = min(self._log.commit_index, self._writer.durable_index)
        if commit > self._exposed_commit:
            self._exposed_commit = commit
            self._host.committed()
            self._waiters.resolve(commit)

    def _tell_role(self) -> None:
        now = (self.role, self.term, self.leader, self._memberships.index)
        if now != self._told:
            self._told = now
            self._handover.look_again()
            self._forwarder.tick(self.leader, self.term, self._loop.time())
            self._host.role_changed()

    def _durable(self) -> None:
        if self._running:
            self._state.state.on_durable()
            self._expose_commit()

    def _tick(self) -> None:
        now = self._loop.time()
        self._forwarder.tick(self.leader, self.term, now)
        self._reads.tick(self._state)
        self._waiters.expire(now)
        self._life.tick()
        self._ticker = self._loop.call_later(self._settings.forward_retry_s, self._tick)

    def _fatal(self, error: Exception) -> None:
        if self._running:
            self._halt()
            self._host.fatal(error)
