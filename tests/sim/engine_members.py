"""An operator who changes a cluster's members while everything else goes wrong: 1, 3, 5 voters and back."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from node.consensus.membership import Change, ChangeKind, ChangeRefused
from node.consensus.port import ChangeInProgress, NotLeader, OutcomeUnknown, Role, Superseded
from tests.sim.engine_nemesis import CALL_TIMEOUT_S, forget
from tests.sim.engine_world import Voter, World

REACHED = (
    "changes ended as ChangeInProgress",
    "changes ended as ChangeRefused",
    "leaders removed",
    "learners added",
    "learners promoted",
    "reads by index",
    "reads by index refused",
    "voters removed",
)
_SIZES = (1, 3, 3, 5)
_OUTCOMES = (ChangeInProgress, ChangeRefused, NotLeader, OutcomeUnknown, Superseded)
_COUNTED = {
    ChangeKind.ADD_LEARNER: "learners added",
    ChangeKind.PROMOTE: "learners promoted",
    ChangeKind.REMOVE: "voters removed",
}


def shape_of(seed: int) -> tuple[int, int]:
    """How many voters begin, and how many daemons run beside them that are members of nothing; 0 in half of all."""
    rng = random.Random(f"{seed}/members")
    if rng.random() < 0.5:
        return random.Random(f"{seed}/size").choice([3, 3, 4, 5]), 0
    voters = rng.choice([1, 3])
    return voters, 5 - voters + rng.choice([0, 1])


class Operator:
    """Makes one change after the other until it is told to stop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = random.Random(f"{world.seed}/operator")
        self._size = len(world.bootstrap)
        self._over = False
        self._job: asyncio.Task[None] | None = None

    def start(self) -> None:
        if len(self._world.voters) > len(self._world.bootstrap):
            self._job = asyncio.create_task(self._work())

    async def stop(self) -> None:
        self._over = True
        if self._job is not None:
            await self._job

    async def _work(self) -> None:
        rng = self._random
        while not self._over:
            await asyncio.sleep(rng.choice([0.02, 0.3, 1.0, 3.0]) * rng.uniform(0.5, 1.5))
            leader = self._world.leader()
            if leader is not None:
                await self._change(leader)

    async def _change(self, leader: Voter) -> None:
        rng, world = self._random, self._world
        assert leader.engine is not None
        membership = leader.engine.membership
        if len(membership.voters) == self._size and not membership.learners:
            self._size = rng.choice([size for size in _SIZES if size != self._size])
        strangers = [voter.id for voter in world.voters if membership.find(voter.id) is None]
        if membership.learners:
            learner = rng.choice(membership.learners)
            kind, whom = ChangeKind.PROMOTE if rng.random() < 0.9 else ChangeKind.REMOVE, learner
        elif len(membership.voters) < self._size and strangers:
            kind, whom = ChangeKind.ADD_LEARNER, rng.choice(strangers)
        else:
            kind, whom = ChangeKind.REMOVE, rng.choice([*membership.voters, leader.id])
        if kind is ChangeKind.REMOVE and whom == leader.id:
            await self._remove_leader(leader)
        else:
            await self._ask(leader, Change(kind, whom, world.addresses[whom]))

    async def _remove_leader(self, leader: Voter) -> None:
        assert leader.engine is not None
        await self._call(leader, leader.engine.transfer())
        for _ in range(5):
            heir = self._world.leader()
            if (
                heir is not None
                and heir is not leader
                and await self._ask(heir, Change(ChangeKind.REMOVE, leader.id))
            ):
                self._world.counts["leaders removed"] += 1
                return
            await asyncio.sleep(0.2)

    async def _ask(self, leader: Voter, change: Change) -> bool:
        assert leader.engine is not None
        self._world.note(f"operator: {change.kind.value} {change.id}, asked of {leader.id}")
        calls = [change]
        if self._random.random() < 0.2:
            other = self._random.choice(self._world.voters).id
            if other != leader.id:
                calls.append(Change(self._random.choice(list(ChangeKind)), other, self._world.addresses[other]))
        outcomes = await asyncio.gather(
            *(self._call(leader, leader.engine.change_membership(one, b"change")) for one in calls)
        )
        for one, outcome in zip(calls, outcomes, strict=True):
            self._world.counts[_COUNTED[one.kind]] += isinstance(outcome, int)
        return isinstance(outcomes[0], int)

    async def _call(self, voter: Voter, work: Any) -> object:
        """What came out; None when nothing did in time."""
        life = voter.machine.life
        if life is None or not voter.up:
            work.close()
            return None
        call = life.spawn(work)
        await asyncio.wait([call], timeout=CALL_TIMEOUT_S)
        call.add_done_callback(forget)
        if not call.done() or call.cancelled():
            return None
        error = call.exception()
        if isinstance(error, _OUTCOMES):
            self._world.counts[f"changes ended as {type(error).__name__}"] += 1
        elif error is not None and not isinstance(error, TimeoutError):
            raise error
        return error if error is not None else call.result()


async def read_by_index(world: World, voter: Voter, rng: random.Random) -> None:
    """Reads on one daemon, some while others are under way."""
    reads = []
    for _ in range(rng.choice([1, 1, 4])):
        reads.append(asyncio.create_task(_read_by_index(world, voter)))
        await asyncio.sleep(rng.choice([0.0, 0.001, 0.02]))
    for read in reads:
        await read


async def _read_by_index(world: World, voter: Voter) -> None:
    """What any daemon is told to wait for covers all that was acknowledged before it asked."""
    engine, life = voter.engine, voter.machine.life
    if engine is None or life is None:
        return
    acknowledged = world.checker.highest_acknowledged
    read = world.history.begin("the log", "a read")
    call = life.spawn(engine.read_index())
    await asyncio.wait([call], timeout=CALL_TIMEOUT_S + 1)
    if not call.done() or isinstance(call.exception(), NotLeader):
        call.add_done_callback(forget)
        world.counts["reads by index refused"] += 1
        return
    if (error := call.exception()) is not None:
        raise error
    world.counts["reads by index"] += 1
    world.counts["reads by index at followers"] += engine.role is not Role.LEADER
    world.history.end(read, call.result())
    if call.result() < acknowledged:
        world.report(f"{voter.id} was told to read at {call.result()}, acknowledged was {acknowledged}")
