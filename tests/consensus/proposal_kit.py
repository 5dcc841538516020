"""A cluster of our engine on virtual time, to which tests propose."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from node.consensus.membership import Change, ChangeKind, ChangeRefused
from node.consensus.port import ChangeInProgress
from node.consensus.raftos.engine import RaftosEngine
from node.consensus.raftos.settings import RaftSettings
from tests.sim.engine_world import Voter, World
from tests.sim.loop import SimLoop, run

S = RaftSettings()


class Cluster(World):
    """A world in fair weather, with a leader that everybody knows."""

    async def begin(self) -> None:
        for voter in self.voters:
            await voter.boot()
        await self.settled()

    async def settled(self) -> None:
        """Wait until all that are up follow one leader that has committed in its term."""
        for _ in range(5000):
            await asyncio.sleep(0.02)
            leader = self.leader()
            members = [] if leader is None else [voter for voter in self.up if self.is_member(voter)]
            leaders = {engine_of(voter).leader for voter in members}
            if leader is not None and leaders == {leader.id} and self.checker.committed_index > 0:
                commits = {engine_of(voter).commit_index for voter in members}
                if len(commits) == 1 and leader.log.last_log_term == engine_of(leader).term:
                    return
        raise AssertionError("no leader")

    @property
    def head(self) -> Voter:
        leader = self.leader()
        assert leader is not None
        return leader

    @property
    def others(self) -> list[Voter]:
        return [voter for voter in self.up if voter is not self.head]

    def is_member(self, voter: Voter) -> bool:
        """By the leader's membership."""
        return engine_of(self.head).membership.find(voter.id) is not None

    def named(self, name: str) -> Voter:
        return next(voter for voter in self.voters if voter.id == name)

    async def change(self, kind: ChangeKind, name: str) -> int:
        """Ask the leader for a change, again while the one before it or its own first entry is not committed yet,
        or while a learner has not caught up."""
        for _ in range(500):
            change = Change(kind, name, self.addresses[name])
            try:
                index: int = await start(self.head, engine_of(self.head).change_membership(change, b"change"))
                return index
            except ChangeInProgress:
                pass
            except ChangeRefused as error:
                if "caught up" not in str(error):
                    raise
            await asyncio.sleep(0.02)
        raise AssertionError(f"{kind} {name} did not come about")

    async def add_learner(self, name: str) -> None:
        await self.change(ChangeKind.ADD_LEARNER, name)

    async def add_voter(self, name: str) -> None:
        await self.add_learner(name)
        await self.change(ChangeKind.PROMOTE, name)

    def isolate(self, voter: Voter) -> None:
        self.network.isolate(voter.address, list(self.addresses.values()))


def engine_of(voter: Voter) -> RaftosEngine:
    assert voter.engine is not None
    return voter.engine


def start(voter: Voter, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    assert voter.machine.life is not None
    task: asyncio.Task[Any] = voter.machine.life.spawn(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def propose(voter: Voter, text: str) -> asyncio.Task[int]:
    return start(voter, engine_of(voter).propose(text.encode()))


def cluster_test(
    check: Callable[[Cluster], Awaitable[None]],
    size: int = 3,
    settings: RaftSettings = S,
    seed: int = 1,
    spares: int = 0,
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimLoop)
        cluster = Cluster(loop, seed, size, settings, spares=spares)
        await cluster.begin()
        await check(cluster)
        assert cluster.violations.found == []

    run(main)
