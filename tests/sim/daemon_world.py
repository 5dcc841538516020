"""A cluster of whole daemons: store, scheduler, worker and service, on simulated machines."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import structlog

from cortex.v1 import types_pb2
from node.conditions.direct import DirectJudge
from node.conditions.port import Answer, Question
from node.config import Config
from node.daemon import Daemon, Machine
from node.replica import Replica
from node.store.store import Store
from node.voter import Voter
from node.worker.executors.noop import NoopExecutor
from node.worker.executors.port import Setup
from node.worker.executors.shell import ShellExecutor
from tests.sim.daemon_log import SharedLog
from tests.sim.env import SimMachine
from tests.sim.lease_checks import RenewalChecker
from tests.sim.linearizable import History
from tests.sim.loop import SimLoop
from tests.sim.net import Network
from tests.sim.processes import Execution, Processes, SimSupervisor
from tests.sim.result import Trace, Violations
from tests.sim.task_checks import TaskChecker

CLUSTER_ID = "sim"
SLOTS = 3
LEASE_MS = 6_000
MARGIN_MS = 1_000
# What daemons log of it, and the counter.
_COUNTED = {"begins anew": "snapshots installed", "the store begins with a snapshot": "stores replaced"}


class _Judge(DirectJudge):
    """One that takes its time now and then, in which much may happen to what it was asked about."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng

    async def judge(self, question: Question) -> Answer:
        if self._random.random() < 0.5:
            await asyncio.sleep(self._random.choice([0.02, 1.0, 3.0]))
        return await super().judge(question)


class _Kept(Store):
    """A store in memory that outlives close(), as a file does."""

    keep: Callable[[bytes], None] = staticmethod(lambda _image: None)

    def close(self) -> None:
        if self.is_open:
            self.keep(self.image())
        super().close()


class Host:
    """One machine with its daemon, its commands and its store."""

    def __init__(
        self, world: World, name: str, address: str, voters: Mapping[str, str], *, standby: bool = False
    ) -> None:
        """One that is among `voters` begins the cluster; another one executes, or may be made a voter later."""
        self._world = world
        self.id = name
        self.address = address
        self.machine = SimMachine(world.loop, name, world.seed)
        self.processes = Processes(name, self.machine.clock, world.executions)
        self.daemon: Daemon | None = None
        self._image = b""
        self._older_image = b""
        self._store: _Kept | None = None
        voter = name in voters
        self._config = Config(
            id=name,
            data=Path("/sim") / name,
            listen=address,
            voters=voters if voter else {},
            join=() if voter else tuple(voters.values()),
            worker=not voter and not standby,
            lease_ms=LEASE_MS,
            renew_ms=1_000,
            lease_margin_ms=MARGIN_MS,
            heartbeat_ms=1_000,
            offline_ms=5_000,
        )

    @property
    def up(self) -> bool:
        return self.machine.up

    @property
    def applied(self) -> int:
        """Index of what its replica has; 0 while it has none."""
        voter = self.daemon.voter if self.daemon is not None else None
        return voter.replica.state.index if voter is not None else 0

    def boot(self) -> None:
        life, env = self.machine.boot()
        self._world.note(f"boot {self.id}")
        machine = Machine(
            link=self._world.network.link(self.address, life),
            supervisor=SimSupervisor(self.processes),
            sample=self._sample,
            describe=types_pb2.Node(
                hostname=self.id,
                slots=[types_pb2.Slots(type=types_pb2.TASK_TYPE_SHELL, count=SLOTS)],
                capacity=types_pb2.Requests(cpu_millis=8000, memory_bytes=1 << 34),
            ),
            executors=[ShellExecutor(Setup(env.data)), NoopExecutor(Setup(env.data))],
            judge=_Judge(random.Random(env.random.getrandbits(64))),
        )
        self.daemon = life.call(Daemon, self._config, env, machine, CLUSTER_ID, self._open_store, self._fatal)
        if self.daemon.seat is not None:
            self.daemon.seat.built = self._built
        self._world.network.attach(self.address, self.daemon, life)
        life.spawn(self._start(self.daemon))

    async def _start(self, daemon: Daemon) -> None:
        try:
            await daemon.start()
        except Exception as error:
            self._fatal(error)

    def kill(self) -> None:
        """The daemon ends as by kill -9; its commands run on."""
        self._take_image()
        self._world.network.detach(self.address, machine_up=True)
        self.machine.kill()
        self.processes.daemon_crashed()
        self.daemon = None

    def lose_power(self, *, forget_saves: bool, lose_rows: bool = False) -> None:
        """Everything on the machine dies; the store may fall back to what it had before, or be lost whole."""
        self._take_image()
        self._world.network.detach(self.address)
        self.machine.power_loss()
        self.processes.machine_crashed()
        self.daemon = None
        if forget_saves and self._older_image:
            self._world.counts["saves forgotten"] += 1
            self._image = self._older_image
        if lose_rows:
            self._world.counts["rows lost"] += bool(self._image)
            self._image = b""

    def checkpoint(self) -> None:
        """What the store has now is what a later loss of power may fall back to."""
        if self._store is not None and self._store.is_open:
            self._older_image = self._store.image()

    @property
    def image(self) -> bytes:
        """The store's file of a machine that is down."""
        return self._image

    @property
    def store(self) -> Store:
        assert self._store is not None
        return self._store

    def _open_store(self) -> Store:
        if self._image:
            self._store = _Kept.from_image(self._image)
        else:
            self._store = _Kept(":memory:")
            self._store.open()
        self._store.keep = self._keep
        return self._store

    def _keep(self, image: bytes) -> None:
        self._image = image

    def _take_image(self) -> None:
        if self._store is not None and self._store.is_open:
            self._image = self._store.image()

    def _sample(self) -> types_pb2.Resources:
        busy = len([one for one in self._world.executions[-50:] if one.machine == self.id and one.ended_s is None])
        return types_pb2.Resources(
            sampled_at_us=self.machine.clock.wall_us(),
            cpu_percent=min(100.0, 20.0 * busy),
            cores=4,
            memory_total_bytes=1 << 34,
            memory_available_bytes=1 << 33,
            disk_total_bytes=1 << 38,
            disk_free_bytes=1 << 37,
        )

    def _built(self, voter: Voter) -> None:
        self._world.entries.follow(self.id, voter)
        voter.replica.observers.append(lambda _changes, index: self._observe(voter.replica, index))

    def _observe(self, replica: Replica, index: int) -> None:
        digest = replica.state.digest_bytes()
        self._world.note(f"{self.id} applied {index} {digest.hex()}")
        self._world.checker.applied(self.id, index, digest)

    def _fatal(self, error: Exception) -> None:
        self._world.counts["fatal"] += 1
        self._world.report(f"{self.id} stopped: {error!r}")


class World:
    """Everything of one seed."""

    def __init__(
        self, loop: SimLoop, seed: int, voters: int, workers: int, keep_trace: bool = False, standbys: int = 0
    ) -> None:
        """`standbys` join, and vote once they are asked to."""
        self.loop = loop
        self.seed = seed
        # A third of the seeds that CI runs.
        self.rough = seed // 10 % 10 in (1, 3, 7, 9)
        """Whether commands have bad manners, and old verdicts come when they fit."""
        self.counts: Counter[str] = Counter()
        self.trace = Trace(keep_trace)
        self.violations = Violations()
        self.executions: list[Execution] = []
        self.checker = TaskChecker(self.report)
        self.entries = SharedLog(self.report)
        self.history = History(loop.time)
        self.watched: Host | None = None
        """The voter that the watch of this run is at."""
        self.network = Network(loop, SimMachine(loop, "network", seed).random)
        addresses = {f"n{i}": f"10.0.0.{i}:7001" for i in range(1, voters + 1)}
        self.renewals = RenewalChecker(self.report, loop.time, self._voters_at)
        self.network.watcher = self.renewals
        self.voters = [Host(self, name, address, addresses) for name, address in addresses.items()]
        self.workers = [Host(self, f"w{i}", f"10.0.1.{i}:7001", addresses) for i in range(1, workers + 1)]
        self.standbys = [
            Host(self, f"s{i}", f"10.0.2.{i}:7001", addresses, standby=True) for i in range(1, standbys + 1)
        ]
        self.hosts = [*self.voters, *self.workers, *self.standbys]

    def _voters_at(self, address: str) -> list[str]:
        """Addresses of those who vote, as the daemon there knows it."""
        for host in self.hosts:
            if host.address == address and host.daemon is not None and host.daemon.voter is not None:
                return [one.address for one in host.daemon.voter.engine.membership.members if one.voter]
        return []

    def report(self, what: str) -> None:
        self.violations(self.loop.time(), what)

    def note(self, what: str) -> None:
        self.trace.note(self.loop.time(), what)

    def log(self, _logger: object, level: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """A structlog processor: what daemons log is part of the trace, and goes nowhere else."""
        self.note(f"{level} {sorted(event.items(), key=lambda item: item[0])}")
        self.counts[_COUNTED.get(str(event.get("event")), "events logged")] += 1
        if (
            event.get("event") == "begins anew"
            and self.watched is not None
            and event.get("node") == self.watched.id
        ):
            self.counts["watched voters begun anew"] += 1
        self.counts["errors logged"] += level in ("error", "exception")
        raise structlog.DropEvent

    def at(self, delay_s: float, work: Callable[[], None]) -> None:
        """Do `work` later, whoever lives then."""
        self.loop.call_later(delay_s, work, context=self.loop.neutral)

    @property
    def up(self) -> list[Host]:
        return [host for host in (*self.voters, *self.standbys) if host.up]

    def leader(self) -> Host | None:
        """The voter that serves, if there is one."""
        for host in self.up:
            if host.daemon and host.daemon.voter and host.daemon.voter.replica.serving:
                return host
        return None

    def serving(self) -> Replica | None:
        """The replica of the leader() that serves."""
        leader = self.leader()
        if leader is None or leader.daemon is None or leader.daemon.voter is None:
            return None
        return leader.daemon.voter.replica
