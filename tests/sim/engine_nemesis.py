"""What happens to a cluster of engines: crashes, partitions, foul weather, failing disks, and ambushes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from node.consensus.raftos.engine import RaftosEngine
from tests.sim.engine_world import Voter, World
from tests.sim.net import Weather
from tests.sim.schedule import Schedule

MODES = {"faults": 4, "short reigns": 2, "ambushed votes": 2, "blackouts": 1, "deaf leaders": 1}
"""What a run is mostly about, with its share; the other faults happen in all of them, less often."""
_SIEGE_S = {
    "short reigns": (0.2, 1.5),
    "ambushed votes": (0.1, 0.7),
    "blackouts": (1.5, 4.0),
    "deaf leaders": (2.0, 4.0),
}
CALL_TIMEOUT_S = 3.0


def forget(call: asyncio.Task[Any]) -> None:
    """Nobody waits for the outcome any more."""
    if not call.cancelled():
        call.exception()


async def _take_snapshot(engine: RaftosEngine) -> None:
    if not engine._running:
        raise OSError("this voter has stopped")
    await engine._life.take()


def _forget_disk_errors(call: asyncio.Task[int]) -> None:
    if not call.cancelled() and (error := call.exception()) is not None and not isinstance(error, OSError):
        raise error


class Nemesis:
    """Does its worst until it is told to stop; what it began it ends by itself."""

    def __init__(self, world: World, kept: frozenset[int] | None = None) -> None:
        self.world = world
        self.schedule = Schedule(world.seed, kept)
        self._random = random.Random(f"{world.seed}/siege")
        self._over = False
        self._jobs: list[asyncio.Task[None]] = []
        self._faults_every_s = 1.0 if world.mode == "faults" else 3.0

    def start(self) -> None:
        world = self.world
        world.counts[world.mode] += 1
        if world.mode == "short reigns":
            world.network.weather = Weather(delay_s=(0.0005, 0.01))
            world.happened = self._ambush_leaders
        elif world.mode == "ambushed votes":
            world.network.weather = Weather(
                loss=0.1, duplicate=0.5, reorder=0.4, reorder_s=1.5, delay_s=(0.001, 0.05)
            )
            for voter in world.voters:
                voter.machine.sync_s = (0.001, 0.05)
            world.happened = self._ambush_votes
        elif world.mode == "blackouts":
            for voter in world.voters:
                voter.machine.sync_s = (0.001, 0.03)
        self._jobs += [asyncio.create_task(self._faults()), asyncio.create_task(self._siege())]

    async def stop(self) -> None:
        """Begin nothing more, and wait for what was begun."""
        self._over = True
        for job in self._jobs:
            await job

    async def _faults(self) -> None:
        rng = self.schedule.random
        deeds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (6, self._crash_somebody),
            (5, self._crash_leader),
            (2, self._crash_everybody),
            (5, self._cut_one_way),
            (4, self._part),
            (4, self._isolate_leader),
            (4, self._change_weather),
            (4, self._pause_somebody),
            (3, self._slow_disk),
            (2, self._fail_sync),
            (2, self._fill_disk),
            (3, self._transfer),
            (1, self._forbid_campaign),
            (1, self._ask_snapshot),
            (2, self._harm_snapshots),
        ]
        weights = [weight for weight, _ in deeds]
        while not self._over:
            await asyncio.sleep(rng.choice([0.05, 0.5, 2.0, 5.0]) * rng.uniform(0.5, 1.5) * self._faults_every_s)
            deed, step = rng.choices(deeds, weights)[0][1], self.schedule.next()
            if step.taken:
                self._random = step.random
                self.world.note(f"step {step.number}: {deed.__name__.strip('_')}")
                await deed()
            self.world.check_logs()

    def _later(self, delay_s: float, work: Callable[[], Awaitable[None]]) -> None:
        async def job() -> None:
            await asyncio.sleep(delay_s)
            await work()

        self._jobs.append(asyncio.create_task(job()))

    def _some(self) -> Voter:
        return self._random.choice(self.world.voters)

    def _crash(self, voter: Voter, restart_s: float | None = None, power_loss: bool | None = None) -> None:
        if not voter.machine.up:
            return
        self.world.counts["crashes"] += 1
        voter.go_down(self._random.random() < 0.7 if power_loss is None else power_loss)
        if restart_s is None:
            restart_s = self._random.choice([0.005, 0.2, 2.0, 6.0 if self.world.mode == "faults" else 0.8])
        self._later(restart_s, lambda: self._restart(voter))

    async def _restart(self, voter: Voter) -> None:
        if not voter.machine.up:
            await voter.boot()
            if not voter.up and not self.world.violations.found:
                self._crash(voter)

    async def _crash_somebody(self) -> None:
        self._crash(self._some())

    async def _crash_leader(self) -> None:
        leader = self.world.leader()
        if leader is not None:
            self._crash(leader)

    async def _crash_everybody(self) -> None:
        for voter in self.world.voters:
            self._crash(voter)

    async def _cut_one_way(self) -> None:
        source, target = self._random.sample(self.world.voters, 2)
        self.world.counts["one-way cuts"] += 1
        self.world.network.cut(source.address, target.address)
        self._heal_later()

    async def _part(self) -> None:
        addresses = [voter.address for voter in self.world.voters]
        self._random.shuffle(addresses)
        place = self._random.randint(1, len(addresses) - 1)
        self.world.counts["partitions"] += 1
        self.world.network.part(addresses[:place], addresses[place:])
        self._heal_later()

    async def _isolate_leader(self) -> None:
        leader = self.world.leader()
        if leader is not None:
            self.world.counts["leaders isolated"] += 1
            self.world.network.isolate(leader.address, [voter.address for voter in self.world.voters])
            self._heal_later()

    def _heal_later(self, delay_s: float | None = None) -> None:
        async def heal() -> None:
            self.world.network.heal()

        self._later(self._random.choice([0.1, 0.7, 2.0, 5.0]) if delay_s is None else delay_s, heal)

    async def _change_weather(self) -> None:
        rng = self._random
        if self.world.mode != "faults":
            return
        foul = rng.random() < 0.7
        self.world.network.weather = Weather(
            loss=rng.uniform(0, 0.3) if foul else 0.0,
            duplicate=rng.uniform(0, 0.3) if foul else 0.0,
            reorder=rng.uniform(0, 0.3) if foul else 0.0,
            reorder_s=rng.choice([0.01, 0.3]),
            delay_s=(0.0002, rng.choice([0.001, 0.02, 0.1])),
        )

    async def _pause_somebody(self) -> None:
        life = self._some().machine.life
        if life is None or life.paused:
            return
        self.world.counts["pauses"] += 1
        life.pause()

        async def resume() -> None:
            if life.alive:
                life.resume()

        self._later(self._random.choice([0.1, 1.0, 4.0]), resume)

    async def _slow_disk(self) -> None:
        self._some().machine.sync_s = self._random.choice([(0.0002, 0.0006), (0.005, 0.3), (0.5, 8.0)])

    async def _fail_sync(self) -> None:
        voter = self._some()
        if not voter.up:
            return
        disk = voter.machine.disk("raft")
        disk.fail_sync = lambda: True
        self.world.counts["failing disks"] += 1

        async def repair() -> None:
            disk.fail_sync = lambda: False
            self._crash(voter)

        self._later(self._random.uniform(0.1, 2.0), repair)

    async def _fill_disk(self) -> None:
        disk = self._some().machine.disk("raft")
        disk.capacity_bytes = disk.used_bytes()
        self.world.counts["full disks"] += 1

        async def clean_up() -> None:
            disk.capacity_bytes = 1 << 40

        self._later(self._random.uniform(0.5, 8.0), clean_up)

    async def _transfer(self) -> None:
        leader = self.world.leader()
        if leader is None or leader.engine is None or leader.machine.life is None:
            return
        call = leader.machine.life.spawn(leader.engine.transfer())
        await asyncio.wait([call], timeout=CALL_TIMEOUT_S)
        call.add_done_callback(forget)
        if call.done() and call.exception() is None:
            self.world.counts["transfers"] += 1

    async def _ask_snapshot(self) -> None:
        voter = self._some()
        engine, life = voter.engine, voter.machine.life
        if not voter.up or engine is None or life is None:
            return
        self.world.counts["snapshots asked for"] += 1
        call = life.spawn(_take_snapshot(engine))
        await asyncio.wait([call], timeout=CALL_TIMEOUT_S)
        call.add_done_callback(_forget_disk_errors)

    async def _harm_snapshots(self) -> None:
        """The disk of the snapshots fails or is full, which nobody may notice."""
        disk = self._some().machine.disk("snapshots")
        if self._random.random() < 0.5:
            disk.fail_sync = lambda: True
        else:
            disk.capacity_bytes = disk.used_bytes()

        async def repair() -> None:
            disk.fail_sync, disk.capacity_bytes = lambda: False, 1 << 40

        self._later(self._random.uniform(0.5, 8.0), repair)

    async def _forbid_campaign(self) -> None:
        voter = self._some()
        engine, life = voter.engine, voter.machine.life
        if not voter.up or engine is None or life is None:
            return
        life.call(engine.allow_campaign, False)

        async def allow() -> None:
            if life.alive:
                life.call(engine.allow_campaign, True)

        self._later(2.0, allow)

    # Ambushes: what happens by itself too rarely.

    def _ambush_leaders(self, what: str, voter_id: str) -> None:
        """A leader is struck as it begins, or has just committed what an older one left."""
        if what != "vote" and self._random.random() < 0.7:
            self._strike(voter_id, self._random.choice([0.0, 0.0, 0.002, 0.01, 0.03]))

    def _ambush_votes(self, what: str, voter_id: str) -> None:
        """A voter goes down right after it gave its vote away, and is back at once; leaders are cut off or go."""
        if what == "vote" and self._random.random() < 0.7:
            self._strike(voter_id, self._random.choice([0.0, 0.001, 0.02]), restart_s=0.002, isolate=False)
        elif what == "leader" and self._random.random() < 0.6:
            self._strike(voter_id, 0.0, isolate=True)

    async def _siege(self) -> None:
        """What a run is mostly about, again and again: no leader lasts."""
        mode = self.world.mode
        while not self._over and mode != "faults":
            await asyncio.sleep(self._random.uniform(*_SIEGE_S[mode]))
            leader = self.world.leader()
            if mode == "blackouts":
                for voter in self.world.voters:
                    self._crash(voter, restart_s=self._random.choice([0.005, 0.3]), power_loss=True)
            elif leader is not None and mode == "deaf leaders":
                self.world.counts["leaders isolated"] += 1
                self.world.network.isolate(leader.address, list(self.world.addresses.values()))
                self._heal_later(self._random.uniform(1.0, 2.0))
            elif leader is not None:
                self._strike(leader.id, 0.0)

    def _strike(
        self, voter_id: str, delay_s: float, restart_s: float | None = None, isolate: bool | None = None
    ) -> None:
        """Crash a voter, or cut it off for a while; which of both is drawn when not said."""
        if self._over:
            return
        self.world.counts["ambushes"] += 1
        voter = next(voter for voter in self.world.voters if voter.id == voter_id)
        cut_off = self._random.random() < 0.5 if isolate is None else isolate

        async def strike() -> None:
            if cut_off:
                self.world.network.isolate(voter.address, list(self.world.addresses.values()))
                self._heal_later()
            else:
                self._crash(voter, restart_s)

        self.world.loop.call_soon(lambda: self._later(delay_s, strike), context=self.world.loop.neutral.copy())
