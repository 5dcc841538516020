"""The worker's ledger: what it holds after any crash, and how few writes it needs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cortex.v1 import worker_pb2 as w
from node.core.faults import Fault
from node.worker.ledger import Contents, Ledger
from node.worker.port import AttemptKey
from tests.node.leader_kit import virtual
from tests.node.worker_kit import assignment, key, make_env


def report(kind: str, task: str, fence: int = 10) -> w.Report:
    made = w.Report()
    inner = getattr(made, kind)
    inner.task, inner.fence = task, fence
    return made


async def opened(folder: Path) -> Ledger:
    ledger = Ledger(make_env(folder))
    await ledger.open()
    return ledger


def contents_of(folder: Path) -> Contents:
    async def read() -> Contents:
        ledger = await opened(folder)
        await ledger.flush()
        await ledger.close()
        return ledger.contents

    return virtual(read)


def test_holds_what_was_synced(tmp_path: Path) -> None:
    async def write() -> None:
        ledger = await opened(tmp_path)
        ledger.set_cluster("c1")
        for name in ("a", "b", "c"):
            ledger.accept(assignment(name), "boot-1")
        ledger.accept(assignment("d"), "boot-2")
        ledger.add_batch([report("started", "a"), report("ended", "b")])
        ledger.add_batch([report("ended", "c")])
        ledger.acknowledge(min(ledger.contents.batches))
        ledger.forget([key("b"), key("never")])
        await ledger.sync()

    virtual(write)
    for _ in range(2):  # the second reading is of the rewritten file
        contents = contents_of(tmp_path)
        assert contents.cluster_id == "c1"
        assert {each.task: contents.accepted[each].boot_id for each in contents.accepted} == {
            "a": "boot-1",
            "c": "boot-1",
            "d": "boot-2",
        }
        assert contents.accepted[key("a")].start_known
        assert not contents.accepted[key("c")].start_known
        assert contents.accepted[key("c")].assignment == assignment("c")
        (batch,) = contents.batches.values()
        assert batch.reports[0].ended.task == "c"
        assert batch.number < contents.last_number


def written(folder: Path) -> list[int]:
    """Three synced writes to a new ledger; the sizes of the file after each."""
    path = folder / "worker/ledger"
    ends: list[int] = []

    async def write() -> None:
        ledger = await opened(folder)
        for name in ("a", "b"):
            ledger.accept(assignment(name), "boot-1")
            await ledger.sync()
            ends.append(len(path.read_bytes().rstrip(b"\0")))
        ledger.add_batch([report("ended", "a")])
        await ledger.sync()
        ends.append(len(path.read_bytes().rstrip(b"\0")))

    virtual(write)
    return ends


def test_a_cut_leaves_what_was_confirmed_before(tmp_path: Path) -> None:
    ends = written(tmp_path)
    path = tmp_path / "worker/ledger"
    whole = path.read_bytes()
    incarnation = contents_of(tmp_path).incarnation
    for cut in range(ends[0], ends[2] + 1):
        path.write_bytes(whole[:cut] + bytes(50))
        contents = contents_of(tmp_path)
        assert contents.incarnation == incarnation
        assert len(contents.accepted) == (2 if cut >= ends[1] else 1)
        assert len(contents.batches) == (1 if cut >= ends[2] else 0)


def test_a_last_write_with_a_hole_is_cut(tmp_path: Path) -> None:
    ends = written(tmp_path)
    path = tmp_path / "worker/ledger"
    data = bytearray(path.read_bytes())
    data[ends[1] : ends[1] + 8] = bytes(8)  # its beginning did not reach the disk, its end did
    path.write_bytes(data)
    contents = contents_of(tmp_path)
    assert (len(contents.accepted), len(contents.batches)) == (2, 0)


def test_damage_before_a_confirmed_write_is_refused(tmp_path: Path) -> None:
    """A fence that would be forgotten could be run twice."""
    ends = written(tmp_path)
    path = tmp_path / "worker/ledger"
    whole = path.read_bytes()
    for position in (5, ends[0] - 1, ends[0] + 1, ends[0] + 9, ends[1] - 1):
        data = bytearray(whole)
        data[position] ^= 1
        path.write_bytes(data)
        with pytest.raises(Fault) as caught:
            contents_of(tmp_path)
        assert "is damaged" in caught.value.message
        assert "Move the file worker/ledger" in caught.value.remedy
        assert path.read_bytes() == data


def test_an_unreadable_ledger_is_refused(tmp_path: Path) -> None:
    contents_of(tmp_path)
    (tmp_path / "worker/ledger").write_bytes(b"\xff" * 100)
    with pytest.raises(Fault, match="its beginning is broken"):
        contents_of(tmp_path)


def test_what_comes_together_shares_one_fsync(tmp_path: Path) -> None:
    async def write() -> None:
        ledger = await opened(tmp_path)
        syncs = 0
        inner = ledger._write

        def counted(data: bytes) -> None:
            nonlocal syncs
            syncs += 1
            inner(data)

        ledger._write = counted  # type: ignore[method-assign]

        async def one(number: int) -> None:
            ledger.accept(assignment(f"t{number}"), "boot-1")
            await ledger.sync()

        await asyncio.gather(*(one(number) for number in range(500)))
        assert syncs <= 2
        await ledger.flush()
        await ledger.close()

    virtual(write)
    assert len(contents_of(tmp_path).accepted) == 500


def test_stays_small(tmp_path: Path) -> None:
    async def write() -> None:
        ledger = await opened(tmp_path)
        ledger.accept(assignment("lasting"), "boot-1")
        ledger.accept(assignment("big", env=[]), "boot-1")
        for number in range(3000):
            name = f"t{number}"
            ledger.accept(assignment(name, shell_command=b"x" * 10_000), "boot-1")
            batch = ledger.add_batch([report("ended", name)])
            await ledger.sync()
            ledger.acknowledge(batch.number)
            ledger.forget([AttemptKey(name, 10)])
        await ledger.flush()
        await ledger.close()

    virtual(write)
    assert (tmp_path / "worker/ledger").stat().st_size < 12 * 1024 * 1024
    contents = contents_of(tmp_path)
    assert {each.task for each in contents.accepted} == {"lasting", "big"}
    assert contents.last_number > 3000
    assert contents.batches == {}
