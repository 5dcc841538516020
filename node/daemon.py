"""Daemon(config, env, …): builds the parts of one node, starts and stops them in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

import structlog
from google.protobuf.message import Message

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import raft_pb2, types_pb2, worker_pb2
from node import __version__
from node.conditions.port import Judge
from node.config import Config, hostname
from node.core import checks
from node.core.faults import Code, Fault, begins_anew, no_leader
from node.core.model import LEVEL
from node.env import Env
from node.link import Caller, LeaderStream, Link, LinkClosed, SessionHandler
from node.replica import Replica
from node.rpc.inspect import Inspector
from node.rpc.kept import Files, KeptRelay
from node.rpc.output import OutputRelay
from node.rpc.proxy import Proxy
from node.store.store import Store
from node.voter import Seat, Voter
from node.worker.executors.port import Executor
from node.worker.port import SupervisorPort
from node.worker.resources.port import Gauge
from node.worker.worker import WorkerNode, WorkerSettings

_OF_OUTPUT = pb.OutputRequest | pb.ListOutputRequest | pb.SearchOutputRequest


@dataclass(frozen=True, slots=True)
class Machine:
    """What a daemon finds on its machine. The simulator brings its own."""

    link: Link
    supervisor: SupervisorPort
    sample: Callable[[], types_pb2.Resources]
    describe: types_pb2.Node
    executors: Sequence[Executor]
    judge: Judge
    gauge: Gauge | None = None  # what else it measures; a simulated machine measures nothing


class Daemon:
    """One node. Implements rpc.server.Handlers. `on_fatal` is told, once, why it cannot go on."""

    def __init__(
        self,
        config: Config,
        env: Env,
        machine: Machine,
        cluster_id: str,
        open_store: Callable[[], Store],
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self.config = config
        self._env = env
        self._machine = machine
        self._log = structlog.get_logger(node=config.id)
        self._joined = [one for one in (*config.voters.values(), *config.join) if one != config.listen]
        seat = Seat(config, env, machine.link, machine.judge, cluster_id, open_store, on_fatal)
        self.seat = seat if config.keeps_log else None
        self._proxy = Proxy(machine.link, self._others)
        self.worker = WorkerNode(
            env,
            describe(config, machine.describe),
            machine.link,
            machine.supervisor,
            machine.executors,
            machine.sample,
            self._candidates,
            WorkerSettings(
                output_limit_bytes=config.output_limit_bytes,
                output_max_age_us=config.output_keep_ms * 1000,
                output_max_bytes=config.output_keep_bytes,
                output_max_task_bytes=config.output_keep_task_bytes,
            ),
            on_fatal,
        )
        if machine.gauge is not None:
            self.worker.measure(machine.gauge)
        files = Files(config.id, self.worker.output, machine.link, self._replica, self._address_of)
        self.output = OutputRelay(files)
        self.kept = KeptRelay(files, env.make_offload("search"))
        self.inspector = Inspector(config.id, machine.gauge, machine.link, self._replica, self._address_of)
        self._running = False

    async def start(self) -> None:
        """Raises JournalDamaged, StoreError or Fault."""
        if self.seat is not None:
            await self.seat.start()
        await self.worker.start()
        self._running = True

    async def stop(self) -> None:
        """Hand over leadership, then stop; commands run on under the supervisor."""
        self._running = False
        if self.seat is not None:
            await self.seat.hand_over()
        await self.worker.stop()
        if self.seat is not None:
            await self.seat.stop()

    @property
    def voter(self) -> Voter | None:
        """None on a daemon that keeps no log, and on any other while it begins anew."""
        return self.seat.voter if self.seat is not None else None

    @property
    def _stands_by(self) -> bool:
        """Whether it could vote and does not: nobody added it yet, or it was removed."""
        if self.voter is None or not self.voter.votes:
            return self.voter is not None
        # Removed while it was away: its log does not say so, but the leader that it works for does.
        told = self.worker.voters
        return bool(told) and self.config.listen not in told and self.voter.engine.leader is None

    def _notice(self) -> str:
        """What an operator should know of a daemon that stands by."""
        if self.voter is None or not self.voter.votes:
            return ""
        name, replica = self.config.id, self.voter.replica
        if replica.state.index and self.worker.recovery_epoch > replica.recovery_epoch():
            remedy = "Stop it, move its data folder aside, and start it with --join in the place of --voters."
            return f"{name} cannot vote: its log is of before a recovery of the cluster. {remedy}"
        remedy = f"Leave it as a worker, or add it again with `cortex voters add {name}`."
        return f"{name} was removed from the voters while it was away. {remedy}"

    # rpc.server.Handlers

    async def call(self, method: str, request: Message, caller: Caller) -> Message:
        if not self._running:
            raise no_leader()
        if self.inspector.answers(request):
            return await self.inspector.call(method, request, caller)
        if self.seat is not None and not self._stands_by:
            return await self.seat.call(method, request, caller)
        # A daemon that does not lead has nothing to hold back.
        if method == "Quiesce":
            return pb.QuiesceReply()
        reply = await self._proxy.call(method, request, caller)
        if isinstance(reply, pb.StatusReply):
            reply.notice = self._notice()
        return reply

    def stream(self, method: str, request: Message, caller: Caller) -> AsyncIterator[Message]:
        if isinstance(request, _OF_OUTPUT) and (request.local or self._replica() is not None):
            return self._of_output(request, caller)
        if self.seat is None or self._stands_by:
            return self._proxy.stream(method, request, caller)
        if self.voter is None:
            raise begins_anew()
        if isinstance(request, pb.WatchRequest):
            return self._watch(self.voter, request, caller)
        if isinstance(request, pb.SaveSnapshotRequest):
            return self.voter.backups.stream()
        raise Fault(Code.UNSUPPORTED, f"This release has no {method}.", "Upgrade the daemon.")

    def _of_output(
        self, request: pb.OutputRequest | pb.ListOutputRequest | pb.SearchOutputRequest, caller: Caller
    ) -> AsyncIterator[Message]:
        if isinstance(request, pb.ListOutputRequest):
            return self.kept.attempts(request, caller)
        if isinstance(request, pb.SearchOutputRequest):
            return self.kept.search(request, caller)
        return self.output.stream(request, caller)

    async def _watch(self, voter: Voter, request: pb.WatchRequest, caller: Caller) -> AsyncIterator[Message]:
        async with aclosing(voter.watcher.watch(request, caller)) as replies:
            async for reply in replies:
                if self._stands_by:
                    # Nothing new would ever come.
                    raise Fault(Code.NO_LEADER, "This daemon does not vote any more.", "Ask another daemon.")
                yield reply

    def raft(self, message: raft_pb2.RaftMessage) -> None:
        if self.voter is not None:
            self.voter.engine.receive(message)

    def refused(self, address: str) -> None:
        """Nobody listens at a peer's address any more."""
        if self.voter is not None:
            self.voter.engine.refused(address)

    @property
    def session(self) -> SessionHandler:
        return self.voter.leadership.session if self.voter is not None else self._refuse_session

    async def _refuse_session(self, stream: LeaderStream) -> None:
        # While a voter begins anew it knows of no better place than where the worker looks anyway.
        hint = worker_pb2.NotLeader(address=next(iter(self._others()), "") if self.seat is None else "")
        with suppress(LinkClosed):
            await stream.send(worker_pb2.LeaderMessage(not_leader=hint))
        await stream.close()

    def _replica(self) -> Replica | None:
        """What answers for the cluster here."""
        return self.voter.replica if self.voter is not None and not self._stands_by else None

    def _address_of(self, node_id: str) -> str | None:
        node = self.voter.replica.state.nodes.get(node_id) if self.voter is not None else None
        return node.address if node is not None else None

    def _candidates(self) -> list[str]:
        """Where a session may be opened, the likely leader first."""
        known = self.voter.voters if self.voter is not None else []
        return list(dict.fromkeys([*known, *self.worker.voters, *self._joined]))

    def _others(self) -> list[str]:
        """Who is asked what this daemon does not know."""
        return [address for address in self._candidates() if address != self.config.listen]


def describe(config: Config, machine: types_pb2.Node) -> types_pb2.Node:
    """What this node offers: its machine, and what its configuration says of it.

    Slots are offered for the types that it has executors for, and each of those is a capability.
    """
    node = types_pb2.Node()
    node.CopyFrom(machine)
    node.id = config.id
    node.hostname = node.hostname or hostname()
    node.address = config.listen
    # At its first join; later the leader knows better.
    node.role = types_pb2.NODE_ROLE_VOTER if config.is_voter else types_pb2.NODE_ROLE_WORKER
    node.may_vote = config.keeps_log
    node.version, node.level = __version__, LEVEL
    for text in config.labels:
        key, _, value = text.partition("=")
        node.labels.add(key=key, value=value)
    for slot in node.slots:
        slot.count = config.slots.get(checks.type_name(slot.type), slot.count)
    types = [f"type:{checks.type_name(slot.type)}" for slot in node.slots if slot.count]
    found = sorted({*machine.capabilities, *config.capabilities, *types})
    del node.capabilities[:]
    node.capabilities.extend(found)
    return node


def unserved(config: Config, node: types_pb2.Node) -> list[str]:
    """Task types that the configuration gives slots, and this daemon has no executor for."""
    known = {checks.type_name(slot.type) for slot in node.slots}
    return sorted(kind for kind, count in config.slots.items() if count and kind not in known)
