"""Disks are lost for good: what one of them had, or a backup, goes on in a new recovery epoch."""

from __future__ import annotations

import asyncio
import random
from contextlib import AbstractContextManager, aclosing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from cortex.v1 import cluster_pb2 as pb
from cortex.v1 import raft_pb2
from node.core.faults import Code, Fault
from node.core.rebase import INDEX_STEP
from node.env import RealClock
from node.recovery import backup, lost
from node.recovery.files import save_snapshot
from node.store.store import FILE
from tests.sim.daemon_scenario import little_logs
from tests.sim.daemon_world import CLUSTER_ID, Host
from tests.sim.members_kit import ANN, Story, played

_FOLDERS = ("raft", "snapshots")


def take_out(host: Host, folder: Path) -> None:
    """The disk of a machine that is down, as files."""
    for name in _FOLDERS:
        disk = host.machine.disk(name)
        (folder / name).mkdir(parents=True)
        for file in disk.names():
            one = disk.open(file)
            (folder / name / file).write_bytes(one.read(0, one.size()))
    if host.image:
        (folder / FILE).write_bytes(host.image)


def put_in(host: Host, folder: Path) -> None:
    """What take_out() gave, after the operator's work on it; the store's rows are left as they were."""
    for name in _FOLDERS:
        disk = host.machine.disk(name)
        for file in disk.names():
            disk.remove(file)
        for path in sorted((folder / name).iterdir()):
            one = disk.open(path.name, create=True)
            one.write(0, path.read_bytes())
            one.sync()
        disk.sync_folder()


def at_its_time(host: Host) -> AbstractContextManager[Any]:
    """What an operator runs on a machine reads that machine's clock."""
    return patch.object(RealClock, "wall_us", lambda _self: host.machine.clock.wall_us())


def recover(host: Host, folder: Path) -> None:
    """As `cortexd recover` does on a machine."""
    take_out(host, folder)
    with (
        at_its_time(host),
        lost.planned(folder, CLUSTER_ID, host.id, host.address) as plan,
    ):
        meta = lost.carry_out(plan)
        assert meta.index >= plan.found.last_index + INDEX_STEP
    put_in(host, folder)


async def save(it: Story, host: Host, path: Path) -> raft_pb2.SnapshotMeta:
    """As `cortexd snapshot save` does beside a daemon that runs."""
    replies: list[pb.SaveSnapshotReply] = []
    stream = it.operator.link.stream(host.address, "SaveSnapshot", pb.SaveSnapshotRequest(), ANN)
    async with aclosing(stream) as pieces:
        async for reply in pieces:
            assert isinstance(reply, pb.SaveSnapshotReply)
            replies.append(reply)
    return save_snapshot(path, replies[-1].meta, [reply.data for reply in replies[1:-1]])


async def position_of(it: Story, after: pb.WatchReply | None = None) -> pb.WatchReply | Code:
    """Where a watch stands that goes on from there, or begins; or why it cannot."""
    request = pb.WatchRequest(snapshot=after is None)
    if after is not None:
        request.after_index, request.recovery_epoch = after.index, after.recovery_epoch
    leader = it.world.leader()
    assert leader is not None
    try:
        async with aclosing(it.operator.link.stream(leader.address, "Watch", request, ANN)) as replies:
            async for reply in replies:
                assert isinstance(reply, pb.WatchReply)
                if reply.snapshot_end or (after is not None and reply.index >= after.index):
                    return reply
    except Fault as fault:
        return fault.code
    raise AssertionError("the watch ended without a word")


async def shown(it: Story, task_id: str, min_index: int, *, linearizable: bool) -> pb.GetTaskReply | Code:
    """What the leader shows to a client that has seen `min_index`."""
    leader = it.world.leader()
    assert leader is not None
    freshness = pb.Freshness(min_index=min_index, linearizable=linearizable)
    found = await it.ask(leader.id, "GetTask", pb.GetTaskRequest(id=task_id, freshness=freshness))
    assert isinstance(found, pb.GetTaskReply | Code), found
    return found


class Before:
    """What clients and commands knew last."""

    def __init__(self, it: Story, position: pb.WatchReply) -> None:
        self.position = position
        self.acknowledged = list(it.acknowledged)
        self.index = max(it.acknowledged_at.values())
        self.fences = {one.key.fence for one in it.world.executions}
        assert 0 < max(self.fences) < INDEX_STEP


async def before(it: Story) -> Before:
    position = await position_of(it)
    assert isinstance(position, pb.WatchReply)
    return Before(it, position)


async def nothing_is_taken_for_new(it: Story, then: Before, had: list[str]) -> None:
    """Reads, watches and fences behind the step; `had` is what was acknowledged before and is not lost."""
    for linearizable in (False, True):
        for task_id in then.acknowledged:
            found = await shown(it, task_id, then.index, linearizable=linearizable)
            if task_id in had:
                assert isinstance(found, pb.GetTaskReply), (task_id, found)
                assert found.index > INDEX_STEP
            else:
                assert found == Code.NOT_FOUND
    assert await position_of(it, then.position) == Code.GONE
    anew = await position_of(it)
    assert isinstance(anew, pb.WatchReply)
    assert anew.recovery_epoch > then.position.recovery_epoch
    assert anew.index > INDEX_STEP

    def fences_of_new() -> list[int]:
        return [one.key.fence for one in it.world.executions if one.key.task not in then.acknowledged]

    begun = len(fences_of_new())
    await it.until(lambda: len(fences_of_new()) > begun + 3)
    # An attempt of before may be carried on under its own fence; nothing else has one of before.
    assert {one.key.fence for one in it.world.executions if one.key.fence < INDEX_STEP} <= then.fences
    assert min(fences_of_new()[begun:]) > INDEX_STEP


async def refused(it: Story, old: Host) -> None:
    """What the leader sends is not taken on a disk of before the recovery: it does not come to vote."""
    request = pb.AddVoterRequest(mutation=it.operator.mutation(), node=old.id, wait_ms=3000)
    reply = await it.operator.ask("AddVoter", request, patience=20)
    assert not isinstance(reply, pb.ChangeVoterReply) or not reply.voter
    await asyncio.sleep(5)
    assert old.id not in it.voters
    assert old.daemon is not None
    assert old.daemon.voter is not None
    assert old.daemon.voter.replica.state.index < INDEX_STEP
    status = await it.ask(old.id, "Status", pb.StatusRequest())
    assert f"{old.id} cannot vote: its log is of before a recovery" in status.notice
    if isinstance(reply, pb.ChangeVoterReply):
        await it.remove(old.id)
    old.kill()


@pytest.mark.sim
@pytest.mark.parametrize("seed", range(4))
def test_what_the_survivor_had_and_all_that_comes_later_stays(seed: int, tmp_path: Path) -> None:
    async def story(it: Story) -> None:
        rng = random.Random(f"{seed}/recovery")
        await it.begin()
        survivor, late, gone = rng.sample(it.world.voters, 3)
        if rng.random() < 0.5:
            # It may lack what the others acknowledged last.
            it.world.network.isolate(survivor.address, [host.address for host in it.world.hosts])
        await asyncio.sleep(rng.uniform(0.2, 5.0))
        then = await before(it)
        assert survivor.daemon is not None
        assert survivor.daemon.voter is not None
        had = [task_id for task_id in it.acknowledged if survivor.daemon.voter.replica.task(task_id) is not None]
        for host in (survivor, late, gone):
            host.kill() if rng.random() < 0.5 else host.lose_power(forget_saves=rng.random() < 0.5)
        it.world.network.heal()
        acknowledged = len(it.acknowledged)

        recover(survivor, tmp_path / "disk")
        survivor.boot()
        await it.until(lambda: it.world.leader() is survivor and len(it.acknowledged) > acknowledged + 3)
        assert it.voters == [survivor.id]
        # What was not on the survivor's disk is lost, as `cortexd recover` says.
        it.acknowledged[:acknowledged] = had
        await nothing_is_taken_for_new(it, then, had)
        # One that was taken for lost comes back with its old disk, against all advice.
        late.boot()
        term = it.world.serving().term  # type: ignore[union-attr]
        await asyncio.sleep(5)
        assert (it.world.leader(), it.world.serving().term) == (survivor, term)  # type: ignore[union-attr]
        await refused(it, late)
        for name in ("s1", "s2"):
            await it.add(name)
        survivor.kill()
        await it.until(lambda: it.world.leader() not in (None, survivor))
        survivor.boot()
        await it.end(members=3)

    with little_logs(seed):
        played(story, voters=3, standbys=2, seed=seed)


@pytest.mark.sim
@pytest.mark.parametrize("seed", range(3))
def test_a_backup_goes_on_and_what_came_behind_it_is_gone(seed: int, tmp_path: Path) -> None:
    """`cortexd snapshot save` beside a daemon or on its folder; then all is lost, and one begins with that file."""

    async def story(it: Story) -> None:
        rng, file = random.Random(f"{seed}/restore"), tmp_path / "backup.snap"
        await it.begin()
        await asyncio.sleep(rng.uniform(0.2, 3.0))
        source, late, new = rng.sample(it.world.voters, 3)
        if rng.random() < 0.5:
            saved = await save(it, source, file)
        else:
            source.kill()
            take_out(source, tmp_path / "stopped")
            saved = backup.save_stopped(tmp_path / "stopped", CLUSTER_ID, file)
            source.boot()
        await it.until(lambda: len(it.acknowledged) > 30)
        await it.until(lambda: it.world.leader() is not None)
        then = await before(it)
        had = [task_id for task_id in then.acknowledged if it.acknowledged_at[task_id] <= saved.index]
        assert 0 < len(had) < len(then.acknowledged)
        for host in it.world.hosts:
            host.lose_power(forget_saves=False, lose_rows=host is new)
        acknowledged = len(it.acknowledged)

        new.machine.disks.clear()
        with at_its_time(new):
            meta = backup.restore(file, tmp_path / "new", CLUSTER_ID, new.id, new.address)
        assert meta.index >= saved.index + INDEX_STEP
        put_in(new, tmp_path / "new")
        for host in (new, *it.world.standbys):
            host.boot()
        await it.until(lambda: it.world.leader() is new and len(it.acknowledged) > acknowledged + 3)
        assert it.voters == [new.id]
        it.acknowledged[:acknowledged] = [
            task_id for task_id in it.acknowledged[:acknowledged] if it.acknowledged_at[task_id] <= saved.index
        ]
        await nothing_is_taken_for_new(it, then, had)
        late.boot()
        await refused(it, late)
        for name in ("s1", "s2"):
            await it.add(name)
        new.kill()
        await it.until(lambda: it.world.leader() not in (None, new))
        new.boot()
        await it.end(members=3)

    with little_logs(seed):
        played(story, voters=3, standbys=2, seed=seed)
