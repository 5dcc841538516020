"""The log in etcd is cut behind a copy of the state; a member that lacks what was cut begins with that copy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from node.consensus.port import Committed
from node.consensus.raftos.snapshots import Snapshots
from tests import etcd_server
from tests.etcd_server import EtcdServers

if not etcd_server.installed():
    pytest.skip(etcd_server.MISSING, allow_module_level=True)

from tests.consensus.conformance.kit import Member
from tests.consensus.conformance.on_etcd import EtcdCluster, run_on_etcd
from tests.consensus.etcd_kit import client_of

# Larger than a piece, so that the state is in several.
FILLER = bytes(range(256)) * 5000
FEW = {"snapshot_entries": 20, "keep_log_entries": 5, "snapshot_retry_s": 0.5}


@dataclass
class Copy:
    """The payloads up to an index, as a state."""

    index: int
    term: int
    payloads: list[bytes]
    at_us: int = 5
    level: int = 1
    recovery_epoch: int = 0

    def chunks(self) -> Iterator[bytes]:
        yield b"\n".join(self.payloads) + b"\n"
        yield FILLER
        yield FILLER

    def close(self) -> None: ...


class Keeper:
    """What a replica does: it applies, saves, copies what is saved, and begins anew with what was installed."""

    def __init__(self, cluster: EtcdCluster, member: Member) -> None:
        self.cluster, self.member = cluster, member
        self.base: list[Committed] = []
        self.installs = 0
        member.copy_state = self.copy  # type: ignore[method-assign]
        member.applied = self.applied  # type: ignore[method-assign]
        member.installed = self.installed  # type: ignore[method-assign]
        member.committed = self.take  # type: ignore[method-assign]
        self.payloads: list[bytes] = []
        self.index = self.term = 0

    def applied(self) -> tuple[int, int, bytes]:
        self.take()
        return self.index, 0, b""

    def take(self) -> None:
        if self.member.up:
            for entry in self.member.engine.entries(self.index, 1000):
                assert entry.index == self.index + 1
                self.index, self.term = entry.index, entry.term
                self.payloads.append(entry.data.rpartition(b"@")[0])

    async def copy(self) -> Copy:
        self.take()
        return Copy(self.index, self.term, list(self.payloads))

    def installed(self) -> None:
        self.installs += 1
        asyncio.get_running_loop().create_task(self.begin_anew())

    async def begin_anew(self) -> None:
        await self.cluster.kill(self.member)
        snapshots = Snapshots(self.cluster.disk(self.member), "conformance")
        meta = snapshots.latest()
        assert meta is not None
        state = b"".join(snapshots.read(meta, at, 1 << 20) for at in range(0, meta.size_bytes, 1 << 20))
        assert state.endswith(FILLER + FILLER)
        self.payloads = state.removesuffix(FILLER + FILLER).split(b"\n")[:-1]
        self.index, self.term = meta.index, meta.term
        await self.cluster.boot(self.member)


async def fill(cluster: EtcdCluster, keepers: list[Keeper], count: int) -> None:
    head = max((keeper for keeper in keepers if keeper.member.leads), key=lambda keeper: keeper.member.engine.term)
    for number in range(count):
        await head.member.engine.propose(b"p%d" % number)
        for keeper in keepers:
            keeper.take()


def test_the_log_is_cut_behind_a_snapshot(etcd: EtcdServers) -> None:
    async def check(cluster: EtcdCluster) -> None:
        keepers = [Keeper(cluster, member) for member in cluster.members]
        await fill(cluster, keepers, 30)
        head = next(member for member in cluster.members if member.leads)
        await cluster.until(lambda: head.engine.snapshot_index >= 20, "a snapshot is taken")
        first = head.engine.snapshot_index
        await fill(cluster, keepers, 30)
        await cluster.until(lambda: head.engine.snapshot_index > first, "another one is taken")
        await cluster.until(
            lambda: {member.engine.snapshot_index for member in cluster.members} == {head.engine.snapshot_index},
            "all know of it",
        )
        operator = client_of(etcd)
        prefix = cluster.prefix.encode()

        # Cutting comes last, and the next snapshot only after it.
        engine = head.engine
        await cluster.until(lambda: engine._states._task is None, "the log is cut")
        batches = (await operator.page(prefix + b"log/", prefix + b"log0", 1000)).keys
        assert len(batches) <= engine.last_index - engine.snapshot_index + 6
        pieces = (await operator.page(prefix + b"state/", prefix + b"state0", 1000)).keys
        assert {pair.key.split(b"/")[-2] for pair in pieces} == {b"%020d" % head.engine.snapshot_index}
        assert max(len(pair.value) for pair in pieces) == 1 << 20
        await operator.close()

    run_on_etcd(etcd, check, **FEW)


@pytest.mark.parametrize("empty", [False, True])
def test_a_member_that_lacks_what_was_cut_begins_with_the_snapshot(etcd: EtcdServers, empty: bool) -> None:
    async def check(cluster: EtcdCluster) -> None:
        keepers = [Keeper(cluster, member) for member in cluster.members]
        away = next(keeper for keeper in keepers if not keeper.member.leads)
        others = [keeper for keeper in keepers if keeper is not away]
        await cluster.kill(away.member)
        if empty:
            away.index, away.term, away.payloads = 0, 0, []
        await fill(cluster, others, 60)
        head = next(keeper for keeper in others if keeper.member.leads)
        await cluster.until(lambda: head.member.engine.snapshot_index > 40, "a snapshot is taken")
        await cluster.boot(away.member)
        await cluster.until(lambda: away.installs > 0 and away.member.up, "it begins anew")
        index = await head.member.engine.propose(b"last")

        def caught_up() -> bool:
            away.take()
            head.take()
            return away.index >= index

        await cluster.until(caught_up, "it catches up")
        assert away.installs == 1
        assert away.payloads == head.payloads

    run_on_etcd(etcd, check, **FEW)


def test_a_snapshot_that_cannot_be_made_keeps_the_log_whole(etcd: EtcdServers) -> None:
    async def check(cluster: EtcdCluster) -> None:
        # Without a keeper nothing is applied, and copy_state() raises OSError.
        keepers = [Keeper(cluster, member) for member in cluster.members]

        async def refuse() -> Copy:
            raise OSError("the disk is full")

        for member in cluster.members:
            member.copy_state = refuse  # type: ignore[method-assign]
        await fill(cluster, keepers, 50)
        head = next(member for member in cluster.members if member.leads)
        assert head.engine.snapshot_index == 0
        assert [entry.index for entry in head.engine.entries(0, 1000)] == list(range(1, head.engine.last_index + 1))

    run_on_etcd(etcd, check, **FEW)
