"""A log in etcd that goes on in another recovery, and those who still are of the one before."""

from __future__ import annotations

import asyncio
import random

import pytest

from cortex.v1 import raft_pb2
from node.consensus.etcd.engine import EtcdEngine
from node.consensus.etcd.importing import import_state
from node.consensus.etcd.keys import Keys
from node.consensus.membership import Membership
from node.consensus.raftos.snapshots import Snapshots
from node.consensus.raftos.wire import Codec
from node.core.faults import Fault
from tests.consensus.conformance.kit import Member
from tests.consensus.conformance.on_model import ModelCluster
from tests.consensus.etcd_model import ModelClient
from tests.sim.loop import run

INDEX, TERM, EPOCH = 1_000_000_050, 1_000_003, 7


async def migrated() -> ModelCluster:
    """Nobody runs yet; the log in etcd begins behind a state of that recovery."""
    cluster = ModelCluster(3)
    members = Membership.of_voters(cluster.addresses)
    meta = raft_pb2.SnapshotMeta(
        cluster_id="conformance", index=INDEX, term=TERM, membership=members.encode(), recovery_epoch=EPOCH
    )
    client = ModelClient(cluster.etcd, random.Random(1), cluster.weather, lambda: False, 2.0)
    await import_state(client, Keys(b"/cortex/"), meta, iter([b"the state"]))
    return cluster


async def boot(cluster: ModelCluster, member: Member, index: int, epoch: int) -> EtcdEngine:
    """With rows as of that entry, of that recovery."""
    member.applied = lambda: (index, 0, b"")  # type: ignore[method-assign]
    member.recovery_epoch = lambda: epoch  # type: ignore[method-assign]
    member.committed = lambda: None  # type: ignore[method-assign]
    await cluster.boot(member)
    engine: EtcdEngine = member.engine
    return engine


def test_who_is_of_another_recovery_is_not_heard() -> None:
    async def main() -> None:
        cluster = await migrated()
        for member in cluster.members:
            await boot(cluster, member, INDEX, EPOCH)
        await cluster.until(lambda: any(member.leads for member in cluster.members), "one leads")
        head = next(member for member in cluster.members if member.leads)
        other = next(member for member in cluster.members if not member.leads)
        await cluster.until(lambda: other.engine.leader == head.id, "it is known")
        # Forwards reach the leader within this recovery.
        index = await cluster.propose(other, b"x")
        life = cluster.machines[head.id].life
        assert life is not None
        for epoch, more in ((0, 0), (EPOCH - 1, 0), (EPOCH + 1, 0), (EPOCH, 1)):
            codec = Codec("conformance", other.id)
            codec.epoch = epoch
            forward = {
                "type": "forward",
                "sender": other.id,
                "term": head.engine.term,
                "number": 1000,
                "proposals": [b"y"],
            }
            life.call(head.engine.receive, codec.encode(forward, head.id))
            await asyncio.sleep(1)
            assert head.engine.last_index == index + more, epoch

    run(main)


@pytest.mark.parametrize(
    ("index", "epoch", "outcome"),
    [
        (INDEX, EPOCH, ""),
        (0, 0, "installed"),
        (50, 0, "installed"),
        (INDEX - 1, EPOCH - 1, "installed"),
        # Another recovery of the same backup: indexes and terms look alike.
        (INDEX, EPOCH - 1, "refused"),
        (INDEX - 1, EPOCH + 1, "refused"),
    ],
)
def test_rows_of_another_recovery_do_not_go_on_with_this_log(index: int, epoch: int, outcome: str) -> None:
    async def main() -> None:
        cluster = await migrated()
        member = cluster.members[0]
        installed: list[int] = []
        member.installed = lambda: installed.append(1)  # type: ignore[method-assign]
        await boot(cluster, member, index, epoch)
        await cluster.until(lambda: bool(member.leads or installed or member.errors), "it knows")
        assert (member.leads, bool(installed)) == (outcome == "", outcome == "installed")
        # Only who follows this log says so in the data folder.
        assert cluster.machines[member.id].disk("etcd").names() == (["log"] if not outcome else [])
        if outcome == "refused":
            (error,) = member.errors
            assert isinstance(error, Fault)
            assert f"it is of recovery {EPOCH}, the rows here are of {epoch}" in error.message
        elif outcome == "installed":
            latest = Snapshots(cluster.machines[member.id].disk("snapshots"), "conformance").latest()
            assert latest is not None
            assert (latest.index, latest.recovery_epoch) == (INDEX, EPOCH)

    run(main)
