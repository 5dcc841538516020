"""What goes wrong in a cluster of daemons: crashes, partitions, clocks, sick machines, doubled proposals."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any
from unittest.mock import patch

from cortex.v1 import cluster_pb2 as pb
from cortex.v1.log_pb2 import Command, Entry, Reply, SettingsChange, WorkflowAdvance, WorkflowResume
from node.core import machine, rules
from node.core.faults import Fault
from node.core.model import ENDED, PENDING, member_id
from node.core.state import ClusterState
from node.link import Caller, LinkClosed
from node.replica import Replica
from tests.sim.daemon_client import Client
from tests.sim.daemon_world import Host, World
from tests.sim.net import Weather
from tests.sim.schedule import Schedule

_LATE = 60
_STEPS = ("operation_advance", "workflow_advance")
_LITTLE = {"max_ended_tasks": 40, "max_dead_letters": 15, "events_kept_s": 10}


class Nemesis:
    """run(), and what else is spawned, go on until `over`; `jobs` are what has been begun."""

    def __init__(self, world: World, kept: frozenset[int] | None = None) -> None:
        self.world = world
        self.over = False
        self.jobs: list[asyncio.Task[None]] = []
        self.schedule = Schedule(world.seed, kept)
        self._random = random.Random(f"{world.seed}/weather")
        self._helper = Client(world, 97)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        self.jobs.append(asyncio.create_task(work))

    async def run(self) -> None:
        rng = self.schedule.random
        deeds: list[tuple[int, Callable[[], None]]] = [
            (4, self._kill_somebody),
            (4, self._kill_leader),
            (4, self._lose_power),
            (1, self._lose_all_power),
            (3, self._cut_one_way),
            (3, self._isolate_somebody),
            (3, self._leave_behind),
            (2, self._change_weather),
            (1, self._jump_clock),
            (3, self._checkpoint),
            (2, self._quiesce),
            (2, self._sicken),
            (3, self._propose_again),
        ]
        if self.world.rough:
            deeds.append((3, self._lose_power_at_a_start))
        weights = [weight for weight, _ in deeds]
        while not self.over:
            await asyncio.sleep(rng.choice([0.5, 2.0, 5.0]) * rng.uniform(0.5, 1.5))
            deed, step = rng.choices(deeds, weights)[0][1], self.schedule.next()
            if step.taken:
                self._random = step.random
                self.world.note(f"step {step.number}: {deed.__name__.strip('_')}")
                self.world.counts[deed.__name__.strip("_").replace("_", " ")] += 1
                deed()

    def _later(self, delay_s: float, work: Callable[[], None]) -> None:
        async def job() -> None:
            await asyncio.sleep(delay_s)
            work()

        self.spawn(job())

    def _down(self, host: Host, *, power: bool) -> None:
        if not host.up:
            return
        if power:
            fate = self._random.random()
            host.lose_power(forget_saves=fate < 0.45, lose_rows=fate > 0.9)
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

    def _lose_power_at_a_start(self) -> None:
        """So soon that nobody may have heard of it."""
        host, delay_s = self._random.choice(self.world.hosts), self._random.choice([0.0001, 0.001, 0.004])

        def fall() -> None:
            if not self.over:
                self._down(host, power=True)

        host.processes.at_start = lambda: self.world.at(delay_s, fall)

    def _cut_one_way(self) -> None:
        one, other = self._random.sample(self.world.hosts, 2)
        self.world.network.cut(one.address, other.address)
        self._later(self._random.uniform(0.5, 8.0), self.world.network.heal)

    def _isolate_somebody(self) -> None:
        leader = self.world.leader()
        host = leader if leader and self._random.random() < 0.5 else self._random.choice(self.world.hosts)
        self._isolate(host, self._random.uniform(0.5, 10.0))

    def _leave_behind(self) -> None:
        """A follower that somebody watches is away until the log was cut behind it, as far as chance wants it."""
        host = self.world.watched
        if host is not None and host.up and host is not self.world.leader():
            self._isolate(host, self._random.uniform(5.0, 12.0))

    def _isolate(self, host: Host, for_s: float) -> None:
        self.world.network.isolate(host.address, [other.address for other in self.world.hosts])
        self._later(for_s, self.world.network.heal)

    def _change_weather(self) -> None:
        self.world.network.weather = self.weather()

    def _jump_clock(self) -> None:
        host = self._random.choice(self.world.hosts)
        host.machine.clock.skew_us = int(self._random.uniform(-20e6, 20e6))

    def _checkpoint(self) -> None:
        for host in self.world.hosts:
            host.checkpoint()

    def _sicken(self) -> None:
        """A machine on which everything fails, for a while."""
        processes = self._random.choice(self.world.hosts).processes

        def heal() -> None:
            processes.sick = False

        processes.sick = True
        self._later(self._random.uniform(1.0, 8.0), heal)

    def _propose_again(self) -> None:
        """Reports of attempts come late, or twice."""
        replica = self.world.serving()
        if replica is not None:
            log = self.world.entries.after(max(0, replica.state.index - _LATE), _LATE)
            entries = [Entry.FromString(one.data).commands for one in log]
            reports = [
                [one for one in commands if one.WhichOneof("kind") in machine.FENCED] for commands in entries
            ]
            for commands in filter(None, self._random.sample(reports, len(reports) // 4)):
                self.spawn(self._propose(commands))

    async def stale(self) -> None:
        """What waited for a verdict is run again, and gets the old one as soon as it waits for another."""
        verdicts: dict[str, Command] = {}
        said: set[tuple[str, bytes]] = set()
        keys: dict[str, str] = {}  # of what each depends on, until its workflow was resumed from there
        seen = 0
        while not self.over:
            await asyncio.sleep(0.01)
            replica = self.world.serving()
            if replica is None or replica.state.index <= seen:
                continue
            state = replica.state
            for one in self.world.entries.after(max(seen, state.index - _LATE), _LATE):
                for command in Entry.FromString(one.data).commands:
                    verdict = command.workflow_advance
                    task = state.tasks.get(verdict.task)
                    if task is not None and task.depends_on and (task.id, verdict.input_sha256) not in said:
                        verdicts[task.id], keys[task.id] = command, f"k{task.depends_on[0]}"
            seen = state.index
            for task_id in [one for one in keys if one.partition(".")[0] not in state.workflows]:
                resume = WorkflowResume(id=task_id.partition(".")[0], key=keys.pop(task_id))
                self.spawn(self._propose([Command(workflow_resume=resume)]))
            for task_id in [key for key, one in verdicts.items() if _is_stale(one.workflow_advance, state)]:
                self.world.counts["stale verdicts"] += 1
                said.add((task_id, verdicts[task_id].workflow_advance.input_sha256))
                self.spawn(self._propose([verdicts.pop(task_id)]))

    def late_steps(self) -> AbstractContextManager[object]:
        """As soon as an operation takes a step, the one before that comes a second time."""
        sound = Replica.execute
        last: dict[str, Command] = {}

        async def execute(replica: Replica, commands: Sequence[Command], **more: Any) -> Reply:
            reply = await sound(replica, commands, **more)
            for command in commands:
                step = command.operation_advance
                if not step.id or step.begin or self.over:
                    continue
                before, last[step.id] = last.get(step.id), command
                if before is not None:
                    self.world.counts["late steps"] += 1
                    with suppress(Fault):
                        await sound(replica, [before])
            return reply

        return patch.object(Replica, "execute", execute)

    async def echo(self) -> None:
        """Steps of operations and verdicts are proposed a second time, at once or later."""
        rng = random.Random(f"{self.world.seed}/echo")
        seen = 0
        while not self.over:
            await asyncio.sleep(0.02)
            replica = self.world.serving()
            index = replica.state.index if replica is not None else 0
            if replica is None or index <= seen:
                continue
            log = self.world.entries.after(max(seen, index - _LATE), _LATE)
            seen = index
            for commands in (Entry.FromString(one.data).commands for one in log if one.index <= index):
                steps = [one for one in commands if one.WhichOneof("kind") in _STEPS]
                if steps and rng.random() < 0.3:
                    delay_s = rng.choice([0.0, 0.0, 0.5, 3.0])
                    self.spawn(self._propose(steps, delay_s))

    async def _propose(self, commands: Sequence[Command], delay_s: float = 0.0) -> None:
        await asyncio.sleep(delay_s)
        replica = self.world.serving()
        if replica is not None:
            self.world.counts["proposed again"] += 1
            with suppress(Fault, TimeoutError):
                async with asyncio.timeout(2.0):
                    await replica.execute(commands)

    def _quiesce(self) -> None:
        """As before a shutdown that then does not come; not everybody may hear of it."""

        async def tell(host: Host) -> None:
            request = pb.QuiesceRequest(hold_ms=4000, wait_ms=2000)
            with suppress(LinkClosed, Fault):
                await self._helper.link.call(host.address, "Quiesce", request, 3.0, Caller("nemesis"))

        for host in self.world.voters:
            if self._random.random() < 0.9:
                self._helper.life.spawn(tell(host))

    async def keep_little(self) -> None:
        """Settings under which history is trimmed within seconds."""
        changes = [SettingsChange(name=name, value=str(value)) for name, value in _LITTLE.items()]
        commands = [Command(settings_change=change) for change in changes]
        while not self.over:
            await asyncio.sleep(1.0)
            replica = self.world.serving()
            if replica is None:
                continue
            with suppress(Fault, TimeoutError):
                async with asyncio.timeout(2.0):
                    await replica.execute(commands, client="sim", request_id="settings")
                    return

    def weather(self) -> Weather:
        foul = self._random.choice([0.0, 0.0, 0.05, 0.2])
        slow = self._random.choice([0.001, 0.001, 0.02])
        return Weather(loss=foul, duplicate=foul / 2, reorder=foul, delay_s=(0.0002, slow))


def _is_stale(verdict: WorkflowAdvance, state: ClusterState) -> bool:
    """Whether the task could take a verdict now, and this one is of something else."""
    task = state.tasks.get(verdict.task)
    if task is None or task.state != PENDING:
        return False
    parents = [state.tasks.get(member_id(task.workflow_id, member)) for member in task.depends_on]
    if any(parent is None or parent.state not in ENDED for parent in parents):
        return False
    return rules.input_sha256([parent for parent in parents if parent is not None]) != verdict.input_sha256
