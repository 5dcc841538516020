"""Engines alone under faults: crash with torn tails, foul weather, partitions, pauses, failing and full disks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from node.consensus.port import NotLeader, OutcomeUnknown, Overloaded, Role, Superseded, TooLarge
from node.consensus.raftos.settings import RaftSettings
from tests.sim.engine_world import SEGMENT_BYTES, Voter, World
from tests.sim.loop import SimLoop, run
from tests.sim.net import Weather
from tests.sim.result import Result

DURATION_S = 90.0
_CLIENTS = 4
_HEAL_S = 30.0
_CALL_TIMEOUT_S = 3.0
MODES = ("faults", "short reigns", "ambushed votes")
"""What a run is mostly about; the other faults happen in all of them, less often."""
MUST_REACH = (
    *MODES,
    "acknowledged",
    "ambushes",
    "appends refused: other term",
    "crashes",
    "cut suffixes",
    "digests received",
    "doubled",
    "doubled votes",
    "elections without a winner",
    "ended as NotLeader",
    "ended as OutcomeUnknown",
    "ended as Superseded",
    "failing disks",
    "forwards",
    "full disks",
    "leaders isolated",
    "lost",
    "older terms committed",
    "one-way cuts",
    "partitions",
    "pauses",
    "pre-votes without a majority",
    "reads confirmed",
    "reads not confirmed",
    "reordered",
    "stale votes",
    "step-downs without quorum",
    "stopped by the disk",
    "torn sectors",
    "torn tails",
    "transfers",
)
_REFUSED = (NotLeader, Overloaded, Superseded, TooLarge)


def run_seed(seed: int, keep_trace: bool = False) -> Result:
    """One run, made from its seed alone."""
    result = Result(seed, "engine")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        world = make_world(loop, seed, keep_trace)
        scenario = Scenario(world)
        await scenario.play()
        result.virtual_s, result.operations = loop.time(), scenario.operations
        result.violations, result.trace = world.violations.found, world.trace.digest()
        result.reached = world.counts + world.network.counts
        if world.trace.lines is not None:
            print(*world.trace.lines, sep="\n")

    run(main, limit_s=DURATION_S + 10 * _HEAL_S)
    return result


def make_world(loop: SimLoop, seed: int, keep_trace: bool = False) -> World:
    rng = random.Random(f"{seed}/shape")
    mode = rng.choices(list(MODES), [5, 3, 3])[0]
    hasty = mode == "short reigns"
    settings = RaftSettings(
        heartbeat_s=0.05 if hasty else 0.1,
        election_min_s=0.2 if hasty else 0.6,
        election_max_s={"faults": 1.2, "short reigns": 0.4, "ambushed votes": 0.62}[mode],
        step_down_s=0.4 if hasty else 1.2,
        max_message_bytes=1 if hasty else rng.choice([1, 2_000, 1 << 20]),
        max_inflight=rng.choice([1, 2, 8]),
        max_write_bytes=rng.choice([1, 8 << 20]),
        proposal_timeout_s=rng.choice([2.0, 10.0]),
        segment_bytes=SEGMENT_BYTES,
    )
    world = World(loop, seed, rng.choice([3, 3, 3, 4, 5, 5]), settings, keep_trace)
    world.mode = mode
    return world


def _forget(call: asyncio.Task[Any]) -> None:
    """Nobody waits for the outcome any more."""
    if not call.cancelled():
        call.exception()


class Scenario:
    """Clients propose and confirm, a nemesis does its worst; then everything heals and must agree."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.operations = 0
        self._random = random.Random(f"{world.seed}/nemesis")
        self._over = False
        self._number = 0
        self._jobs: list[asyncio.Task[None]] = []
        self._faults_every_s = 1.0 if world.mode == "faults" else 3.0

    async def play(self) -> None:
        world = self.world
        world.counts[world.mode] += 1
        if world.mode == "short reigns":
            world.network.weather = Weather(delay_s=(0.0005, 0.01))
            world.happened = self._ambush_leaders
        elif world.mode == "ambushed votes":
            world.network.weather = Weather(
                loss=0.1, duplicate=0.2, reorder=0.4, reorder_s=1.5, delay_s=(0.001, 0.05)
            )
            for voter in world.voters:
                voter.machine.sync_s = (0.001, 0.05)
            world.happened = self._ambush_votes
        for voter in world.voters:
            await voter.boot()
        clients = [asyncio.create_task(self._client(number)) for number in range(_CLIENTS)]
        evil = [asyncio.create_task(self._nemesis()), asyncio.create_task(self._siege())]
        await asyncio.sleep(DURATION_S)
        self._over = True
        for done in (*evil, *clients, *self._jobs):
            await done
        await self._heal()

    # Clients

    async def _client(self, number: int) -> None:
        rng = random.Random(f"{self.world.seed}/client{number}")
        while not self._over:
            await asyncio.sleep(rng.expovariate(8))
            voters = self.world.up
            if not voters:
                continue
            voter = rng.choice(voters)
            if rng.random() < 0.1:
                await self._confirm(voter)
            else:
                burst = rng.choice([1, 1, 1, 1, 10])
                size = rng.choice([10, 10, 10, 300, 3000])
                await asyncio.gather(*(self._propose(voter, size) for _ in range(burst)))

    async def _propose(self, voter: Voter, size: int) -> None:
        engine, life, world = voter.engine, voter.machine.life, self.world
        if engine is None or life is None:
            return
        self._number += 1
        self.operations += 1
        proposal = f"op{self._number}.".encode().ljust(size, b"x")
        call = life.spawn(engine.propose(proposal))
        await asyncio.wait([call], timeout=_CALL_TIMEOUT_S)
        if not call.done():
            call.add_done_callback(_forget)
            world.counts["calls unanswered"] += 1
            return
        error = call.exception()
        if error is None:
            world.counts["acknowledged"] += 1
            world.checker.acknowledge(proposal, call.result())
        elif isinstance(error, _REFUSED):
            world.counts[f"ended as {type(error).__name__}"] += 1
            world.checker.refuse(proposal, type(error).__name__)
        elif isinstance(error, OutcomeUnknown):
            world.counts["ended as OutcomeUnknown"] += 1
        else:
            raise error

    async def _confirm(self, voter: Voter) -> None:
        """A confirmed leader that has committed in its term knows everything acknowledged before the call."""
        engine, life, world = voter.engine, voter.machine.life, self.world
        if engine is None or life is None or engine.role is not Role.LEADER:
            return
        commit, acknowledged = engine.commit_index, world.checker.highest_acknowledged
        serving = commit > 0 and voter.log[commit - 1].term == engine.term
        self.operations += 1
        call = life.spawn(engine.confirm())
        await asyncio.wait([call], timeout=_CALL_TIMEOUT_S)
        if not call.done() or isinstance(call.exception(), NotLeader):
            call.add_done_callback(_forget)
            world.counts["reads not confirmed"] += 1
            return
        if (error := call.exception()) is not None:
            raise error
        world.counts["reads confirmed"] += 1
        if serving and commit < acknowledged:
            world.report(f"{voter.id} confirmed a read at {commit}, acknowledged was {acknowledged}")

    # Nemesis

    async def _nemesis(self) -> None:
        rng = self._random
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
        ]
        weights = [weight for weight, _ in deeds]
        while not self._over:
            await asyncio.sleep(rng.choice([0.05, 0.5, 2.0, 5.0]) * rng.uniform(0.5, 1.5) * self._faults_every_s)
            deed = rng.choices(deeds, weights)[0][1]
            self.world.note(deed.__name__.strip("_"))
            await deed()
            self.world.check_logs()

    def _later(self, delay_s: float, work: Callable[[], Awaitable[None]]) -> None:
        async def job() -> None:
            await asyncio.sleep(delay_s)
            await work()

        self._jobs.append(asyncio.create_task(job()))

    def _some(self) -> Voter:
        return self._random.choice(self.world.voters)

    def _crash(self, voter: Voter, restart_s: float | None = None) -> None:
        if not voter.machine.up:
            return
        self.world.counts["crashes"] += 1
        voter.go_down(power_loss=self._random.random() < 0.7)
        if restart_s is None:
            restart_s = self._random.choice([0.005, 0.2, 2.0, 6.0 if self.world.mode == "faults" else 0.8])
        self._later(restart_s, lambda: self._restart(voter))

    async def _restart(self, voter: Voter) -> None:
        if not voter.machine.up:
            await voter.boot()
            if not voter.up:
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

    def _heal_later(self) -> None:
        async def heal() -> None:
            self.world.network.heal()

        self._later(self._random.choice([0.1, 0.7, 2.0, 5.0]), heal)

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
        await asyncio.wait([call], timeout=_CALL_TIMEOUT_S)
        call.add_done_callback(_forget)
        if call.done() and call.exception() is None:
            self.world.counts["transfers"] += 1

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
        """No leader lasts."""
        while not self._over and self.world.mode != "faults":
            await asyncio.sleep(self._random.uniform(0.2, 1.5))
            leader = self.world.leader()
            if leader is not None:
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

    # The end

    async def _heal(self) -> None:
        world = self.world
        world.note("heal")
        world.network.heal()
        world.network.weather = Weather()
        for voter in world.voters:
            voter.machine.sync_s = (0.0002, 0.0006)
            disk = voter.machine.disk("raft")
            disk.capacity_bytes, disk.fail_sync = 1 << 40, lambda: False
            life, engine = voter.machine.life, voter.engine
            if life is not None and life.paused:
                life.resume()
            if not voter.up:
                voter.go_down(power_loss=False)
                await voter.boot()
            elif life is not None and engine is not None:
                life.call(engine.allow_campaign, True)
        deadline = world.loop.time() + _HEAL_S
        while world.loop.time() < deadline and not await self._agreed():
            pass
        if world.loop.time() >= deadline:
            world.report("no agreement after everything healed")
        world.checker.finish(
            {voter.id: voter.log for voter in world.voters},
            {voter.id: voter.engine.commit_index if voter.engine else 0 for voter in world.voters},
        )

    async def _agreed(self) -> bool:
        """Whether a new proposal is committed everywhere."""
        await asyncio.sleep(0.5)
        leader = self.world.leader()
        if leader is None:
            return False
        before = self.world.checker.highest_acknowledged
        await self._propose(leader, 10)
        after = self.world.checker.highest_acknowledged
        await asyncio.sleep(0.5)
        return after > before and all(
            voter.engine is not None and voter.engine.commit_index >= after for voter in self.world.voters
        )
