"""CPU time over all cores, and load."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from cortex.v1 import types_pb2


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Seconds since boot, summed over all cores."""

    busy: float
    total: float


def percent(before: CpuTimes, after: CpuTimes) -> float:
    """Busy share of the time between, 0 to 100. The kernel's idle time may step back a little: never below 0."""
    total = after.total - before.total
    if total <= 0:
        return 0.0
    return min(100.0, max(0.0, 100.0 * (after.busy - before.busy) / total))


def read_times() -> CpuTimes:
    times = psutil.cpu_times()
    # user and nice contain the time of guests already; waiting for a disk is no work
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return CpuTimes(busy=total - times.idle - getattr(times, "iowait", 0.0), total=total)


class Cpu:
    """psutil.cpu_percent would keep its state in the module, where every daemon of a process shares it."""

    name = "cpu"

    def __init__(self) -> None:
        self._before = read_times()

    def read(self, now_us: int) -> types_pb2.Resources:
        times = read_times()
        before, self._before = self._before, times
        return types_pb2.Resources(
            cpu_percent=percent(before, times),
            cores=psutil.cpu_count() or 1,
            load_1m=psutil.getloadavg()[0],
        )
