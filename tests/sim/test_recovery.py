"""Two of three disks are lost for good: what the third one had goes on in a new recovery epoch."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from unittest.mock import patch

import pytest

from cortex.v1 import cluster_pb2 as pb
from node.core.rebase import INDEX_STEP
from node.env import RealClock
from node.recovery import lost
from node.store.store import FILE
from tests.sim.daemon_scenario import little_logs
from tests.sim.daemon_world import CLUSTER_ID, Host
from tests.sim.members_kit import Story, played

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


def recover(host: Host, folder: Path) -> None:
    """As `cortexd recover` does on a machine."""
    take_out(host, folder)
    with (
        patch.object(RealClock, "wall_us", lambda _self: host.machine.clock.wall_us()),
        lost.planned(folder, CLUSTER_ID, host.id, host.address) as plan,
    ):
        meta = lost.carry_out(plan)
        assert meta.index >= plan.found.last_index + INDEX_STEP
    put_in(host, folder)


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
