"""Spawning: commands per second through a supervisor process, beside plain posix_spawn in the same run."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cortex.v1.types_pb2 import TaskType
from node.env import Env
from node.worker.port import (
    NO_LEASE,
    AttemptKey,
    Finished,
    SpawnOrder,
    SupervisorEvent,
)
from node.worker.supervision import ProcessSupervisor

_AHEAD = 512
_ENV = {b"PATH": b"/usr/bin:/bin"}


def bare(count: int, slots: int) -> float:
    """Commands per second with nothing but posix_spawn and wait."""
    begun = time.perf_counter()
    running = 0
    for _ in range(count):
        if running == slots:
            os.wait()
            running -= 1
        os.posix_spawn("/bin/true", ["true"], {}, setsid=True)
        running += 1
    while running:
        os.wait()
        running -= 1
    return count / (time.perf_counter() - begun)


class Client:
    """Orders commands and counts their ends."""

    def __init__(self, data: Path) -> None:
        self.port = ProcessSupervisor(Env.real(data))
        self._left = 0
        self._more = asyncio.Event()
        self._done = asyncio.Event()
        self._fence = 0

    async def start(self, slots: int) -> None:
        await self.port.start(self._take)
        self.port.configure({TaskType.TASK_TYPE_SHELL: slots}, 1 << 26)

    async def run(self, count: int, argv: list[bytes], cwd: str) -> float:
        """Commands per second until the last end has arrived here."""
        begun = time.perf_counter()
        for part in range(0, count, _AHEAD):
            ordered = min(_AHEAD, count - part)
            self._left += ordered
            self._more.clear()
            self.port.spawn([self._order(argv, cwd) for _ in range(ordered)])
            # The next part follows while half of this one still waits, as the leader's prefetch does.
            await self._more.wait()
        self._done.clear()
        if self._left:
            await self._done.wait()
        return count / (time.perf_counter() - begun)

    async def latency_ms(self, count: int) -> list[float]:
        """From the order of one command to its end, one at a time, sorted."""
        return sorted([1000 / await self.run(1, [b"/bin/true"], "/") for _ in range(count)])

    def cpu_s(self) -> float:
        """CPU seconds of the supervisor itself so far."""
        fields = Path(f"/proc/{self.port.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_kb(self) -> int:
        """The supervisor's largest resident size."""
        return int(Path(f"/proc/{self.port.pid}/status").read_text().partition("VmHWM:")[2].split()[0])

    def _order(self, argv: list[bytes], cwd: str) -> SpawnOrder:
        self._fence += 1
        return SpawnOrder(
            key=AttemptKey("bench", self._fence),
            kind=TaskType.TASK_TYPE_SHELL,
            priority=5,
            created_us=self._fence,
            argv=argv,
            env={**_ENV, b"CORTEX_TASK": b"bench", b"CORTEX_FENCE": b"%d" % self._fence},
            cwd=cwd,
            output=f"00/bench.{self._fence}",
            timeout_us=0,
            kill_timeout_us=5_000_000,
            lease_end_us=NO_LEASE,
            success_codes=(),
        )

    def _take(self, events: Sequence[SupervisorEvent]) -> None:
        ended = [event.key for event in events if isinstance(event, Finished)]
        self.port.forget(ended)
        self._left -= len(ended)
        if self._left <= _AHEAD // 2:
            self._more.set()
        if self._left == 0:
            self._done.set()


async def main(count: int, slots: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        client = Client(Path(folder))
        await client.start(slots)
        kinds = {
            "supervisor, /bin/true": ([b"/bin/true"], "/"),
            "supervisor, /bin/true, own folder": ([b"/bin/true"], ""),
            "supervisor, sh -c 'echo hi'": ([b"sh", b"-c", b"echo hi"], "/"),
        }
        print(f"{count} commands, {slots} slots, {rounds} rounds, interleaved; commands/s")
        for _ in range(rounds):
            plain = bare(count, slots)
            print(f"  {'posix_spawn and wait, /bin/true':36} {plain:8.0f}")
            for name, (argv, cwd) in kinds.items():
                before_s = client.cpu_s()
                rate = await client.run(count, argv, cwd)
                own_us = (client.cpu_s() - before_s) / count * 1e6
                print(f"  {name:36} {rate:8.0f}   {rate / plain:4.2f} of plain, {own_us:4.0f} us of its CPU each")
        taken = await client.latency_ms(200)
        print(f"one command, order -> end: p50 {taken[100]:.2f} ms, p95 {taken[190]:.2f} ms")
        print(f"supervisor's peak memory: {client.memory_kb() / 1000:.1f} MB")
        await client.port.quit()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.count, arguments.slots, arguments.rounds))
