"""The simulator's own parts: what they promise to scenarios."""

from __future__ import annotations

import asyncio
import errno
import os
import random

import pytest

from cortex.v1 import raft_pb2
from tests.sim.disk import SECTOR, SimDisk
from tests.sim.env import SimMachine
from tests.sim.loop import Deadlock, Life, OutOfTime, SimLoop, run
from tests.sim.net import Network, RaftOnly, Weather


def here() -> SimLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    return loop


class TestLoop:
    def test_time_jumps_to_the_next_timer(self) -> None:
        async def main() -> list[float]:
            seen: list[float] = []
            for delay in (3600.0, 0.25, 0.0):
                await asyncio.sleep(delay)
                seen.append(here().time())
            return seen

        assert run(main) == [3600.0, 3600.25, 3600.25]

    def test_a_deadlock_is_raised(self) -> None:
        async def main() -> None:
            await here().create_future()

        with pytest.raises(Deadlock):
            run(main)

    def test_the_limit_of_virtual_time_holds(self) -> None:
        with pytest.raises(OutOfTime):
            run(lambda: asyncio.sleep(11), limit_s=10)

    def test_an_exception_that_nobody_waits_for_is_raised(self) -> None:
        async def main() -> None:
            here().call_soon(lambda: 1 / 0)
            await asyncio.sleep(1)

        with pytest.raises(ZeroDivisionError):
            run(main)

    def test_threads_are_refused(self) -> None:
        with pytest.raises(RuntimeError, match="determinism"):
            run(lambda: asyncio.to_thread(print))

    def test_what_is_cancelled_while_a_life_is_paused_or_resumes_never_happens(self) -> None:
        seen: list[str] = []

        async def main() -> None:
            loop, life = here(), Life("a")
            timers = [life.call(loop.call_later, 1.0, seen.append, name) for name in ("outside", "by the first")]
            life.call(loop.call_at, 0.5, timers[1].cancel)
            life.call(loop.call_later, 1.0, seen.append, "kept")
            life.pause()
            await asyncio.sleep(2)
            timers[0].cancel()
            assert seen == []
            life.resume()
            await asyncio.sleep(0)

        run(main)
        assert seen == ["kept"]

    def test_a_life_ends_without_clean_up(self) -> None:
        seen: list[str] = []

        async def work() -> None:
            here().call_later(5, seen.append, "timer")
            try:
                await asyncio.sleep(5)
            finally:
                if not over:
                    seen.append("cleaned up")

        over: list[bool] = []

        async def main() -> None:
            life = Life("a")
            life.spawn(work())
            await asyncio.sleep(1)
            life.end()
            await asyncio.sleep(10)
            over.append(True)

        run(main)
        assert seen == []


class TestDisk:
    def written(self, seed: int, sync: bool) -> bytes:
        disk = SimDisk(random.Random(seed))
        file = disk.open("f", create=True)
        file.preallocate(4 * SECTOR)
        file.sync()
        disk.sync_folder()
        file.write(0, b"x" * 4 * SECTOR)
        if sync:
            file.sync()
        disk.power_loss()
        return disk.open("f").read(0, 4 * SECTOR)

    def test_what_was_synced_survives(self) -> None:
        assert all(self.written(seed, sync=True) == b"x" * 4 * SECTOR for seed in range(50))

    def test_what_was_not_synced_is_kept_lost_or_torn_by_the_sector(self) -> None:
        kinds = set()
        for seed in range(200):
            sectors = [self.written(seed, sync=False)[at : at + SECTOR] for at in range(0, 4 * SECTOR, SECTOR)]
            assert all(sector in (b"x" * SECTOR, bytes(SECTOR)) for sector in sectors)
            kinds.add(len(set(sectors)) == 2 or sectors[0][:1])
        assert kinds == {True, b"x", b"\0"}

    def test_an_unsynced_creation_or_rename_may_be_lost(self) -> None:
        seen = set()
        for seed in range(50):
            disk = SimDisk(random.Random(seed))
            disk.open("a", create=True)
            disk.sync_folder()
            disk.rename("a", "b")
            disk.open("c", create=True)
            disk.power_loss()
            seen.add(tuple(disk.names()))
        assert seen == {("a",), ("b",), ("b", "c")}

    def test_after_a_failed_sync_readers_see_what_the_disk_never_got(self) -> None:
        disk = SimDisk(random.Random(0))
        file = disk.open("f", create=True)
        file.write(0, b"old")
        file.sync()
        disk.sync_folder()
        disk.fail_sync = lambda: True
        file.write(0, b"new")
        with pytest.raises(OSError, match="Input/output"):
            file.sync()
        disk.fail_sync = lambda: False
        file.sync()
        disk.kill()
        assert disk.open("f").read(0, 3) == b"new"
        disk.power_loss()
        assert disk.open("f").read(0, 3) == b"old"

    def test_a_full_disk_says_so(self) -> None:
        disk = SimDisk(random.Random(0), capacity_bytes=1000)
        file = disk.open("f", create=True)
        file.preallocate(1000)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            file.write(999, b"xx")


class TestNetwork:
    def arrivals(self, weather: Weather, seed: int = 1, count: int = 300) -> list[int]:
        seen: list[int] = []

        async def main() -> None:
            network = Network(here(), random.Random(seed), weather)
            machine = SimMachine(here(), "b", seed)
            life, _ = machine.boot()
            network.attach("b", RaftOnly(lambda message: seen.append(message.term)), life)
            link = network.link("a", Life("a"))
            for number in range(count):
                link.send_raft("b", raft_pb2.RaftMessage(term=number))
                await asyncio.sleep(0.001)
            await asyncio.sleep(1)

        run(main)
        return seen

    def test_fair_weather_keeps_the_order(self) -> None:
        assert self.arrivals(Weather(delay_s=(0.001, 0.02))) == list(range(300))

    def test_foul_weather_loses_doubles_and_reorders(self) -> None:
        seen = self.arrivals(Weather(loss=0.2, duplicate=0.2, reorder=0.2))
        assert 200 < len(set(seen)) < 280
        assert len(seen) > len(set(seen))
        assert seen != sorted(seen)

    def test_the_same_seed_gives_the_same_weather(self) -> None:
        foul = Weather(loss=0.2, duplicate=0.2, reorder=0.2)
        assert self.arrivals(foul, seed=5) == self.arrivals(foul, seed=5) != self.arrivals(foul, seed=6)

    def test_a_cut_is_one_way(self) -> None:
        async def main() -> tuple[int, int]:
            network = Network(here(), random.Random(1))
            seen = {"a": 0, "b": 0}
            links = {}
            for name in seen:
                life = Life(name)

                def count(_message: raft_pb2.RaftMessage, name: str = name) -> None:
                    seen[name] += 1

                network.attach(name, RaftOnly(count), life)
                links[name] = network.link(name, life)
            network.cut("a", "b")
            links["a"].send_raft("b", raft_pb2.RaftMessage())
            links["b"].send_raft("a", raft_pb2.RaftMessage())
            await asyncio.sleep(1)
            return seen["a"], seen["b"]

        assert run(main) == (1, 0)
