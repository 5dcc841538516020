"""Whole daemons under faults: clients submit, cancel, retry and watch; machines die, links fail, clocks jump."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import structlog

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from node import engines
from node.consensus.raftos.settings import RaftSettings
from node.consensus.raftos.snapshots import newest_index
from node.core.model import LIVE, Table
from node.core.transitions import operations as transitions
from node.leader import history, operations
from node.rpc import batch
from tests.sim.daemon_client import Client
from tests.sim.daemon_load import Load
from tests.sim.daemon_members import REACHED, STANDBYS, Operator, check_roles, shifts
from tests.sim.daemon_nemesis import Nemesis
from tests.sim.daemon_world import Host, World
from tests.sim.execution_checks import ExecutionChecker
from tests.sim.loop import SimLoop, run
from tests.sim.net import Weather
from tests.sim.past_checks import PastChecker
from tests.sim.result import Result

DURATION_S = 60.0
_SETTLE_S = 240.0
_CLIENTS = 3
_SEGMENT_BYTES = 64 * 1024
MUST_REACH = (
    *REACHED,
    "kill leader",
    "lose power at a start",
    "lose all power",
    "saves forgotten",
    "isolate somebody",
    "jump clock",
    "watches broken",
    "watches gone",
    "held tasks resolved",
    "events: recalled",
    "events: retried",
    "events: lost",
    "events: cancel_requested",
    "events: dead_lettered",
    "events: node_offline",
    "events: rejected",
    "events: escalated",
    "given up as idle",
    "stale verdicts",
    "late steps",
    "renewals acknowledged",
    "events: migrated",
    "events: history_trimmed",
    "checked linearizable",
    "batch parts",
    "tasks trimmed",
    "attempts used up",
    "failures excused",
    "dependencies looked at",
    "moments looked at",
    "proposed again",
    "verdicts",
    "stopped by a failure",
    "skipped",
    "nodes drained",
    "drained letters",
    "retry stopped",
    "double runs",
    "snapshots taken",
    "snapshots installed",
    "watched voters begun anew",
    "stores replaced",
    "rows lost",
    "lost",
    "doubled",
    "reordered",
)


def run_seed(
    seed: int,
    keep_trace: bool = False,
    kept: frozenset[int] | None = None,
    duration_s: float = DURATION_S,
    prepare: Callable[[World], None] = lambda _world: None,
) -> Result:
    """One run, made from its seed alone: `duration_s` virtual seconds of load and faults, then the end.

    Of the steps of its nemesis only the `kept` are taken, if said. `prepare` is called before anything begins.
    """
    result = Result(seed, "daemons")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        rng = random.Random(f"{seed}/shape")
        voters, workers = rng.choice([3, 3, 3, 5]), rng.choice([0, 1])
        if shifts(seed):
            voters, workers = 3, 0
        world = World(loop, seed, voters, workers, keep_trace, STANDBYS if shifts(seed) else 0)
        structlog.configure(processors=[world.log])
        prepare(world)
        scenario = Scenario(world, duration_s, kept)
        with scenario.nemesis.late_steps():
            await scenario.play()
        result.virtual_s, result.operations = loop.time(), scenario.load.operations
        result.violations, result.trace = world.violations.found, world.trace.digest()
        result.reached, result.steps = world.counts + world.network.counts, scenario.nemesis.schedule.drawn
        if world.trace.lines is not None:
            print(*world.trace.lines, sep="\n")

    try:
        # Small and often, so that a minute sees what days see.
        little = patch.object(batch, "PART_TASKS", 2), patch.object(history, "_PASS_S", 3.0)
        with little[0], little[1], _little_steps(), little_logs(seed):
            run(main, limit_s=duration_s + 3 * _SETTLE_S)
    finally:
        structlog.reset_defaults()
    return result


@contextmanager
def little_logs(seed: int) -> Iterator[None]:
    """Small segments. In half of the seeds snapshots every few seconds, too, and little behind them."""
    rng = random.Random(f"{seed}/log")
    entries = rng.choice([20, 50, 150])
    settings = RaftSettings(
        snapshot_entries=entries, keep_entries=rng.choice([0, 5]), segment_bytes=8192, piece_bytes=4096
    )
    if rng.random() < 0.5:
        settings = RaftSettings(segment_bytes=_SEGMENT_BYTES)
    with patch.object(engines, "raft_settings", lambda _config: settings):
        yield


@contextmanager
def _little_steps() -> Iterator[None]:
    """Steps of operations that name two tasks, so that there are several."""
    with patch.object(transitions, "PAGE_LIMIT", 2), patch.object(operations, "PAGE_LIMIT", 2):
        yield


class Scenario:
    """Load and faults for a while; then everything heals, must end, and must agree."""

    def __init__(self, world: World, duration_s: float, kept: frozenset[int] | None = None) -> None:
        self.world = world
        self._duration_s = duration_s
        self.nemesis = Nemesis(world, kept)
        self._clients = [Client(world, number) for number in range(1, _CLIENTS + 1)]
        self.load = Load(world)
        self._operator = Operator(world) if world.standbys else None

    async def play(self) -> None:
        world = self.world
        nemesis = self.nemesis
        world.network.weather = nemesis.weather()
        for host in world.hosts:
            host.boot()
        if random.Random(f"{world.seed}/history").random() < 0.5:
            nemesis.spawn(nemesis.keep_little())
        nemesis.spawn(nemesis.echo())
        if world.rough:
            nemesis.spawn(nemesis.stale())
        if self._operator is not None:
            nemesis.spawn(self._operator.run())
        clients = [client.life.spawn(self.load.run(client)) for client in self._clients]
        watcher = Client(world, 99)
        watching = watcher.life.spawn(self.load.watch(watcher))
        faults = asyncio.create_task(nemesis.run())
        await asyncio.sleep(self._duration_s)
        nemesis.over = self.load.over = True
        if self._operator is not None:
            self._operator.over = True
        await asyncio.wait([faults, *clients])
        for done in (faults, *clients, *nemesis.jobs):
            await done
        await self._settle()
        watching.cancel()

    # The end

    async def _settle(self) -> None:
        """Heal everything, wait until all tasks have ended and all replicas are level, and check."""
        world = self.world
        world.network.heal()
        world.network.weather = Weather()
        for host in world.hosts:
            host.machine.clock.skew_us = 0
            if not host.up:
                host.boot()
        helper = Client(world, 98)
        ending = helper.life.spawn(self._resolve_held(helper))
        opening = helper.life.spawn(self._open_nodes(helper))
        deadline = world.loop.time() + _SETTLE_S
        while world.loop.time() < deadline and not self._idle():  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        ending.cancel()
        opening.cancel()
        if not self._idle():
            world.report(f"not idle after {_SETTLE_S:.0f} s: {self._unended()}")
        await asyncio.sleep(2.0)
        # Trimming goes on: look at a moment in which everything is saved.
        while world.loop.time() < deadline and not self._idle(saved=True):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self._check()

    async def _resolve_held(self, client: Client) -> None:
        """A held task whose machine was lost waits for its operator."""
        while True:
            await asyncio.sleep(3.0)
            replica = self.world.serving()
            if replica is None:
                continue
            lost = [task.id for task in replica.state.tasks.values() if task.lost_at_us]
            for task_id in lost:
                self.world.counts["held tasks resolved"] += 1
                cancel = pb.CancelTaskRequest(mutation=client.mutation(), ids=[task_id], reason="lost")
                await client.ask("CancelTask", cancel, patience=5)

    async def _open_nodes(self, client: Client) -> None:
        """What was drained takes tasks again."""
        while True:
            await asyncio.sleep(5.0)
            for host in self.world.hosts:
                await self.load.deeds.uncordon(client, host.id)

    def _voters(self) -> list[Host]:
        """Those who vote now, as the leader knows it; who began as a voter while nobody leads."""
        world, replica = self.world, self.world.serving()
        voters = replica.consensus.membership.voters if replica is not None else [host.id for host in world.voters]
        hosts = [host for host in (*world.voters, *world.standbys) if host.id in voters]
        return [host for host in hosts if host.daemon is not None and host.daemon.voter is not None]

    def _idle(self, *, saved: bool = False) -> bool:
        replicas = [host.daemon.voter.replica for host in self._voters() if host.daemon and host.daemon.voter]
        states = [replica.state for replica in replicas]
        indexes = {state.index for state in states}
        if saved:
            indexes.update(replica.saver.saved_index for replica in replicas)
        serving = self.world.serving()
        return (
            serving is not None
            and len(replicas) == len(serving.consensus.membership.members)  # no learner is left
            and len(indexes) == 1
            and not any(state.live_count() or state.batches or state.operations for state in states)
            and not any(one.ended_s is None for one in self.world.executions)
        )

    def _unended(self) -> str:
        replica = self.world.serving()
        if replica is None:
            return "no leader"
        tasks = replica.state.tasks.values()
        live = [task for task in tasks if task.state in LIVE]
        return ", ".join(f"{task.id} {types_pb2.TaskState.Name(task.state)} on {task.node}" for task in live[:5])

    def _check(self) -> None:
        world, checker = self.world, self.world.checker
        replicas = {host: host.daemon.voter.replica for host in self._voters() if host.daemon and host.daemon.voter}
        states = {host.id: replica.state for host, replica in replicas.items()}
        last_index = max(state.index for state in states.values())
        past = PastChecker(world.report, world.seed, last_index)
        rows = checker.replay(world.entries.upto(last_index), states, past)
        some = self._voters()[0]
        past.compare(some.store, rows, checker.gone)
        world.counts["moments looked at"] = past.looked
        kinds: Counter[str] = Counter()
        for host, replica in replicas.items():
            kinds = checker.store(host.id, host.store, replica.state)
            world.counts["snapshots taken"] += newest_index(host.machine.disk("snapshots")) > 0
            world.counts["leaders"] = max(world.counts["leaders"], replica.term)
        world.counts.update({f"events: {kind}": count for kind, count in kinds.items()})
        checker.watched(self.load.seen, states[some.id], some.store)
        executions = ExecutionChecker(world.report, world.executions, world.loop.time())
        executions.leases(self.load.holds)
        world.counts["dependencies looked at"] = executions.dependencies(checker.runs)
        world.counts["double runs"] = executions.ledger(some.store, checker.runs)
        checker.requests()
        check_roles(world)
        for said in world.history.violations():
            world.report(said)
        world.counts["checked linearizable"] = world.history.count
        world.counts.update(checker.reached)
        world.counts.update(world.renewals.reached)
        world.counts["batch parts"] = checker.parts
        world.counts["tasks trimmed"] = sum(key.table is Table.TASKS for key in checker.gone)
        world.counts["commands started"] = len(world.executions)
        world.counts["tasks acknowledged"] = len(checker.acknowledged)
