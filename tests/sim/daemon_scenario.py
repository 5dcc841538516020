"""Whole daemons under faults: clients submit, cancel, retry and watch; machines die, links fail, clocks jump."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from unittest.mock import patch

import structlog

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import types_pb2
from cortex.v1.log_pb2 import Command, SettingsChange
from node.core.faults import Fault
from node.core.model import LIVE
from node.leader import history
from node.link import Caller, LinkClosed
from node.rpc import batch
from tests.sim.daemon_client import Client
from tests.sim.daemon_load import Load
from tests.sim.daemon_world import Host, World
from tests.sim.loop import SimLoop, run
from tests.sim.net import Weather
from tests.sim.result import Result

DURATION_S = 60.0
_SETTLE_S = 240.0
_CLIENTS = 3
MUST_REACH = (
    "kill leader",
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
    "events: migrated",
    "events: history_trimmed",
    "batch parts",
    "tasks trimmed",
    "lost",
    "doubled",
    "reordered",
)
_LITTLE = {"max_ended_tasks": 40, "max_dead_letters": 15, "events_kept_s": 10}


def run_seed(seed: int, keep_trace: bool = False) -> Result:
    """One run, made from its seed alone."""
    result = Result(seed, "daemons")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        rng = random.Random(f"{seed}/shape")
        world = World(loop, seed, rng.choice([3, 3, 3, 5]), rng.choice([0, 1]), keep_trace)
        structlog.configure(processors=[world.log])
        scenario = Scenario(world)
        await scenario.play()
        result.virtual_s, result.operations = loop.time(), scenario.load.operations
        result.violations, result.trace = world.violations.found, world.trace.digest()
        result.reached = world.counts + world.network.counts
        if world.trace.lines is not None:
            print(*world.trace.lines, sep="\n")

    try:
        # Small and often, so that a minute sees what days see.
        with patch.object(batch, "PART_TASKS", 2), patch.object(history, "_PASS_S", 3.0):
            run(main, limit_s=DURATION_S + 3 * _SETTLE_S)
    finally:
        structlog.reset_defaults()
    return result


class Scenario:
    """Load and faults for a while; then everything heals, must end, and must agree."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._random = random.Random(f"{world.seed}/nemesis")
        self._over = False
        self._jobs: list[asyncio.Task[None]] = []
        self._clients = [Client(world, number) for number in range(1, _CLIENTS + 1)]
        self.load = Load(world)
        self._helper = Client(world, 97)

    async def play(self) -> None:
        world = self.world
        world.network.weather = self._weather()
        for host in world.hosts:
            host.boot()
        if random.Random(f"{world.seed}/history").random() < 0.5:
            self._jobs.append(asyncio.create_task(self._keep_little()))
        clients = [client.life.spawn(self.load.run(client)) for client in self._clients]
        watcher = Client(world, 99)
        watching = watcher.life.spawn(self.load.watch(watcher))
        nemesis = asyncio.create_task(self._nemesis())
        await asyncio.sleep(DURATION_S)
        self._over = self.load.over = True
        await asyncio.wait([nemesis, *clients])
        for done in (nemesis, *clients, *self._jobs):
            await done
        await self._settle()
        watching.cancel()

    # Faults

    async def _nemesis(self) -> None:
        rng = self._random
        deeds: list[tuple[int, Callable[[], None]]] = [
            (4, self._kill_somebody),
            (4, self._kill_leader),
            (4, self._lose_power),
            (1, self._lose_all_power),
            (3, self._cut_one_way),
            (3, self._isolate_somebody),
            (2, self._change_weather),
            (1, self._jump_clock),
            (3, self._checkpoint),
            (2, self._quiesce),
        ]
        weights = [weight for weight, _ in deeds]
        while not self._over:
            await asyncio.sleep(rng.choice([0.5, 2.0, 5.0]) * rng.uniform(0.5, 1.5))
            deed = rng.choices(deeds, weights)[0][1]
            self.world.note(deed.__name__.strip("_"))
            self.world.counts[deed.__name__.strip("_").replace("_", " ")] += 1
            deed()

    def _later(self, delay_s: float, work: Callable[[], None]) -> None:
        async def job() -> None:
            await asyncio.sleep(delay_s)
            work()

        self._jobs.append(asyncio.create_task(job()))

    def _down(self, host: Host, *, power: bool) -> None:
        if not host.up:
            return
        if power:
            host.lose_power(forget_saves=self._random.random() < 0.5)
        else:
            host.kill()
        self._later(self._random.choice([0.1, 1.0, 4.0, 10.0]), lambda: None if host.up else host.boot())

    def _kill_somebody(self) -> None:
        self._down(self._random.choice(self.world.hosts), power=False)

    def _kill_leader(self) -> None:
        leader = self.world.leader()
        if leader is not None:
            self._down(leader, power=self._random.random() < 0.5)

    def _lose_power(self) -> None:
        self._down(self._random.choice(self.world.hosts), power=True)

    def _lose_all_power(self) -> None:
        for host in self.world.hosts:
            self._down(host, power=True)

    def _cut_one_way(self) -> None:
        one, other = self._random.sample(self.world.hosts, 2)
        self.world.network.cut(one.address, other.address)
        self._later(self._random.uniform(0.5, 8.0), self.world.network.heal)

    def _isolate_somebody(self) -> None:
        leader = self.world.leader()
        host = leader if leader and self._random.random() < 0.5 else self._random.choice(self.world.hosts)
        self.world.network.isolate(host.address, [other.address for other in self.world.hosts])
        self._later(self._random.uniform(0.5, 10.0), self.world.network.heal)

    def _change_weather(self) -> None:
        self.world.network.weather = self._weather()

    def _jump_clock(self) -> None:
        host = self._random.choice(self.world.hosts)
        host.machine.clock.skew_us = int(self._random.uniform(-20e6, 20e6))

    def _checkpoint(self) -> None:
        for host in self.world.hosts:
            host.checkpoint()

    def _quiesce(self) -> None:
        """As before a shutdown that then does not come; not everybody may hear of it."""

        async def tell(host: Host) -> None:
            request = pb.QuiesceRequest(hold_ms=4000, wait_ms=2000)
            with suppress(LinkClosed, Fault):
                await self._helper.link.call(host.address, "Quiesce", request, 3.0, Caller("nemesis"))

        for host in self.world.voters:
            if self._random.random() < 0.9:
                self._helper.life.spawn(tell(host))

    async def _keep_little(self) -> None:
        """Settings under which history is trimmed within seconds."""
        changes = [SettingsChange(name=name, value=str(value)) for name, value in _LITTLE.items()]
        commands = [Command(settings_change=change) for change in changes]
        while not self._over:
            await asyncio.sleep(1.0)
            leader = self.world.leader()
            if leader is None or leader.daemon is None or leader.daemon.voter is None:
                continue
            with suppress(Fault, TimeoutError):
                async with asyncio.timeout(2.0):
                    await leader.daemon.voter.replica.execute(commands, client="sim", request_id="settings")
                    return

    def _weather(self) -> Weather:
        foul = self._random.choice([0.0, 0.0, 0.05, 0.2])
        slow = self._random.choice([0.001, 0.001, 0.02])
        return Weather(loss=foul, duplicate=foul / 2, reorder=foul, delay_s=(0.0002, slow))

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
            leader = self.world.leader()
            if leader is None or leader.daemon is None or leader.daemon.voter is None:
                continue
            lost = [task.id for task in leader.daemon.voter.replica.state.tasks.values() if task.lost_at_us]
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
        return [host for host in self.world.voters if host.daemon is not None and host.daemon.voter is not None]

    def _idle(self, *, saved: bool = False) -> bool:
        replicas = [host.daemon.voter.replica for host in self._voters() if host.daemon and host.daemon.voter]
        states = [replica.state for replica in replicas]
        indexes = {state.index for state in states}
        if saved:
            indexes.update(replica.saver.saved_index for replica in replicas)
        return (
            self.world.leader() is not None
            and len(indexes) == 1
            and not any(state.live_count() or state.batches or state.operations for state in states)
        )

    def _unended(self) -> str:
        leader = self.world.leader()
        if leader is None or leader.daemon is None or leader.daemon.voter is None:
            return "no leader"
        tasks = leader.daemon.voter.replica.state.tasks.values()
        live = [task for task in tasks if task.state in LIVE]
        return ", ".join(f"{task.id} {types_pb2.TaskState.Name(task.state)} on {task.node}" for task in live[:5])

    def _check(self) -> None:
        world = self.world
        kinds = None
        for host in self._voters():
            assert host.daemon is not None
            assert host.daemon.voter is not None
            replica = host.daemon.voter.replica
            log = replica.consensus.entries(0, 1 << 30)
            world.checker.replay(log, replica.state)
            kinds = world.checker.store(host.id, host.store, replica.state)
            world.counts["leaders"] = max(world.counts["leaders"], replica.term)
        if kinds is not None:
            world.counts.update({f"events: {kind}": count for kind, count in kinds.items()})
        some = self._voters()[0]
        assert some.daemon is not None
        assert some.daemon.voter is not None
        world.checker.watched(self.load.seen, some.daemon.voter.replica.state, some.store)
        world.checker.executions(world.executions, world.loop.time(), self.load.holds)
        world.counts["double runs"] = world.checker.ledger(world.executions, some.store)
        world.checker.requests()
        world.counts.update(world.checker.reached)
        world.counts["batch parts"] = world.checker.parts
        world.counts["tasks trimmed"] = len(world.checker.trimmed)
        world.counts["commands started"] = len(world.executions)
        world.counts["tasks acknowledged"] = len(world.checker.acknowledged)
