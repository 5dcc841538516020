"""Space of the data folder's file system, and how busy its device is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil

from cortex.v1 import types_pb2
from node.worker.resources.rates import Rates

# the kernel counts busy milliseconds in 32 bits
BUSY_WRAPS_AT = 2**32
BLOCK_DEVICES = Path("/sys/dev/block")
NO_DISKS = ("loop", "ram", "zram", "sr", "fd")


def device_of(folder: Path) -> str | None:
    """Kernel name of the block device that holds the folder; None where there is no single one, as with overlay,
    btrfs and network file systems."""
    number = os.stat(folder).st_dev
    link = BLOCK_DEVICES / f"{os.major(number)}:{os.minor(number)}"
    return link.resolve().name if link.exists() else None


def io_percent(busy_ms_per_s: Mapping[str, float], device: str | None) -> float:
    """Share of time with requests in flight, 0 to 100: of the device if it is known, else of the busiest disk."""
    if device is not None and device in busy_ms_per_s:
        busiest = busy_ms_per_s[device]
    else:
        busiest = max((rate for name, rate in busy_ms_per_s.items() if not name.startswith(NO_DISKS)), default=0.0)
    return min(100.0, busiest / 10.0)


class DiskSpace:
    name = "disk space"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, now_us: int) -> types_pb2.Resources:
        usage = psutil.disk_usage(str(self._folder))
        return types_pb2.Resources(disk_total_bytes=usage.total, disk_free_bytes=usage.free)


class DiskIo:
    name = "disk I/O"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rates = Rates(BUSY_WRAPS_AT)

    def read(self, now_us: int) -> types_pb2.Resources:
        counters = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
        busy_ms = {name: getattr(counter, "busy_time", 0) for name, counter in counters.items()}
        busy_ms_per_s = self._rates.update(busy_ms, now_us)
        return types_pb2.Resources(disk_io_percent=io_percent(busy_ms_per_s, device_of(self._folder)))
