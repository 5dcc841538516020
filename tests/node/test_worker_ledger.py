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
        ledger.acknowledge(1)
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
        assert list(contents.batches) == [2]
        assert contents.last_number == 2


def test_any_cut_leaves_a_prefix(tmp_path: Path) -> None:
    async def write() -> None:
        ledger = await opened(tmp_path)
        for name in ("a", "b"):
            ledger.accept(assignment(name), "boot-1")
        ledger.add_batch([report("ended", "a")])
        await ledger.sync()

    virtual(write)
    path = tmp_path / "worker/ledger"
    whole = path.read_bytes().rstrip(b"\0")
    incarnation = contents_of(tmp_path).incarnation
    sizes = set()
    for cut in range(60, len(whole), 3):
        path.write_bytes(whole[:cut] + b"\0" * 50)
        contents = contents_of(tmp_path)
        assert contents.incarnation == incarnation
        sizes.add((len(contents.accepted), len(contents.batches)))
    assert sizes == {(0, 0), (1, 0), (2, 0)}


def test_a_flipped_bit_ends_the_reading(tmp_path: Path) -> None:
    async def write() -> None:
        ledger = await opened(tmp_path)
        for number in range(10):
            ledger.accept(assignment(f"t{number}"), "boot-1")
        await ledger.sync()

    virtual(write)
    path = tmp_path / "worker/ledger"
    data = bytearray(path.read_bytes())
    data[data.index(b"t5")] ^= 1
    path.write_bytes(data)
    assert len(contents_of(tmp_path).accepted) == 5


def test_an_unreadable_ledger_is_said_with_the_remedy(tmp_path: Path) -> None:
    contents_of(tmp_path)
    (tmp_path / "worker/ledger").write_bytes(b"\xff" * 100)
    with pytest.raises(Fault) as caught:
        contents_of(tmp_path)
    assert "cannot be read" in caught.value.message
    assert "Move the file worker/ledger" in caught.value.remedy


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
        await ledger.close()

    virtual(write)
    assert (tmp_path / "worker/ledger").stat().st_size < 12 * 1024 * 1024
    contents = contents_of(tmp_path)
    assert {each.task for each in contents.accepted} == {"lasting", "big"}
    assert contents.last_number == 3000
    assert contents.batches == {}
