"""Restore and recovery without daemons: what is replayed, what is rebased, and that looking changes nothing."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cortex.v1 import raft_pb2, types_pb2
from cortex.v1.log_pb2 import Command, NodeJoin, TaskSubmit
from cortex.v1.types_pb2 import Node, Setting, TaskSpec
from node.consensus.membership import Membership
from node.consensus.port import Committed
from node.consensus.raftos.journal import Journal, encode_entries
from node.consensus.raftos.snapshots import Snapshots
from node.core.faults import Fault
from node.core.rebase import INDEX_STEP, TERM_STEP
from node.env import RealDisk
from node.recovery import lost, mend, replay
from node.recovery.backup import inspect, make_snapshot, restore, save_stopped
from node.recovery.examine import examined
from node.recovery.files import open_snapshot, save_snapshot
from node.store.events import EventQuery
from node.store.store import FILE, Store
from tests.node.replica_kit import alone

CLUSTER = "c"
THREE = Membership.of_voters({"n1": "a:1", "n2": "a:2", "n3": "a:3"})


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


async def entries_of(folder: Path, tasks: int) -> tuple[list[Committed], bytes]:
    """A log with that many submissions, and the digest that it leads to."""
    async with alone(made(folder)) as daemon:
        for number in range(tasks):
            spec = TaskSpec(type=types_pb2.TASK_TYPE_SHELL, argv=[b"true"])
            submit = TaskSubmit(id=f"t{number:04}", spec=spec, priority=number % 10)
            reply = await daemon.do(Command(task_submit=submit), actor="ann", request_id=f"r{number}")
            assert reply.commands[0].accepted, reply
        for name in ("n2", "n3"):
            row = Node(id=name, hostname=name, incarnation="i", role=types_pb2.NODE_ROLE_VOTER)
            await daemon.do(Command(node_join=NodeJoin(node=row)))
        log = list(daemon.replica.consensus.entries(0, 1 << 20))
        return log, daemon.replica.state.digest_bytes()


def voter_folder(data: Path, entries: list[Committed], *, saved: int, snapshot: int) -> None:
    """What a voter leaves that saved and took a snapshot up to these entries."""
    (data / "raft").mkdir(parents=True)
    journal = Journal(RealDisk(data / "raft"), random.Random(1), 65_536)
    journal.recover()
    journal.commit(encode_entries(entries), entries[-1].term, "n1")
    journal.close()
    store = Store(data / FILE)
    store.open()
    if snapshot:
        replay.replay(store, entries[:snapshot])
        copy = store.copy()
        meta = raft_pb2.SnapshotMeta(
            index=copy.index, term=copy.term, membership=THREE.encode(), at_us=copy.at_us, level=copy.level
        )
        Snapshots(RealDisk(data / "snapshots"), CLUSTER).write(meta, copy.chunks())
        copy.close()
    replay.replay(store, entries[:saved])
    store.close()


def flip(data: Path) -> None:
    """One bit of the log."""
    segment = max((data / "raft").glob("*.log"))
    text = bytearray(segment.read_bytes())
    text[300] ^= 1
    segment.write_bytes(text)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.endswith("-shm")
    }


async def test_a_replayed_log_leads_to_the_same_rows(tmp_path: Path) -> None:
    entries, digest = await entries_of(tmp_path, 40)
    store = Store(":memory:")
    store.open()
    state = replay.replay(store, entries[:20])
    assert state.index == 20
    assert replay.replay(store, entries).digest_bytes() == digest
    assert store.recount_digest()[1].to_bytes(16, "big") == digest
    store.close()


async def test_a_rebased_state_is_of_the_next_epoch_with_one_voter(tmp_path: Path) -> None:
    entries, _ = await entries_of(tmp_path, 5)
    store = Store(":memory:")
    store.open()
    replay.replay(store, entries)
    for epoch in (1, 2):
        before = store.saved()
        state = replay.rebase(store, {"n2": "b:9"}, 1, before.term + 7, "cortexd recover")
        saved, digest = store.recount_digest()
        assert (saved.index, saved.digest) == (before.index + INDEX_STEP, digest)
        assert saved.term == before.term + 7 + TERM_STEP
        assert saved.at_us >= before.at_us
        row = state.settings["recovery_epoch"]
        assert isinstance(row, Setting)
        assert row.value == str(epoch)
        roles = {node.id: node.role for node in state.nodes.values()}
        assert roles == {
            "n1": types_pb2.NODE_ROLE_WORKER,
            "n2": types_pb2.NODE_ROLE_VOTER,
            "n3": types_pb2.NODE_ROLE_WORKER,
        }
        assert state.nodes["n2"].address == "b:9"
    newest = store.list_events(EventQuery(newest_first=True, limit=10)).events
    told = [event for event in newest if event.actor == "cortexd recover"]
    assert f"recovery 2: goes on at index {saved.index} with n2 alone" in {event.detail for event in told}
    store.close()


@pytest.mark.parametrize(("saved", "snapshot"), [(30, 0), (30, 10), (10, 10), (0, 0)])
async def test_a_recovery_goes_on_from_the_last_entry(tmp_path: Path, saved: int, snapshot: int) -> None:
    entries, _ = await entries_of(tmp_path / "source", 40)
    data = tmp_path / "n1"
    voter_folder(data, entries, saved=saved, snapshot=snapshot)
    before = contents(data)
    with lost.planned(data, CLUSTER, "n1", "a:1") as plan:
        text = "\n".join(plan.lines())
        assert f"last entry           {len(entries)} " in text
        assert f"up to entry {max(saved, snapshot)}" in text
        assert "What may be lost" in text
    assert contents(data) == before, "to look changes nothing"
    begun_s = int(time.time())
    with lost.planned(data, CLUSTER, "n1", "a:1") as plan:
        meta = lost.carry_out(plan)
    assert meta.index == len(entries) + INDEX_STEP
    assert meta.recovery_epoch >= begun_s
    assert Membership.decode(meta.membership) == Membership.of_voters({"n1": "a:1"})
    (aside,) = data.glob("aside-*")
    kept = {name: text for name, text in before.items() if not name.startswith(FILE)}
    assert contents(aside) == kept
    after = contents(data)
    assert {name: text for name, text in after.items() if name in before} == before, "one file was added"
    with examined(data, CLUSTER) as found:
        assert found.snapshot == meta
        assert found.journal is not None
        assert found.journal.last_index == meta.index


async def test_a_recovery_from_a_damaged_log_can_be_started(tmp_path: Path) -> None:
    entries, _ = await entries_of(tmp_path / "source", 40)
    data = tmp_path / "n1"
    voter_folder(data, entries, saved=30, snapshot=10)
    flip(data)
    damaged = (data / "raft" / "00000001.log").read_bytes()
    with lost.planned(data, CLUSTER, "n1", "a:1") as plan:
        assert "journal is damaged" in "\n".join(plan.lines())
        meta = lost.carry_out(plan)
    assert meta.index == 30 + INDEX_STEP
    (aside,) = data.glob("aside-*")
    assert (aside / "raft" / "00000001.log").read_bytes() == damaged
    with examined(data, CLUSTER) as found:
        assert (found.journal_flaw, found.snapshot) == ("", meta)
        assert found.journal is not None
        assert (found.journal.last_index, found.journal.term) == (meta.index, meta.term)


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of all that is synced from now on, in order."""
    found: list[str] = []
    sound, sound_data = os.fsync, os.fdatasync

    def fsync(handle: int) -> None:
        found.append(os.readlink(f"/proc/self/fd/{handle}"))
        sound(handle)

    def fdatasync(handle: int) -> None:
        found.append(os.readlink(f"/proc/self/fd/{handle}"))
        sound_data(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return found


@pytest.mark.parametrize("deed", ["recover", "repair"])
async def test_what_is_put_aside_is_on_the_disk_before_anything_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    entries, _ = await entries_of(tmp_path / "source", 5)
    data = tmp_path / "n1"
    voter_folder(data, entries, saved=5, snapshot=3)
    if deed == "recover":
        with lost.planned(data, CLUSTER, "n1", "a:1") as plan:
            order = synced(monkeypatch)
            lost.carry_out(plan)
        aside = plan.aside
        kept = [aside / "raft", aside / "snapshots", *aside.glob("raft/*"), *aside.glob("snapshots/*")]
        begins = next(place for place, path in enumerate(order) if path.startswith(str(data / "snapshots")))
    else:
        order = synced(monkeypatch)
        aside = mend.put_log_aside(data)
        kept, begins = [], len(order)
    for path in (aside, data, *kept):
        assert str(path) in order[:begins], path


async def test_who_is_no_member_is_not_made_the_only_one(tmp_path: Path) -> None:
    entries, _ = await entries_of(tmp_path / "source", 3)
    data = tmp_path / "n1"
    voter_folder(data, entries, saved=3, snapshot=3)
    with (
        pytest.raises(Fault, match="none of the voters that this disk knows"),
        lost.planned(data, CLUSTER, "x", ""),
    ):
        pass
    with pytest.raises(Fault, match="holds no log"), lost.planned(tmp_path, CLUSTER, "n1", ""):
        pass


async def test_repair_tells_rows_from_log(tmp_path: Path) -> None:
    entries, _ = await entries_of(tmp_path / "source", 30)
    data = tmp_path / "n1"
    voter_folder(data, entries, saved=30, snapshot=10)
    with examined(data, CLUSTER) as found:
        assert mend.mend_of(found) is mend.Mend.NOTHING
    (data / FILE).write_bytes(b"nothing that SQLite knows" * 500)
    with examined(data, CLUSTER) as found:
        assert mend.mend_of(found) is mend.Mend.ROWS
    flip(data)
    with examined(data, CLUSTER) as found:
        assert mend.mend_of(found) is mend.Mend.JOIN_ANEW
        assert "journal is damaged" in "\n".join(mend.lines(data, found))


def cut_behind(data: Path, entries: list[Committed], index: int) -> None:
    """The log begins in the middle: what is before that only the snapshot at `index` has."""
    shutil.rmtree(data / "raft")
    journal = Journal(RealDisk(data / "raft"), random.Random(1), 4096)
    journal.recover()
    for entry in entries:
        journal.commit(encode_entries([entry]), entry.term, "n1")
    while journal.truncate(index):
        pass
    journal.close()


def rot(file: Path, place: int) -> None:
    text = bytearray(file.read_bytes())
    text[place] ^= 1
    file.write_bytes(text)


async def test_rows_that_are_whole_stand_in_for_a_snapshot_that_is_not(tmp_path: Path) -> None:
    entries, _ = await entries_of(tmp_path / "source", 60)
    data = tmp_path / "n1"
    voter_folder(data, entries, saved=50, snapshot=40)
    cut_behind(data, entries, 40)
    snapshot = data / "snapshots" / f"{40:020d}.snap"
    with examined(data, CLUSTER) as found:
        assert found.journal is not None
        assert 0 < found.journal.base.index < 40
        assert mend.mend_of(found) is mend.Mend.NOTHING
    rot(snapshot, 5000)
    before = contents(data)
    with examined(data, CLUSTER) as found:
        assert mend.mend_of(found) is mend.Mend.SNAPSHOT
        assert "made of the rows, as of entry 50" in "\n".join(mend.lines(data, found))
        assert (found.journal_flaw, found.last_index, found.membership) == ("", len(entries), THREE)
    assert contents(data) == before
    saved = save_stopped(data, CLUSTER, tmp_path / "file")
    assert (saved.index, Membership.decode(saved.membership)) == (50, THREE)
    with lost.planned(data, CLUSTER, "n1", "a:1") as plan:
        assert f"last entry           {len(entries)} " in "\n".join(plan.lines())
    shutil.copytree(data, tmp_path / "headless")
    rot(tmp_path / "headless" / "snapshots" / snapshot.name, 20)
    with examined(tmp_path / "headless", CLUSTER) as found:
        # Who the members were nobody knows then.
        assert mend.mend_of(found) is mend.Mend.JOIN_ANEW
    shutil.copytree(data, tmp_path / "rowless")
    (tmp_path / "rowless" / FILE).write_bytes(b"nothing that SQLite knows" * 500)
    with examined(tmp_path / "rowless", CLUSTER) as found:
        assert mend.mend_of(found) is mend.Mend.JOIN_ANEW
    # A log that ends before the rows do has lost what it promised.
    shutil.copytree(data, tmp_path / "short")
    cut_behind(tmp_path / "short", entries[:45], 40)
    with examined(tmp_path / "short", CLUSTER) as found:
        assert mend.mend_of(found) is mend.Mend.JOIN_ANEW
    with examined(data, CLUSTER) as found:
        meta = make_snapshot(data, found, CLUSTER)
    assert (meta.index, Membership.decode(meta.membership)) == (50, THREE)
    with examined(data, CLUSTER) as found:
        assert (mend.mend_of(found), found.snapshot) == (mend.Mend.NOTHING, meta)
        assert found.journal is not None
        assert found.journal.last_index == len(entries)
    assert (data / "snapshots" / f"{snapshot.name}.broken").exists()


async def test_a_folder_whose_log_is_gone_is_no_restore(tmp_path: Path) -> None:
    entries, _ = await entries_of(tmp_path / "source", 10)
    data = tmp_path / "n1"
    voter_folder(data, entries, saved=10, snapshot=10)
    shutil.rmtree(data / "raft")
    with examined(data, CLUSTER) as found:
        assert mend.mend_of(found) is mend.Mend.JOIN_ANEW
        assert "The log is gone" in "\n".join(mend.lines(data, found))
    with pytest.raises(Fault, match="The log is gone"):
        save_stopped(data, CLUSTER, tmp_path / "file")
    with lost.planned(data, CLUSTER, "n1", "a:1") as plan:
        meta = lost.carry_out(plan)
    with examined(data, CLUSTER) as found:
        assert (mend.mend_of(found), found.snapshot) == (mend.Mend.NOTHING, meta)


async def test_a_stopped_folder_is_saved_and_restored(tmp_path: Path) -> None:
    entries, _ = await entries_of(tmp_path / "source", 30)
    entries[25] = replace(entries[25], membership=Membership.of_voters({"n1": "a:1"}).encode())
    data, file, new = tmp_path / "n1", tmp_path / "file", tmp_path / "new"
    voter_folder(data, entries, saved=20, snapshot=10)
    meta = save_stopped(data, CLUSTER, file)
    assert meta.index == 20
    # The log goes on with a change of the members, which the state does not have.
    assert Membership.decode(meta.membership) == THREE
    assert inspect(file).tasks == {"queued": 18}  # behind the leader's first entry and its node's
    restored = restore(file, new, "another", "m1", "c:1")
    assert (restored.index, restored.cluster_id) == (20 + INDEX_STEP, "another")
    assert restored.recovery_epoch > 1
    with examined(new, "another") as found:
        assert found.membership == Membership.of_voters({"m1": "c:1"})
        assert mend.mend_of(found) is mend.Mend.NOTHING
        assert found.journal is not None
        assert found.journal.last_index == restored.index
    with pytest.raises(Fault, match="is in use"):
        restore(file, new, "another", "m1", "c:1")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def breaks_off() -> Iterator[bytes]:
        yield b"the beginning"
        raise OSError("the daemon is gone")

    file, meta = tmp_path / "file", raft_pb2.SnapshotMeta(index=3, cluster_id=CLUSTER)
    with pytest.raises(Fault, match="the daemon is gone"):
        save_snapshot(file, meta, breaks_off())
    assert list(tmp_path.iterdir()) == []
    whole = save_snapshot(file, meta, [b"all", b" of it"])
    assert b"".join(open_snapshot(file).chunks()) == b"all of it"
    assert open_snapshot(file).meta == whole
    with pytest.raises(Fault, match="is there already"):
        save_snapshot(file, meta, [b"another"])
    assert b"".join(open_snapshot(file).chunks()) == b"all of it"
