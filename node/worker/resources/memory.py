"""Memory of the machine, its swap, and how much waits for either."""

from __future__ import annotations

from pathlib import Path

import psutil

from cortex.v1 import types_pb2

MEMORY = Path("/proc/meminfo")
PRESSURE = Path("/proc/pressure")


class Memory:
    name = "memory"

    def read(self, now_us: int) -> types_pb2.Resources:
        memory = psutil.virtual_memory()
        return types_pb2.Resources(memory_total_bytes=memory.total, memory_available_bytes=memory.available)


class Swap:
    """psutil.swap_memory warns where it cannot tell what was swapped lately, which is not asked here."""

    name = "swap"

    def __init__(self, memory: Path = MEMORY) -> None:
        self._memory = memory

    def read(self, now_us: int) -> types_pb2.Resources:
        kib: dict[str, int] = {}
        for line in self._memory.read_text().splitlines():
            name, _, rest = line.partition(":")
            words = rest.split()
            if name in ("SwapTotal", "SwapFree") and words and words[0].isdecimal():
                kib[name] = int(words[0])
        if len(kib) < 2:
            return types_pb2.Resources()
        total, free = kib["SwapTotal"] * 1024, kib["SwapFree"] * 1024
        return types_pb2.Resources(swap_total_bytes=total, swap_used_bytes=max(0, total - free))


class Pressure:
    """What waits for a core, for memory or for a disk, as the kernel counts it (PSI). Absent where it does not."""

    name = "pressure"

    def __init__(self, folder: Path = PRESSURE) -> None:
        self._folder = folder

    def read(self, now_us: int) -> types_pb2.Resources:
        sample = types_pb2.Resources()
        for kind in ("cpu", "memory", "io"):
            share = waiting_percent(self._folder / kind)
            if share is not None:
                setattr(sample, f"{kind}_pressure_percent", share)
        return sample


def waiting_percent(path: Path) -> float | None:
    """Share of the last 10 s in which something waited; None where that is not counted."""
    try:
        text = path.read_text()
    except OSError:
        # no such file, or one that may not be read while counting is switched off
        return None
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == "some":
            for word in words[1:]:
                name, _, value = word.partition("=")
                if name == "avg10" and value.replace(".", "", 1).isdecimal():
                    return min(100.0, float(value))
    return None
