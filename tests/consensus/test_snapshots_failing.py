"""What becomes of a snapshot that cannot be taken, and of one that is being taken at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from node.consensus.port import Trouble, TroubleKind
from node.consensus.raftos.snapshots import Abandoned, Snapshots
from tests.consensus.snapshot_kit import alone, taken
from tests.consensus.test_snapshots_files import STATE, found, meta_of, on, with_snapshot
from tests.sim.loop import run


class TestFailing:
    def test_a_copy_that_fails_is_tried_again_later(self) -> None:
        async def main() -> None:
            voter = await alone()
            voter.host.fail_copy = True
            await voter.write(20)
            await asyncio.sleep(1.9)
            assert voter.host.copies == 1
            await asyncio.sleep(2)
            assert voter.host.copies == 2
            # Twice as long each time.
            await asyncio.sleep(2)
            assert voter.host.copies == 2
            assert voter.engine.trouble is None
            await asyncio.sleep(1)
            assert voter.host.copies == 3
            assert voter.engine.trouble == Trouble(TroubleKind.LOG_GROWS, "the state cannot be copied")
            voter.host.fail_copy = False
            await taken(voter)
            assert voter.engine.snapshot_index == 21
            assert voter.engine.trouble is None

        run(main)

    @pytest.mark.parametrize("fault", ["full", "fail_sync", "fail_write"])
    def test_a_disk_that_fails_stops_nothing(self, fault: str) -> None:
        async def main() -> None:
            voter = await alone()
            disk = voter.machine.disk("snapshots")
            if fault == "full":
                disk.capacity_bytes = 0
            else:
                setattr(disk, fault, lambda: True)
            for _ in range(5):
                await voter.write(20)
                await asyncio.sleep(2)
            assert (voter.host.errors, voter.engine.snapshot_index, disk.names()) == ([], 0, [])
            assert len(voter.held) == 101
            with pytest.raises(OSError):  # noqa: PT011 - each fault has its own text
                await voter.life.spawn(voter.take_snapshot())
            disk.capacity_bytes, disk.fail_sync, disk.fail_write = 1 << 30, lambda: False, lambda: False
            await taken(voter)
            assert voter.held == [97, 98, 99, 100, 101]
            assert voter.host.open_copies == 0

        run(main)

    def test_a_stop_in_the_middle_leaves_nothing(self) -> None:
        async def main() -> None:
            voter = await alone()
            gate = asyncio.Event()
            voter.host.copying = gate.wait
            await voter.write(20)
            await asyncio.sleep(0.5)
            assert voter.host.copies == 1
            asked = voter.life.spawn(voter.take_snapshot())
            stopping = voter.life.spawn(voter.engine.stop())
            gate.set()
            await stopping
            with pytest.raises(OSError, match="this voter has stopped"):
                await asked
            assert voter.machine.disk("snapshots").names() == []
            assert voter.host.open_copies == 0

        run(main)

    @pytest.mark.parametrize("hangs", ["copy", "write", "sync"])
    def test_a_stop_waits_for_no_copy_that_hangs(self, hangs: str) -> None:
        async def main() -> None:
            voter = await alone()
            gate = asyncio.Event()
            if hangs == "copy":
                voter.host.copying = gate.wait
            await voter.write(18)
            if hangs != "copy":
                voter.machine.sync_s = (100.0, 100.0)
            voter.life.spawn(voter.engine.propose(b"x"))
            asked = voter.life.spawn(voter.take_snapshot())
            await asyncio.sleep(0.5 if hangs != "sync" else 99.999)
            before = asyncio.get_running_loop().time()
            await voter.life.spawn(voter.engine._life.stop())
            assert asyncio.get_running_loop().time() - before <= voter.settings.stop_s + 1
            with pytest.raises(OSError, match="this voter has stopped"):
                await asked
            voter.machine.sync_s = (0.0, 0.0)
            voter.machine.kill()
            voter.host.state.lines = []
            await voter.start()
            while voter.role != "leader":
                await voter.settle()
            assert voter.machine.disk("snapshots").names() == []
            await voter.write(1)
            assert await voter.life.spawn(voter.take_snapshot()) == voter.engine.last_index

        run(main)

    def test_a_crash_in_the_middle_is_cleaned_up(self) -> None:
        async def main() -> None:
            for seed in range(8):
                voter = await alone()
                voter.machine.sync_s = (0.01, 0.02)
                copied = asyncio.Event()
                voter.host.copying = copied.set
                await voter.write(20)
                await copied.wait()
                await asyncio.sleep(0.004 * seed)
                voter.machine.power_loss()
                voter.host.state.lines = []
                await voter.start()
                while voter.role != "leader":
                    await voter.settle()
                await voter.write(1)
                assert len(voter.host.state.lines) == 23
                voter.machine.kill()

        run(main)


class TestHalt:
    def test_a_halt_ends_what_is_written_or_verified_and_leaves_nothing(self) -> None:
        for at in range(0, len(STATE) + 1, 1000):
            disk = with_snapshot(10)
            snapshots = on(disk)

            def halting(snapshots: Snapshots = snapshots, at: int = at) -> Iterator[bytes]:
                yield STATE[:at]
                snapshots.halt()
                yield STATE[at:]

            with pytest.raises(Abandoned):
                snapshots.write(meta_of(20), halting())
            assert len(disk.names()) == 1
            assert found(disk) == 10

    def test_who_was_left_behind_touches_nothing_of_the_next_one(self) -> None:
        disk = with_snapshot(10)
        left = on(disk)

        def hanging() -> Iterator[bytes]:
            yield STATE[:100]
            left.leave()
            # The next life begins, and is at the same snapshot.
            on(disk)
            disk.open(f"{20:020d}.snap.new", create=True)
            yield STATE[100:]

        with pytest.raises(Abandoned):
            left.write(meta_of(20), hanging())
        assert disk.names() == [f"{10:020d}.snap", f"{20:020d}.snap.new"]
        assert found(disk) == 10
