"""A snapshot that rots on the leader's disk: it is found out, kept aside, and replaced before anybody needs it."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from cortex.v1 import raft_pb2
from node.consensus.port import Trouble, TroubleKind
from tests.consensus.rigs import B
from tests.consensus.snapshot_kit import Kept, a_leader, pieces
from tests.sim.loop import run


async def taken_by_b(voter: Kept, term: int) -> tuple[raft_pb2.SnapshotMeta, bytes]:
    """B is asked, and takes all of what it is sent; the last answer is the caller's."""
    have, state, meta = 0, b"", None
    voter.engine.log_changed()
    while meta is None or have < meta.size_bytes:
        await voter.settle()
        for piece in pieces(voter):
            if piece["meta"] != meta:
                meta, have, state = piece["meta"], 0, b""
            if piece["data"] and piece["offset"] == have:
                have, state = have + len(piece["data"]), state + piece["data"]
            if have < meta.size_bytes:
                voter.received(B, term, meta.index, have)
    return meta, state


def refuse(voter: Kept, term: int, meta: raft_pb2.SnapshotMeta) -> None:
    """B could make nothing of it, and says so when it is asked the next time."""
    voter.received(B, term, meta.index, 0)


async def asked_again(voter: Kept) -> None:
    questions = 0
    while not questions:
        await voter.settle()
        questions = len([piece for piece in pieces(voter) if not piece["data"]])


def rot(voter: Kept) -> str:
    """One bit of the state; the file's name."""
    disk = voter.machine.disk("snapshots")
    (name,) = disk.names()
    disk.damage(name, 4096 + 50, 1)
    return name


@pytest.mark.parametrize("writes_go_on", [False, True])
@pytest.mark.parametrize("how", ["rotten", "short", "gone"])
def test_another_one_is_taken_and_the_broken_one_is_kept(writes_go_on: bool, how: str) -> None:
    async def main() -> None:
        voter, term = await a_leader()
        disk = voter.machine.disk("snapshots")
        name = rot(voter)
        if how == "rotten":
            meta, state = await taken_by_b(voter, term)
            assert hashlib.sha256(state).digest() != meta.sha256
            await asked_again(voter)
            if writes_go_on:
                await voter.write(3)
            refuse(voter, term, meta)
        else:
            if how == "short":
                disk.open(name).truncate(4096)
            else:
                disk.remove(name)
            voter.engine.log_changed()
            await voter.settle()
            if writes_go_on:
                await voter.write(3)
            voter.received(B, term, voter.engine.snapshot_index, 0)
        await asyncio.sleep(1)
        expected = voter.engine.last_index if writes_go_on else 61
        assert voter.engine.snapshot_index == expected
        broken = [f"{61:020d}.snap.broken"] if how != "gone" else []
        assert sorted(disk.names()) == sorted([f"{expected:020d}.snap", *broken])
        meta, state = await taken_by_b(voter, term)
        assert (meta.index, hashlib.sha256(state).digest()) == (expected, meta.sha256)
        voter.received(B, term, meta.index, len(state), installed=True)
        voter.machine.power_loss()
        voter.host.state.lines = []
        await voter.start()
        assert voter.engine.snapshot_index == expected

    run(main)


def test_an_operator_is_told_until_the_broken_one_is_removed() -> None:
    async def main() -> None:
        voter, term = await a_leader()
        disk = voter.machine.disk("snapshots")
        rot(voter)
        meta, _ = await taken_by_b(voter, term)
        await asked_again(voter)
        assert voter.engine.trouble is None
        refuse(voter, term, meta)
        await asyncio.sleep(60)
        why = "entry 61: its state has another hash than its head says"
        assert voter.engine.trouble == Trouble(TroubleKind.SNAPSHOT_ROTTED, why)
        voter.machine.power_loss()
        await voter.start()
        await asyncio.sleep(60)
        kept = f"{61:020d}.snap.broken"
        assert voter.engine.trouble == Trouble(TroubleKind.SNAPSHOT_ROTTED, kept)
        disk.remove(kept)
        await asyncio.sleep(11)
        assert voter.engine.trouble is None

    run(main)


def test_one_that_is_whole_is_sent_again() -> None:
    async def main() -> None:
        voter, term = await a_leader()
        before = voter.machine.disk("snapshots").names()
        for _ in range(3):
            meta, _ = await taken_by_b(voter, term)
            await asked_again(voter)
            refuse(voter, term, meta)
            await voter.settle()
        meta, state = await taken_by_b(voter, term)
        assert hashlib.sha256(state).digest() == meta.sha256
        assert (voter.machine.disk("snapshots").names(), voter.host.copies) == (before, 1)

    run(main)


def test_the_broken_one_stays_until_another_one_stands() -> None:
    async def main() -> None:
        voter, term = await a_leader()
        disk = voter.machine.disk("snapshots")
        name = rot(voter)
        meta, _ = await taken_by_b(voter, term)
        await asked_again(voter)
        voter.host.fail_copy = True
        refuse(voter, term, meta)
        await asyncio.sleep(3)
        assert (disk.names(), voter.host.copies) == ([name], 3)
        # Nothing of it is sent meanwhile.
        assert pieces(voter) == []
        voter.host.fail_copy = False
        await asyncio.sleep(10)
        assert len(disk.names()) == 2
        meta, state = await taken_by_b(voter, term)
        assert hashlib.sha256(state).digest() == meta.sha256

    run(main)
