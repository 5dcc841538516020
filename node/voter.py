"""Voter: the parts that only a daemon that keeps the log has. Seat: builds it from the disk, and anew at need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import structlog
from google.protobuf.message import Message

from node import engines
from node.conditions.port import Judge
from node.config import Config
from node.consensus.port import NotLeader, Role, Trouble, TroubleKind
from node.consensus.raftos.snapshots import newest_index
from node.core.faults import Code, Fault, begins_anew
from node.core.model import Change
from node.env import Env
from node.leader.leadership import Leadership
from node.leader.port import Settings
from node.link import Caller, Link
from node.log_alarm import LogAlarm
from node.replica import Replica
from node.rpc.calls import Parts
from node.rpc.saving import SnapshotStreams
from node.rpc.service import ClusterService
from node.rpc.watch import Watcher
from node.startup import open_newest
from node.store.errors import StoreDamaged, StoreError
from node.store.store import Store

REPAIR = "See what `cortexd repair --data DIR --id ID` says of it, once this daemon has stopped."
# Leadership is handed over before a clean stop; a cluster without another voter must not hold it up.
_TRANSFER_S = 3.0


class Voter:
    """Lives from one start to the next, of which there may be several in the life of a daemon."""

    def __init__(
        self,
        config: Config,
        env: Env,
        link: Link,
        judge: Judge,
        cluster_id: str,
        store: Store,
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self.replica = Replica(env, config.id, store, on_fatal)
        self.engine = engines.make(config, env, self.replica, cluster_id, link)
        self.replica.attach(self.engine)
        self.leadership = Leadership(env, self.replica, leader_settings(config, cluster_id), judge)
        parts = Parts(
            env=env,
            node_id=config.id,
            cluster_id=cluster_id,
            replica=self.replica,
            leadership=self.leadership,
            link=link,
            address_of=self.address_of,
        )
        self.service = ClusterService(parts)
        self.backups = SnapshotStreams(env, self.replica, cluster_id)
        self.watcher = Watcher(self.replica, self.service.nodes)
        self._alarm = LogAlarm(config.id, self.replica, self._trouble)
        self._alarming: asyncio.Task[None] | None = None
        self._members: frozenset[str] = frozenset()
        self.on_left: Callable[[Collection[str]], None] = lambda _addresses: None
        """Told of addresses at which no member is any more."""
        self.replica.on_members = self._follow_members
        self.replica.on_serving = self._serving
        self.replica.observers.append(self._observe)

    async def start(self) -> None:
        """Raises JournalDamaged, JournalUnusable or DiskFull, which are Faults."""
        await self.replica.start()
        self._alarming = asyncio.get_running_loop().create_task(self._alarm.run(), name="alarm of the log")

    async def hand_over(self) -> None:
        """Let another voter lead, if there is one that can."""
        if self.engine.role is not Role.LEADER or len(self.engine.peers) == 1:
            return
        with suppress(NotLeader, TimeoutError):
            async with asyncio.timeout(_TRANSFER_S):
                await self.engine.transfer()

    async def stop(self) -> None:
        if self._alarming is not None:
            self._alarming.cancel()
        await self.replica.stop()

    async def call(self, method: str, request: Message, caller: Caller) -> Message:
        return await self.service.call(method, request, caller)

    @property
    def votes(self) -> bool:
        """By the membership in force here. Who does not, knows too little to answer for the cluster."""
        return self.engine.membership.is_voter(self.replica.node_id)

    @property
    def voters(self) -> list[str]:
        """Addresses of all that vote, as far as this daemon knows, the leader's first."""
        leader = self.engine.leader
        members = [member for member in self.engine.membership.members if member.voter]
        return [member.address for member in sorted(members, key=lambda member: member.id != leader)]

    def address_of(self, member: str) -> str | None:
        """Where a voter or learner is."""
        found = self.engine.membership.find(member)
        return found.address if found is not None else None

    def _trouble(self) -> Trouble | None:
        unsaved = self.replica.saver.trouble
        if self.engine.trouble is not None or unsaved is None:
            return self.engine.trouble
        # Behind the path, for which an alarm has no room.
        why = (unsaved.message if isinstance(unsaved, StoreError) else str(unsaved)).rpartition(": ")[2]
        return Trouble(TroubleKind.ROWS_UNSAVED, why.removesuffix("."))

    def _follow_members(self) -> None:
        before = self._members
        self._members = frozenset(member.address for member in self.engine.membership.members)
        if gone := before - self._members:
            self.on_left(gone)

    def _serving(self, serving: bool) -> None:
        if serving:
            self.leadership.begin(self.replica.term)
        else:
            self.leadership.end()

    def _observe(self, changes: Sequence[Change], index: int) -> None:
        if self.replica.serving:
            self.leadership.observe(changes, index)


class Seat:
    """Where a daemon's voter is. It is built from what is on the disk, and built anew from a snapshot that came.

    `voter` is None before start() is through and while it is being replaced. `built` is told of each new voter
    before it takes part.
    """

    def __init__(
        self,
        config: Config,
        env: Env,
        link: Link,
        judge: Judge,
        cluster_id: str,
        open_store: Callable[[], Store],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._config = config
        self._env = env
        self._link = link
        self._judge = judge
        self._cluster_id = cluster_id
        self._open_store = open_store
        self._on_fatal = on_fatal
        self._log = structlog.get_logger(node=config.id)
        self._offload = env.make_offload("store")
        self._rebuilt = False
        self._lock = asyncio.Lock()
        self._renewals: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.built: Callable[[Voter], None] = lambda _voter: None
        self.on_left: Callable[[Collection[str]], None] = lambda _addresses: None
        self.voter: Voter | None = None

    async def start(self) -> None:
        """Raises JournalDamaged or another Fault."""
        async with self._lock:
            await self._build()

    async def stop(self) -> None:
        """Ends the voter, and first what is building another one. A disk that hangs is left to itself."""
        self._stopping = True
        async with self._lock:
            voter, self.voter = self.voter, None
            if voter is None:
                return
            try:
                await voter.stop()
            except Fault as fault:
                # What the disk was told to keep is there, or nobody was told that it is: as after a kill.
                self._log.error("what was being written is left behind", error=fault.message)

    async def hand_over(self) -> None:
        if self.voter is not None:
            await self.voter.hand_over()

    async def call(self, method: str, request: Message, caller: Caller) -> Message:
        """Raises Fault."""
        voter = self.voter
        if voter is None:
            raise begins_anew()
        try:
            return await voter.call(method, request, caller)
        except Fault:
            raise
        except Exception:
            if voter is self.voter:
                raise
            # It lost its store under this call.
            raise begins_anew() from None

    async def _build(self) -> None:
        try:
            try:
                voter = await self._make()
            except StoreDamaged as error:
                self._log.error("the rows cannot be read and are put aside", error=str(error))
                await self._offload(self._put_aside)
                voter = await self._make()
        except StoreDamaged as error:
            raise Fault(Code.INTERNAL, error.message, REPAIR) from error
        except StoreError as error:
            raise Fault(Code.INTERNAL, error.message, error.remedy) from error
        except OSError as error:
            message = f"The snapshots cannot be read: {error.strerror or error}."
            raise Fault(Code.INTERNAL, message, "Check the disk of the data folder; then start again.") from error
        voter.replica.on_installed = lambda: self._renew(voter)
        voter.replica.on_distrust = lambda error, index: self._distrusted(voter, error, index)
        voter.on_left = self.on_left
        self.built(voter)
        self.voter = voter
        await voter.start()

    async def _make(self) -> Voter:
        store = await self._offload(lambda: open_newest(self._env, self._cluster_id, self._open_store))
        try:
            return Voter(self._config, self._env, self._link, self._judge, self._cluster_id, store, self._on_fatal)
        except BaseException:
            store.close()
            raise

    def _distrusted(self, voter: Voter, error: Exception, trusted_index: int) -> None:
        """Make the rows anew from the log, which others agree upon: once, for a second time it would not help."""
        if self._rebuilt or newest_index(self._env.open_disk("snapshots")) > trusted_index:
            self._on_fatal(error)
        else:
            self._rebuilt = True
            self._renew(voter, put_aside=True)

    def _renew(self, voter: Voter, *, put_aside: bool = False) -> None:
        task = asyncio.get_running_loop().create_task(self._begin_anew(voter, put_aside=put_aside))
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)

    async def _begin_anew(self, voter: Voter, *, put_aside: bool) -> None:
        async with self._lock:
            if self.voter is not voter or self._stopping:
                return
            self._log.warning("begins anew", index=voter.replica.state.index, rows_put_aside=put_aside)
            self.voter = None
            try:
                await voter.stop()
                # The rows of both would be in memory at once.
                del voter
                if put_aside:
                    await self._offload(self._put_aside)
                await self._build()
            except Exception as error:
                self._on_fatal(error)

    def _put_aside(self) -> None:
        store = self._open_store()
        store.set_aside()
        store.close()


def leader_settings(config: Config, cluster_id: str) -> Settings:
    return Settings(
        node_id=config.id,
        cluster_id=cluster_id,
        lease_ms=config.lease_ms,
        renew_ms=config.renew_ms,
        lease_margin_ms=config.lease_margin_ms,
        heartbeat_ms=config.heartbeat_ms,
        offline_ms=config.offline_ms,
    )
