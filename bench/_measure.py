"""How many commits a second, and how long each takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Work = Callable[[], Awaitable[object]]


async def nothing() -> None:
    """No work is left over."""


@dataclass(frozen=True, slots=True)
class Way:
    """How one commits, what comes before, and what has to be waited for until nothing of it is left to do."""

    commit: Work
    prepare: Work = nothing
    settle: Work = nothing


@dataclass(frozen=True, slots=True)
class Found:
    """Commits per second, p50 and p99 of one in milliseconds, and what each took of this process's CPU."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float

    def columns(self) -> str:
        return f"{self.rate:>12,.0f}{self.p50_ms:>9.2f}{self.p99_ms:>9.2f}{self.cpu_us:>9.0f}"


async def measure(way: Way, in_flight: int, seconds: float) -> Found:
    """What is put off counts: the rate is of all the time until everything is settled."""
    await way.prepare()
    latencies: list[float] = []
    begun, cpu = time.perf_counter(), time.process_time()
    end = begun + seconds

    async def client() -> None:
        while (before := time.perf_counter()) < end:
            await way.commit()
            latencies.append(time.perf_counter() - before)

    await asyncio.gather(*(client() for _ in range(in_flight)))
    await way.settle()
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    latencies.sort()
    count = len(latencies)
    p50, p99 = latencies[count // 2] * 1e3, latencies[count * 99 // 100] * 1e3
    return Found(count / took, p50, p99, cpu / count * 1e6)
