"""A cluster of engines without daemons: machines, hosts and what happens to them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import structlog

from node.consensus.port import Role, StateCopy
from node.consensus.raftos.engine import RaftosEngine
from node.consensus.raftos.journal import DiskFull, JournalDamaged, JournalUnusable
from node.consensus.raftos.log import Log
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.snapshots import Snapshots
from node.env import Env
from tests.sim.engine_roles import watched_roles
from tests.sim.engine_state import AppliedState, Copy, newest_state
from tests.sim.env import SimMachine
from tests.sim.linearizable import History
from tests.sim.loop import Life, SimLoop
from tests.sim.member_checks import MemberChecker
from tests.sim.net import Network, RaftOnly
from tests.sim.raft_checks import RaftChecker
from tests.sim.result import Trace, Violations

CLUSTER_ID = "sim"
SEGMENT_BYTES = 16 * 1024
_START_S = 60.0


class Voter:
    """One machine with an engine on it, and the Host of every life of that engine."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.id = name
        self.address = f"{name}:1"
        self.machine = SimMachine(world.loop, name, world.seed)
        self.engine: RaftosEngine | None = None
        self.dead_since: float | None = None
        """When it went down, or stopped by itself."""
        self.state = AppliedState()
        self._renewing = False
        """A snapshot was installed, and the engine that did it gives way to another."""
        self._was: tuple[Role, int] = (Role.FOLLOWER, 0)

    @property
    def up(self) -> bool:
        return self.engine is not None and self.dead_since is None and not self._renewing

    async def boot(self) -> None:
        """Start a new life. A disk that is full keeps it down."""
        life, env = self.machine.boot()
        self.engine, self.dead_since = None, None
        # A store may have saved less than it had applied, but never more than its journal had.
        self.state = AppliedState(self.state.lines[: self.machine.random.choice([0, self.state.index])])
        await self._begin(life, env)

    def _find_state(self) -> None:
        """A snapshot that is newer than the store takes its place."""
        disk, world = self.machine.disk("snapshots"), self.world
        newest = newest_state(Snapshots(disk, CLUSTER_ID))
        if newest is not None and newest.index > self.state.index:
            self.state = newest
            world.counts["states from snapshots"] += 1
            world.checker.state(self.id, newest.lines)
        world.counts["drafts left by a crash"] += any(name.endswith(".part") for name in disk.names())
        if any(name.endswith(".broken") for name in disk.names()):
            world.report(f"{self.id} has a broken snapshot")

    async def _begin(self, life: Life, env: Env) -> None:
        world, self._env = self.world, env
        self._find_state()
        self._was, self._renewing = (Role.FOLLOWER, 0), False
        link = world.network.link(self.address, life)
        engine = RaftosEngine(
            env,
            self,
            self.id,
            world.bootstrap if self.id in world.bootstrap else {},
            CLUSTER_ID,
            link.send_raft,
            world.settings,
            world.roles,
            address=self.address,
        )
        started = life.spawn(engine.start())
        self.engine = engine
        world.network.attach(self.address, RaftOnly(engine.receive, engine.refused), life)
        await asyncio.wait([started], timeout=_START_S)
        if not started.done():
            return
        if (error := started.exception()) is None:
            world.counts["torn tails"] += engine.cut_bytes > 0
            world.counts["journals that begin later"] += "00000001.log" not in self.machine.disk("raft").names()
        else:
            if isinstance(error, JournalDamaged):
                world.report(f"{self.id} does not start: {error}")
            elif not isinstance(error, JournalUnusable | DiskFull):
                raise error
            self.dead_since = world.loop.time()

    def go_down(self, power_loss: bool) -> None:
        if not self.machine.up:
            return
        self.world.note(f"{self.id} {'loses power' if power_loss else 'is killed'}")
        self.world.network.detach(self.address, machine_up=not power_loss)
        before = sum(disk.torn_sectors for disk in self.machine.disks.values())
        if power_loss:
            self.machine.power_loss()
        else:
            self.machine.kill()
        self.world.counts["torn sectors"] += sum(d.torn_sectors for d in self.machine.disks.values()) - before
        self.dead_since = self.world.loop.time()

    # consensus.port.Host

    def stamp(self, proposal: bytes) -> bytes:
        return proposal

    def noop(self) -> bytes:
        return b"noop"

    def committed(self) -> None:
        engine = self.engine
        assert engine is not None
        upto = engine.commit_index
        seen = self.state.index
        entries = engine.entries(seen, upto - seen)
        self.world.checker.committed(self.id, entries, seen, upto)
        self.world.members_checker.committed(entries)
        self.world.note(f"{self.id} commits {upto}")
        self.state.apply(entries)

    def role_changed(self) -> None:
        engine = self.engine
        assert engine is not None
        now = (engine.role, engine.term)
        if now != self._was:
            self._was = now
            self.world.note(f"{self.id} {engine.role.value} {engine.term}")

    @property
    def log(self) -> Log:
        assert self.engine is not None
        return self.engine._log

    def observe_clock(self, peer: str, wall_us: int) -> None:
        self.world.counts["clocks observed"] += 1

    def applied(self) -> tuple[int, int, bytes]:
        return self.state.index, self.state.index, b"digest"

    def recovery_epoch(self) -> int:
        return 0

    def peer_digest(self, peer: str, index: int, digest: bytes) -> None:
        self.world.counts["digests received"] += 1

    def agreed_digest(self) -> tuple[int, bytes]:
        return 0, b""

    def check_digest(self, index: int, digest: bytes) -> None:
        pass

    async def copy_state(self) -> StateCopy:
        rng = self.machine.random
        saved = max(self.state.index - rng.choice([0, 0, 3]), 0)
        self.world.counts["snapshots begun"] += 1
        return Copy(AppliedState(self.state.lines[:saved]), rng.choice([50, 1000, 100_000]))

    def installed(self) -> None:
        life, env = self.machine.life, self._env
        assert life is not None
        self.world.note(f"{self.id} has a snapshot and begins anew")
        self.world.counts["snapshots installed"] += 1
        self._renewing = True
        life.spawn(self._begin_anew(life, env))

    async def _begin_anew(self, life: Life, env: Env) -> None:
        assert self.engine is not None
        await self.engine.stop()
        await self._begin(life, env)

    def fatal(self, error: Exception) -> None:
        self.world.note(f"{self.id} stops: {error}")
        self.world.counts["stopped by the disk"] += 1
        if not isinstance(error, JournalUnusable):
            self.world.report(f"{self.id} stops: {error!r}")
        self.dead_since = self.world.loop.time()


class World:
    """All of one run: made from its seed alone."""

    def __init__(
        self,
        loop: SimLoop,
        seed: int,
        size: int,
        settings: RaftSettings,
        keep_trace: bool = False,
        spares: int = 0,
    ) -> None:
        """`size` voters begin; `spares` more run from the start and are members of nothing."""
        self.loop, self.seed, self.settings = loop, seed, settings
        self.mode = ""
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.trace = Trace(keep_trace)
        self.violations = Violations()
        self.network = Network(loop, random.Random(f"{seed}/network"))
        self.checker = RaftChecker(self.report)
        self.history = History(loop.time)
        self.happened: Callable[[str, str], None] = lambda _what, _voter: None
        """Told of moments worth an ambush: a "vote" given, a "leader" elected, a "commit" of an older term."""
        self.roles = watched_roles(self)
        names = [f"n{number}" for number in range(1, size + spares + 1)]
        self.addresses = {name: f"{name}:1" for name in names}
        self.bootstrap = {name: self.addresses[name] for name in names[:size]}
        self.members_checker = MemberChecker(self.report, self.bootstrap)
        self.voters = [Voter(self, name) for name in names]

    def report(self, what: str) -> None:
        self.violations(self.loop.time(), what)
        self.note(f"VIOLATION {what}")

    def note(self, what: str) -> None:
        self.trace.note(self.loop.time(), what)

    def log(self, _logger: object, level: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        """A structlog processor: what engines log is part of the trace, and goes nowhere else."""
        self.note(f"{level} {sorted(event.items(), key=lambda item: item[0])}")
        self.counts[f"logged: {event['event']}"] += 1
        raise structlog.DropEvent

    @property
    def up(self) -> list[Voter]:
        return [voter for voter in self.voters if voter.up]

    @property
    def engines(self) -> Mapping[str, RaftosEngine]:
        return {voter.id: voter.engine for voter in self.voters if voter.engine is not None}

    @property
    def members(self) -> list[Voter]:
        """By the last membership that is known to be committed."""
        return [voter for voter in self.voters if self.members_checker.current.find(voter.id) is not None]

    def leader(self) -> Voter | None:
        """The leader of the highest term among those that are up."""
        leading = [voter for voter in self.up if voter.engine and voter.engine.role is Role.LEADER]
        return max(leading, key=lambda voter: voter.engine.term, default=None)  # type: ignore[union-attr]

    def check_logs(self) -> None:
        self.checker.logs({voter.id: voter.log for voter in self.up})
        for voter in self.up:
            self.members_checker.follows(voter.id, self.engines[voter.id])
