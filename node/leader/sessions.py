"""Worker sessions from Hello to the end of the stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import structlog

from cortex.v1.log_pb2 import Command, NodeJoin
from cortex.v1.types_pb2 import Node, NodeState, TaskProgress
from cortex.v1.worker_pb2 import Hello, LeaderMessage, NotLeader, Refused, Welcome, WorkerMessage
from node.core.faults import Code, Fault
from node.env import Clock
from node.leader import attached
from node.leader.leases import Leases
from node.leader.port import Replica, Settings
from node.leader.reconcile import Reconciled, corrections, reconcile
from node.leader.reports import Reports
from node.leader.roster import Known, Roster
from node.leader.session import Session, run_until_closed, stop_if_asked
from node.leader.times import Times
from node.link import LeaderStream, LinkClosed

_REMOVED = NodeState.NODE_STATE_REMOVED
# What a machine does not say of itself.
_LEADER_FIELDS = (
    "state",
    "role",
    "online",
    "message",
    "joined_at_us",
    "changed_at_us",
    "modified_index",
    "incarnation_index",
    "suspect_reason",
    "operation",
    "alarm",
    "alarm_tasks",
)


class Sessions:
    """Serves sessions while `serving()`; what they say goes to the leases, the reports and the roster."""

    def __init__(
        self,
        clock: Clock,
        replica: Replica,
        settings: Settings,
        roster: Roster,
        leases: Leases,
        reports: Reports,
        changed: Callable[[], None],
        sampled: Callable[[], None],
        progress: Callable[[str, Iterable[TaskProgress]], None],
    ) -> None:
        self._clock = clock
        self._replica = replica
        self._settings = settings
        self._times = Times(replica, settings)
        self._roster = roster
        self._leases = leases
        self._reports = reports
        self._changed = changed
        self._sampled = sampled
        self._progress = progress
        self._ended = False
        self._log = structlog.get_logger(node=settings.node_id)

    def end(self) -> None:
        """Tell all workers that this daemon leads no more."""
        self._ended = True
        for session in self._roster.sessions():
            session.finish(not_leader(self._replica, self._settings))

    async def closed(self, timeout_s: float) -> None:
        """Wait until all sessions have ended; those that do not in time are cut."""
        sessions = self._roster.sessions()
        waits = [asyncio.ensure_future(session.closed.wait()) for session in sessions]
        if waits:
            await asyncio.wait(waits, timeout=timeout_s)
        for session, wait in zip(sessions, waits, strict=True):
            session.closed.set()
            wait.cancel()

    async def serve(self, stream: LeaderStream, hello: Hello) -> None:
        """Serve one session whose Hello has come; returns when it is over. Raises LinkClosed."""
        received_us = self._clock.boot_us()
        refusal = self._refusal(hello)
        if refusal is not None:
            self._log.warning("worker refused", worker=hello.node.id, peer=stream.peer, reason=refusal.reason)
            await stream.send(LeaderMessage(refused=refusal))
            return
        known = self._roster.known(hello.node.id, received_us)
        known.hello += 1
        known.heard_us = received_us
        mine = known.hello
        if known.session is not None:
            known.session.closed.set()
        refusal = await self._join(hello)
        if refusal is not None:
            await stream.send(LeaderMessage(refused=refusal))
            return
        if self._ended or not self._replica.serving:
            await stream.send(not_leader(self._replica, self._settings))
            return
        if known.hello != mine:
            return
        session = self._open(stream, hello, known, received_us)
        try:
            reading = asyncio.ensure_future(self._read(session, stream, known))
            sending = asyncio.ensure_future(session.drain())
            await run_until_closed(session, reading, sending)
        finally:
            self._leases.forget(session)
            if known.session is session:
                known.session = None
                self._changed()
            self._log.info("session ended", worker=session.node_id)

    def _refusal(self, hello: Hello) -> Refused | None:
        node_id = hello.node.id
        if not node_id or not node_id.isprintable() or len(node_id) > 64:
            return Refused(
                reason="The node id is empty, too long or has unprintable characters.",
                remedy="Give the daemon an id of at most 64 letters, digits, dots, dashes or underscores.",
            )
        if hello.cluster_id and self._settings.cluster_id and hello.cluster_id != self._settings.cluster_id:
            return Refused(
                reason=f"The machine belongs to cluster {hello.cluster_id}, this is {self._settings.cluster_id}.",
                remedy="Give it an empty data folder, or the address of its own cluster.",
            )
        epoch = self._times.recovery_epoch
        if hello.recovery_epoch > epoch:
            return Refused(
                reason=f"The machine knows recovery {hello.recovery_epoch} of the cluster, this is {epoch}.",
                remedy="Stop this daemon's cluster: it goes on from before that recovery.",
            )
        if len(hello.inventory) > self._settings.inventory_limit:
            return Refused(
                reason=f"It lists {len(hello.inventory)} attempts; {self._settings.inventory_limit} is the limit.",
                remedy="Report what has ended in smaller batches first.",
            )
        row = self._replica.state.nodes.get(node_id)
        if row is not None and row.state == _REMOVED and row.incarnation == hello.node.incarnation:
            return Refused(
                reason=f"Node {node_id} was removed from the cluster.",
                remedy="Give it a new data folder to let it join again.",
            )
        skew_us = hello.wall_us - self._replica.now_us()
        if abs(skew_us) >= self._settings.skew_refuse_ms * 1000:
            return Refused(
                reason=f"Its clock differs from the cluster's by {abs(skew_us) / 1e6:.1f} s.",
                remedy="Set its clock, best by NTP, and it will join by itself.",
            )
        self._warn_of_skew(node_id, skew_us)
        return None

    def _warn_of_skew(self, node_id: str, skew_us: int) -> bool:
        bad = abs(skew_us) >= self._settings.skew_warn_ms * 1000
        if bad:
            self._log.warning("clock skew", worker=node_id, skew_s=round(skew_us / 1e6, 3))
        return bad

    async def _join(self, hello: Hello) -> Refused | None:
        """Bring the node's row up to date, and with it what the machine knows to be lost. Raises LinkClosed."""
        commands: list[Command] = []
        if needs_join(self._replica.state.nodes.get(hello.node.id), hello.node):
            commands.append(Command(node_join=NodeJoin(node=hello.node)))
        commands += corrections(self._replica.state, hello.node.id, hello.inventory)
        if not commands:
            return None
        try:
            reply = await self._replica.execute(commands)
        except Fault as fault:
            if fault.code == Code.NO_LEADER:
                return None
            raise LinkClosed(fault.message) from fault
        first = reply.commands[0] if reply.commands else None
        if commands[0].HasField("node_join") and first is not None and not first.accepted:
            return Refused(reason=first.message, remedy="Correct what the machine offers and start it again.")
        return None

    def _open(self, stream: LeaderStream, hello: Hello, known: Known, received_us: int) -> Session:
        """Answer the Hello. Nothing waits in here, so no assignment falls between inventory and session."""
        session = Session(hello.node, stream)
        same_epoch = hello.recovery_epoch == self._times.recovery_epoch
        found = reconcile(self._replica.state, session.node_id, hello.inventory, same_epoch=same_epoch)
        session.push(LeaderMessage(welcome=self._welcome(found)))
        for task in found.resend:
            session.assign(task, self._times.lease_ms)
        for task in (*found.kept, *found.resend):
            stop_if_asked(session, task)
        # What is sent again gets its lease from this Hello on, as the machine counts it.
        session.fences = frozenset(task.fence for task in (*found.kept, *found.resend))
        orphans = [(task.id, task.fence) for task in found.orphans]
        self._leases.joined(session, received_us, orphans)
        known.session = session
        self._log.info(
            "session began",
            worker=session.node_id,
            peer=stream.peer,
            kept=len(found.kept),
            resent=len(found.resend),
            orphans=len(orphans),
        )
        self._changed()
        return session

    def _welcome(self, found: Reconciled) -> Welcome:
        return Welcome(
            term=self._replica.term,
            recovery_epoch=self._times.recovery_epoch,
            lease_ms=self._times.lease_ms,
            renew_ms=self._times.renew_ms,
            heartbeat_ms=self._times.heartbeat_ms,
            prefetch=self._settings.prefetch_limit,
            cluster_id=self._settings.cluster_id,
            verdicts=found.verdicts,
            voters=[peer.address for peer in self._replica.peers if peer.voter],
        )

    async def _read(self, session: Session, stream: LeaderStream, known: Known) -> None:
        while True:
            message = await stream.receive()
            now_us = self._clock.boot_us()
            known.heard_us = now_us
            if known.suspected:
                known.suspected = False
                self._changed()
            if not self._take(session, known, message, now_us):
                self._log.warning("session broke the protocol", worker=session.node_id)
                return

    def _take(self, session: Session, known: Known, message: WorkerMessage, now_us: int) -> bool:
        kind = message.WhichOneof("kind")
        if kind == "reports":
            self._reports.add(session, message.reports)
        elif kind == "renewal":
            skew_us = message.renewal.wall_us - self._replica.now_us()
            if not session.skew_warned:
                session.skew_warned = self._warn_of_skew(session.node_id, skew_us)
            self._leases.renew(session, message.renewal)
        elif kind == "sample":
            known.resources = message.sample.resources
            known.sampled_us = now_us
            known.attached = attached.checked(session.node_id, message.sample.attached)
            self._progress(session.node_id, message.sample.progress)
            self._sampled()
        elif kind != "heartbeat":
            return False
        return True


async def first_hello(stream: LeaderStream, timeout_ms: int) -> Hello | None:
    """The Hello that opens a session; None when something else comes, or nothing in time. Raises LinkClosed."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_ms / 1000):
            message = await stream.receive()
        if message.HasField("hello"):
            return message.hello
    return None


def not_leader(replica: Replica, settings: Settings) -> LeaderMessage:
    """Who leads, as far as this daemon knows."""
    leader = replica.leader or ""
    if leader == settings.node_id:
        leader = ""
    node = replica.state.nodes.get(leader)
    known = next((peer.address for peer in replica.peers if peer.id == leader), "")
    address = known or (node.address if node is not None else "")
    return LeaderMessage(not_leader=NotLeader(leader=leader, address=address))


def needs_join(row: Node | None, offered: Node) -> bool:
    """Whether the row is missing, offline, removed, or says something else than the machine offers."""
    if row is None or not row.online or row.state == _REMOVED:
        return True
    wanted, known = Node(), Node()
    wanted.CopyFrom(offered)
    known.CopyFrom(row)
    for name in _LEADER_FIELDS:
        wanted.ClearField(name)  # type: ignore[arg-type]
        known.ClearField(name)  # type: ignore[arg-type]
    return wanted != known
