"""The stream of a copy of the state: whole, one at a time, and nothing of it stays on the disk."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from pathlib import Path

import pytest

from cortex.v1 import raft_pb2
from cortex.v1.log_pb2 import Command, Entry, Noop
from node.consensus.membership import Change, ChangeKind, Membership
from node.consensus.port import StateCopy
from node.core.faults import Code, Fault
from node.env import Env
from node.rpc.saving import SnapshotStreams
from node.store.errors import StoreUnavailable
from node.store.store import Store
from tests.node.replica_kit import Alone, alone


def streams_of(daemon: Alone, folder: Path) -> SnapshotStreams:
    return SnapshotStreams(Env.real(folder), daemon.replica, "c")


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.endswith(("-wal", "-shm")))


async def test_the_pieces_are_the_state_and_the_last_says_what_they_should_be(tmp_path: Path) -> None:
    async with alone(tmp_path) as daemon:
        await daemon.replica.saved_through(daemon.replica.state.index)
        replies = [reply async for reply in streams_of(daemon, tmp_path).stream()]
        first, *pieces, last = replies
        data = b"".join(piece.data for piece in pieces)
        assert not first.meta.sha256
        assert last.meta == raft_pb2.SnapshotMeta(
            cluster_id="c",
            index=daemon.replica.state.index,
            term=daemon.replica.state.term,
            membership=daemon.replica.consensus.membership.encode(),
            size_bytes=len(data),
            sha256=hashlib.sha256(data).digest(),
            level=daemon.replica.state.level,
            at_us=daemon.replica.state.at_us,
        )
        store = Store.from_image(data)
        store.check()
        assert store.saved().digest == daemon.replica.state.digest
        store.close()
        assert files(tmp_path) == ["state.sqlite"]


async def test_one_at_a_time_and_who_hangs_up_leaves_nothing(tmp_path: Path) -> None:
    async with alone(tmp_path) as daemon:
        streams = streams_of(daemon, tmp_path)
        async with aclosing(streams.stream()) as stream:
            await anext(stream)
            assert files(tmp_path) == ["state.sqlite", "state.sqlite.copy-1"]
            with pytest.raises(Fault) as refused:
                await anext(streams.stream())
            assert refused.value.code == Code.OVERLOADED
        assert files(tmp_path) == ["state.sqlite"]
        assert [reply async for reply in streams.stream()]


async def test_a_disk_without_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Store) -> None:
        raise StoreUnavailable("The disk is full.", "Make room.")

    async with alone(tmp_path) as daemon:
        streams = streams_of(daemon, tmp_path)
        with monkeypatch.context() as full:
            full.setattr(Store, "copy", refuse)
            with pytest.raises(Fault, match="The disk is full"):
                await anext(streams.stream())
        assert [reply async for reply in streams.stream()]


async def test_it_names_the_members_of_its_own_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with alone(tmp_path) as daemon:
        replica, engine = daemon.replica, daemon.engine
        sound, before = replica.copy_state, engine.membership

        async def copied_before_a_change() -> StateCopy:
            copy = await sound()
            added = Change(ChangeKind.ADD_LEARNER, "n9", "n9:1")
            await engine.change_membership(added, Entry(commands=[Command(noop=Noop())]).SerializeToString())
            return copy

        monkeypatch.setattr(replica, "copy_state", copied_before_a_change)
        replies = [reply async for reply in streams_of(daemon, tmp_path).stream()]
        assert engine.membership.learners == ("n9",)
        assert Membership.decode(replies[0].meta.membership) == before

        def unknown(_index: int) -> Membership:
            raise LookupError("who the members were is not known here")

        monkeypatch.setattr(replica, "copy_state", sound)
        monkeypatch.setattr(engine, "membership_at", unknown)
        with pytest.raises(Fault, match="who the members were is not known here"):
            await anext(streams_of(daemon, tmp_path).stream())
        assert files(tmp_path) == ["state.sqlite"]
