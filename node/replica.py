"""Where pure meets IO: a committed entry -> cold rows -> apply -> publish -> answer; rows are saved right behind.

The journal is the truth and the store is derived, so memory may run ahead of the store by a bounded number of
changes. Whatever is not saved yet overlays what the store says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import structlog

from cortex.v1.log_pb2 import BatchPart, Command, Entry, Noop, Reply
from cortex.v1.types_pb2 import Event, Operation, Task, Workflow
from node.consensus.membership import Change as MemberChange
from node.consensus.port import (
    Committed,
    Consensus,
    NotLeader,
    Peer,
    Role,
    StateCopy,
)
from node.core import machine, reads, settings
from node.core.faults import Code, Fault, begins_anew, no_leader
from node.core.model import Change, Key, Row, Table
from node.core.state import ClusterState
from node.digests import Digests
from node.env import Env
from node.feed import Batch, Feed
from node.leader_time import LeaderTime
from node.proposals import Proposals
from node.saver import Saver
from node.store.errors import StoreDamaged, StoreError
from node.store.slow import SlowReads
from node.store.store import Store

# Of one pass of the loop, which it holds up for about 0.1 s at most, but for one larger entry.
_BATCH = 256
_BATCH_BYTES = 256 * 1024
# Long reads under way and waiting, all callers together.
_READS_LIMIT = 32

T = TypeVar("T")

Observer = Callable[[Sequence[Change], int], None]


class Replica:
    """This machine's copy of the cluster's state, and the one way to change it. Implements consensus.port.Host."""

    def __init__(self, env: Env, node_id: str, store: Store, stop: Callable[[Exception], None]) -> None:
        self._env = env
        self.node_id = node_id
        self._stop = stop
        self._log = structlog.get_logger(node=node_id)
        self._consensus: Consensus | None = None
        self._proposals = Proposals(env, lambda: self.consensus, lambda: self._stopped)
        self._digests = Digests(node_id, self._voters)
        self._pumping = False
        self._stopped = False
        self.observers: list[Observer] = []
        self.on_serving: Callable[[bool], None] = lambda _serving: None
        self.on_members: Callable[[], None] = lambda: None  # they may be others now
        self.on_installed: Callable[[], None] = self._needs_restart
        self.on_distrust: Callable[[Exception, int], None] = lambda error, _index: stop(error)
        self.serving = False
        self.time = LeaderTime(env.clock, self._voters)
        self.store = store
        self._read_offload = env.make_offload("reads")
        self._copy_offload = env.make_offload("copies")
        self._reading = 0
        self.state = ClusterState()
        saved = store.saved()
        self.state.load(store.load_live(), saved.index, saved.term, saved.at_us, saved.digest)
        self.time.applied(saved.at_us)
        self.feed = Feed(after=saved.index)
        self.saver = Saver(store, env.make_offload("saver"), saved.index, self._saved, self._save_health)

    def attach(self, consensus: Consensus) -> None:
        """The engine is made with this replica as its host, so it comes second."""
        self._consensus = consensus

    @property
    def consensus(self) -> Consensus:
        if self._consensus is None:
            raise RuntimeError("attach() comes before use")
        return self._consensus

    @property
    def term(self) -> int:
        return self.consensus.term

    @property
    def leader(self) -> str | None:
        return self.consensus.leader

    @property
    def peers(self) -> Sequence[Peer]:
        return self.consensus.peers

    def _voters(self) -> Sequence[str]:
        return self._consensus.membership.voters if self._consensus is not None else ()

    @property
    def past(self) -> Store:
        return self.store

    def now_us(self) -> int:
        return self.time.now_us()

    @property
    def clock_ahead_us(self) -> int:
        return self.time.ahead_us if self.time.told else 0

    async def start(self) -> None:
        self.saver.start()
        await self.consensus.start()

    async def stop(self) -> None:
        """Apply no more, save what is applied, and close the store. Raises Fault when the disk does not answer."""
        self._stopped = True
        self._set_serving(False)
        self.store.end_copies()
        self.feed.close()
        try:
            await self.consensus.stop()
        finally:
            self._proposals.close()
            await self.saver.stop()
            self.store.close()

    async def execute(
        self,
        commands: Sequence[Command],
        *,
        client: str = "",
        request_id: str = "",
        actor: str = "",
        batch: BatchPart | None = None,
        timeout_s: float = 10.0,
    ) -> Reply:
        """Propose one entry and return its reply once it is applied here: see Proposals. Raises Fault."""
        entry = Entry(client=client, request_id=request_id, actor=actor, commands=commands, batch=batch)
        return await self._proposals.execute(entry, timeout_s)

    async def change_members(self, change: MemberChange, entry: Entry | None = None) -> Reply:
        """Change who keeps the log, recorded in `entry`: see Proposals. Raises ChangeRefused or Fault."""
        return await self._proposals.change_members(change, entry or Entry())

    async def confirm(self) -> None:
        """A quorum confirmed this leader's term in a round begun after the call. Raises Fault."""
        try:
            await self.consensus.confirm()
        except NotLeader:
            raise no_leader() from None

    async def transfer(self, to: str) -> None:
        """Hand leadership to another voter. Raises Fault when it stays here."""
        try:
            await self.consensus.transfer(to)
        except NotLeader:
            raise no_leader() from None
        except TimeoutError:
            message = f"{to} did not take over leadership in time."
            raise Fault(Code.DEADLINE, message, "See in `cortex status` which voters are up.") from None

    async def applied_through(self, index: int, timeout_s: float = 5.0) -> None:
        """Wait until `index` is applied here. Raises Fault when that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.state.index < index:
                    await self.feed.wait()
        except TimeoutError:
            message = f"This daemon has applied index {self.state.index}, the request asks for {index}."
            raise Fault(Code.DEADLINE, message, "Ask again, or ask the leader.") from None

    async def saved_through(self, index: int, timeout_s: float = 5.0) -> None:
        """Wait until `index` is in the store. Raises Fault when that takes longer."""
        await self.applied_through(index, timeout_s)
        await self.saver.flush(index)

    async def read(self, work: Callable[[SlowReads], T]) -> T:
        """What `work` makes of the store, off the event loop: for reads that may take long. Raises Fault."""
        if self._reading >= _READS_LIMIT:
            message = f"{self._reading} long reads are under way here."
            raise Fault(Code.OVERLOADED, message, "Try again in a second, or ask another daemon.")
        self._reading += 1
        try:
            return await self._read_offload(lambda: work(self.store.reads))
        except StoreDamaged as error:
            self._distrust(error, self.state.index)
            raise begins_anew() from None
        finally:
            self._reading -= 1

    def task(self, task_id: str) -> Task | None:
        """A task as of the applied index."""
        row = self._row(Table.TASKS, task_id)
        return row if isinstance(row, Task) else None

    def operation(self, operation_id: str) -> Operation | None:
        """An operation as of the applied index."""
        row = self._row(Table.OPERATIONS, operation_id)
        return row if isinstance(row, Operation) else None

    def workflow(self, workflow_id: str) -> Workflow | None:
        """A workflow as of the applied index."""
        row = self._row(Table.WORKFLOWS, workflow_id)
        return row if isinstance(row, Workflow) else None

    def _row(self, table: Table, key: str) -> Row | None:
        row = self.state.get(table, key)
        return row if row is not None else self._cold([Key(table, key)])[Key(table, key)]

    def cold_rows(self, entry: Entry) -> dict[Key, Row | None]:
        """The rows that apply would ask for and memory lacks."""
        return reads.gather([entry], self.state, self._cold)

    def unsaved_events(self, task_id: str) -> list[Event]:
        """Events of a task that the store does not have yet, oldest first."""
        return self.saver.events(task_id)

    # What consensus.port.Host asks for.

    def stamp(self, proposal: bytes) -> bytes:
        # Protobuf merges concatenated messages, so the leader's fields are set without parsing the rest.
        return proposal + Entry(level=self.state.level, at_us=self.time.stamp_us()).SerializeToString()

    def noop(self) -> bytes:
        return Entry(commands=[Command(noop=Noop(leader=self.node_id))]).SerializeToString()

    def committed(self) -> None:
        if not self._pumping and not self._stopped:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def role_changed(self) -> None:
        if self.consensus.role is not Role.LEADER:
            self._set_serving(False)
        self._check_serving()
        if self.consensus.leader is not None:
            self._proposals.leader_found()
        self.on_members()

    def observe_clock(self, peer: str, wall_us: int) -> None:
        self.time.observe(peer, wall_us)

    def applied(self) -> tuple[int, int, bytes]:
        return self.state.index, *self._digests.last(self.state.index)

    def recovery_epoch(self) -> int:
        return settings.recovery_epoch(self.state.settings.get(settings.RECOVERY_EPOCH))

    def peer_digest(self, peer: str, index: int, digest: bytes) -> None:
        if self._digests.report(peer, index, digest):
            self.check_digest(*self._digests.agreed)

    def agreed_digest(self) -> tuple[int, bytes]:
        """The last digest that a majority reported, which the leader passes on."""
        return self._digests.agreed

    def check_digest(self, index: int, digest: bytes) -> None:
        """Apply no more when this replica differs from the majority: what it would serve is wrong."""
        mine = self._digests.differs(index, digest)
        if mine is not None:
            self._distrust(
                RuntimeError(
                    f"The state of this daemon at index {index} differs from the majority's "
                    f"({mine.hex()} against {digest.hex()}): `cortexd repair` says how to mend it."
                ),
                self._digests.same,
            )

    async def copy_state(self) -> StateCopy:
        self._env.failpoint("copy.before")
        try:
            return await self._copy_offload(self.store.copy)
        except StoreError as error:
            raise OSError(str(error)) from error

    def installed(self) -> None:
        if not self._stopped:
            self._env.failpoint("install.before")
            self._stopped = True
            self._set_serving(False)
            self.on_installed()

    def _needs_restart(self) -> None:
        self._stop(RuntimeError("A snapshot was installed; the next start goes on from it."))

    def _distrust(self, error: Exception, trusted_index: int) -> None:
        """The rows are not what the log leads to; those up to `trusted_index` were."""
        if not self._stopped:
            self._stopped = True
            self._log.error("the rows cannot be trusted", error=str(error), trusted_index=trusted_index)
            self._set_serving(False)
            self.on_distrust(error, trusted_index)

    def fatal(self, error: Exception) -> None:
        if not self._stopped:
            self._stopped = True
            self._log.critical("stopping", error=str(error))
            self._set_serving(False)
            self._stop(error)

    def _pump(self) -> None:
        """Apply one batch; the rest waits for the next pass of the loop, so that messages get through."""
        self._pumping = False
        if self._stopped or self.saver.full:
            return
        entries = _first(self.consensus.entries(self.state.index, _BATCH))
        if not entries:
            return
        try:
            self._apply(entries)
        except StoreDamaged as error:
            self._distrust(error, self.state.index)
            return
        except Exception as error:
            self.fatal(error)
            return
        if self.state.index < self.consensus.commit_index:
            self.committed()

    def _apply(self, entries: Sequence[Committed]) -> None:
        parsed = [Entry.FromString(committed.data) for committed in entries]
        cold = reads.gather(parsed, self.state, self._cold)  # kept current below
        changes: list[Change] = []
        hit = self._env.failpoint
        hit("apply.before")
        for committed, entry in zip(entries, parsed, strict=True):
            machine.check_level(entry)
            awaited = self._proposals.awaited(entry.proposal_id)
            outcome = machine.apply(self.state, cold, entry, committed.index, committed.term, answered=awaited)
            made, index, term = outcome.changes, committed.index, committed.term
            weight = self.state.commit(outcome, index, term, entry.at_us)
            self.time.applied(entry.at_us)
            for table, row_id, _, new in made if cold else ():
                if (key := Key(table, row_id)) in cold:
                    cold[key] = new
            self.state.adopt(reads.adopted(made, cold))
            if self._digests.wanted(index):
                self._digests.keep(index, self.state.digest_bytes())
            self.feed.publish(Batch(index, entry.at_us, made, weight - len(made)), weight)
            self.saver.add(made, index, term, self.state.at_us, self.state.digest, weight)
            changes.extend(made)
            hit("acknowledge.before")
            self._proposals.answered(entry.proposal_id, outcome.reply)
        hit("apply.after")
        for observer in self.observers:
            observer(changes, self.state.index)
        self._check_serving()

    def _cold(self, keys: Iterable[Key]) -> dict[Key, Row | None]:
        """Rows that are not in memory: what waits to be saved, over what the store has."""
        return self.saver.rows(keys)

    def _check_serving(self) -> None:
        """A leader serves once an entry of its own term is applied: the first one is its no-op."""
        leads = self._consensus is not None and self.consensus.role is Role.LEADER
        self._set_serving(leads and self.state.term == self.consensus.term and not self._stopped)

    def _set_serving(self, serving: bool) -> None:
        if serving != self.serving:
            self.serving = serving
            self._log.info("serving" if serving else "not serving", term=self.term, index=self.state.index)
            self.on_serving(serving)

    def _saved(self, ended: Iterable[tuple[Key, int]]) -> None:
        """What has ended leaves memory once it is saved, unless a later change is still to be saved."""
        self.state.evict(
            key
            for key, index in ended
            if isinstance(row := self.state.get(*key), Task | Workflow | Operation) and row.modified_index <= index
        )
        self.committed()

    def _save_health(self, error: Exception | None) -> None:
        """A replica that cannot save does not campaign, and steps down."""
        if isinstance(error, StoreDamaged):
            self._distrust(error, self.state.index)
            return
        if error is not None:
            self._log.error("cannot save", error=str(error))
        self.consensus.allow_campaign(error is None)


def _first(entries: Sequence[Committed]) -> Sequence[Committed]:
    """As many of the first ones as have _BATCH_BYTES together, at least one."""
    size_bytes = 0
    for count, entry in enumerate(entries):
        size_bytes += len(entry.data)
        if count and size_bytes > _BATCH_BYTES:
            return entries[:count]
    return entries
