"""The saver: merged, ordered, honest about what is not saved, and never waited for without an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

from cortex.v1.types_pb2 import Setting
from node.core.faults import Code, Fault
from node.core.model import Change, Key, Table
from node.saver import Saver
from node.store.errors import StoreUnavailable
from node.store.store import Store
from tests.node.leader_kit import virtual

T = TypeVar("T")


class Rig:
    """A saver over a store in memory whose disk may be `full`."""

    def __init__(self) -> None:
        self.full = False
        self.save_s = 0.001
        self.saves = 0
        self.health: list[bool] = []
        self.store = Store(":memory:", failpoint=self._fail)
        self.store.open()
        self.saver = Saver(
            self.store, self._offload, 0, self._saved, lambda error: self.health.append(error is None)
        )
        self.saver.start()
        self._index = 0

    def add(self, value: str = "1") -> int:
        self._index += 1
        change = Change(Table.SETTINGS, "a", None, Setting(name="a", value=value))
        self.saver.add([change], self._index, 1, self._index, 0)
        return self._index

    async def stop(self) -> None:
        await self.saver.stop()
        self.store.close()

    async def _offload(self, function: Callable[[], T], /) -> T:
        await asyncio.sleep(self.save_s)
        return function()

    def _fail(self, where: str) -> None:
        self.saves += where == "commit"
        if self.full:
            raise StoreUnavailable("The disk is full.", "Free some space.")

    def _saved(self, ended: Iterable[tuple[str, int]]) -> None:
        assert not list(ended)


def test_rows_that_change_often_are_written_once() -> None:
    async def main() -> None:
        rig = Rig()
        for value in "123":
            last = rig.add(value)
        assert rig.saver.peek(Key(Table.SETTINGS, "a")) == (True, Setting(name="a", value="3"))
        await rig.saver.flush(last)
        assert rig.saves == 1
        assert rig.saver.peek(Key(Table.SETTINGS, "a")) == (False, None)
        assert rig.store.saved().index == last
        await rig.stop()

    virtual(main)


def test_a_full_disk_is_told_and_survived() -> None:
    async def main() -> None:
        rig = Rig()
        rig.full = True
        rig.add("1")
        await asyncio.sleep(5)
        last = rig.add("2")
        assert set(rig.health) == {False}
        assert rig.saver.saved_index == 0
        assert rig.saver.peek(Key(Table.SETTINGS, "a")) == (True, Setting(name="a", value="2"))
        rig.full = False
        await rig.saver.flush(last)
        assert rig.health[-1]
        assert rig.store.saved().index == last
        await rig.stop()

    virtual(main)


def test_nobody_waits_for_ever_for_a_save() -> None:
    async def main() -> None:
        rig = Rig()
        rig.full = True
        last = rig.add()
        with pytest.raises(Fault) as caught:
            await rig.saver.flush(last)
        assert caught.value.code == Code.DEADLINE
        assert rig.saver.waiting == 0
        rig.full = False
        await rig.stop()

    virtual(main)


def test_a_stop_does_not_wait_for_a_disk_that_hangs() -> None:
    async def main() -> None:
        rig = Rig()
        rig.save_s = 1e6
        rig.add()
        await asyncio.sleep(5)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(Fault):
            await rig.saver.stop()
        assert asyncio.get_running_loop().time() - begun <= 10

    virtual(main)


def test_full_counts_bytes_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.saver.BOUND", 100)

    async def main() -> None:
        rig = Rig()
        rig.full = True
        rig.add("1")
        assert not rig.saver.full
        last = rig.add("x" * 200_000)
        await asyncio.sleep(5)
        assert rig.saver.full
        rig.full = False
        await rig.saver.flush(last)
        assert not rig.saver.full
        await rig.stop()

    virtual(main)
