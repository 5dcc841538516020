"""Engines alone under faults: crash with torn tails, foul weather, partitions, pauses, failing and full disks."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import structlog

from node.consensus.port import NotLeader, OutcomeUnknown, Overloaded, Role, Superseded, TooLarge
from node.consensus.raftos.settings import RaftSettings
from tests.sim.engine_members import REACHED, Operator, read_by_index, shape_of
from tests.sim.engine_nemesis import CALL_TIMEOUT_S, MODES, Nemesis, forget
from tests.sim.engine_world import SEGMENT_BYTES, Voter, World
from tests.sim.loop import SimLoop, run
from tests.sim.net import Weather
from tests.sim.result import Result

DURATION_S = 69.0
_CLIENTS = 4
_HEAL_S = 30.0
MUST_REACH = (
    *MODES,
    *REACHED,
    "acknowledged",
    "ambushes",
    "appends refused: other term",
    "crashes",
    "checked linearizable",
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
    "drafts left by a crash",
    "journals that begin later",
    "logged: a peer needs a snapshot",
    "logged: a snapshot was taken",
    "logged: no snapshot was taken, the log grows on",
    "reads confirmed",
    "reads not confirmed",
    "refused",
    "reordered",
    "snapshots asked for",
    "snapshots begun",
    "snapshots installed",
    "stale votes",
    "states from snapshots",
    "step-downs without quorum",
    "stopped by the disk",
    "torn sectors",
    "torn tails",
    "transfers",
)
_REFUSED = (NotLeader, Overloaded, Superseded, TooLarge)


def run_seed(seed: int, keep_trace: bool = False, kept: frozenset[int] | None = None) -> Result:
    """One run, made from its seed alone; of the steps of its nemesis only the `kept` are taken, if said."""
    result = Result(seed, "engine")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        world = make_world(loop, seed, keep_trace)
        structlog.configure(processors=[world.log])
        scenario = Scenario(world, kept)
        await scenario.play()
        result.virtual_s, result.operations = loop.time(), scenario.operations
        result.violations, result.trace = world.violations.found, world.trace.digest()
        result.reached, result.steps = world.counts + world.network.counts, scenario.nemesis.schedule.drawn
        if world.trace.lines is not None:
            print(*world.trace.lines, sep="\n")

    try:
        run(main, limit_s=DURATION_S + 10 * _HEAL_S)
    finally:
        structlog.reset_defaults()
    return result


def mode_of(seed: int) -> str:
    """What a seed's run is mostly about."""
    return random.Random(f"{seed}/mode").choices(list(MODES), list(MODES.values()))[0]


def make_world(loop: SimLoop, seed: int, keep_trace: bool = False) -> World:
    rng = random.Random(f"{seed}/shape")
    mode = mode_of(seed)
    hasty = mode == "short reigns"
    settings = RaftSettings(
        heartbeat_s=0.05 if hasty else 0.1,
        election_min_s=0.2 if hasty else 0.6,
        election_max_s={"short reigns": 0.4, "ambushed votes": 0.62}.get(mode, 1.0),
        step_down_s=0.4 if hasty else 1.2,
        max_message_bytes=1 if hasty else rng.choice([1, 2_000, 1 << 20]),
        max_inflight=rng.choice([1, 2, 8]),
        max_write_bytes=rng.choice([1, 8 << 20]),
        proposal_timeout_s=rng.choice([2.0, 10.0]),
        segment_bytes=SEGMENT_BYTES,
        **log_life(seed),
    )
    size, spares = shape_of(seed)
    world = World(loop, seed, size, settings, keep_trace, spares)
    world.mode = mode
    return world


def log_life(seed: int) -> dict[str, Any]:
    """Limits of the log that make snapshots frequent; in one of five runs only what the nemesis asks for."""
    rng = random.Random(f"{seed}/log life")
    return {
        "snapshot_entries": rng.choice([20, 60, 60, 200, 100_000]),
        "snapshot_log_bytes": rng.choice([20_000, 64 << 20]),
        "snapshot_retry_s": 1.0,
        "keep_entries": rng.choice([0, 5, 30]),
        "max_log_entries": rng.choice([100, 1000]),
        "piece_bytes": rng.choice([100, 700, 1 << 20]),
        "max_pieces": rng.choice([1, 4]),
        "piece_retry_s": 0.3,
    }


class Scenario:
    """Clients propose and confirm, a nemesis does its worst; then everything heals and must agree."""

    def __init__(self, world: World, kept: frozenset[int] | None = None) -> None:
        self.world = world
        self.nemesis = Nemesis(world, kept)
        self.operations = 0
        self._over = False
        self._number = 0

    async def play(self) -> None:
        world = self.world
        nemesis = self.nemesis
        for voter in world.voters:
            await voter.boot()
        operator = Operator(world)
        clients = [asyncio.create_task(self._client(number)) for number in range(_CLIENTS)]
        nemesis.start()
        operator.start()
        for _ in range(int(DURATION_S)):
            await asyncio.sleep(1)
            if world.violations.found:
                break
        self._over = True
        for client in clients:
            await client
        await operator.stop()
        await nemesis.stop()
        if not world.violations.found:
            await self._heal()
        for said in world.history.violations():
            world.report(said)
        world.counts["checked linearizable"] = world.history.count

    # Clients

    async def _client(self, number: int) -> None:
        rng = random.Random(f"{self.world.seed}/client{number}")
        world = self.world
        while not self._over:
            await asyncio.sleep(rng.expovariate(8))
            voters = world.up if rng.random() < 0.1 else [voter for voter in world.members if voter.up]
            if not voters:
                continue
            voter = rng.choice(voters)
            leading = [voter for voter in voters if voter.engine and voter.engine.role is Role.LEADER]
            if leading and rng.random() < 0.2:
                await self._confirm(rng.choice(leading))
            elif rng.random() < 0.15:
                self.operations += 1
                await read_by_index(world, voter, rng)
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
        written = world.history.begin("the log", "a proposal")
        call = life.spawn(engine.propose(proposal))
        await asyncio.wait([call], timeout=CALL_TIMEOUT_S)
        if not call.done():
            call.add_done_callback(forget)
            world.counts["calls unanswered"] += 1
            return
        error = call.exception()
        if error is None:
            world.counts["acknowledged"] += 1
            world.checker.acknowledge(proposal, call.result())
            world.history.end(written, call.result())
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
        serving = commit > 0 and voter.log.term_at(commit) == engine.term
        self.operations += 1
        read = world.history.begin("the log", "a read")
        call = life.spawn(engine.confirm())
        await asyncio.wait([call], timeout=CALL_TIMEOUT_S)
        if not call.done() or isinstance(call.exception(), NotLeader):
            call.add_done_callback(forget)
            world.counts["reads not confirmed"] += 1
            return
        if (error := call.exception()) is not None:
            raise error
        world.counts["reads confirmed"] += 1
        if serving:
            world.history.end(read, commit)
        if serving and commit < acknowledged:
            world.report(f"{voter.id} confirmed a read at {commit}, acknowledged was {acknowledged}")

    # The end

    async def _heal(self) -> None:
        world = self.world
        world.note("heal")
        world.network.heal()
        world.network.weather = Weather()
        for voter in world.voters:
            voter.machine.sync_s = (0.0002, 0.0006)
            for disk in voter.machine.disks.values():
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
            {voter.id: voter.state.lines for voter in world.members},
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
            voter.engine is not None and voter.engine.commit_index >= after for voter in self.world.members
        )
