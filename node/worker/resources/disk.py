"""Space of the data folder's file system, and how busy its device is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from cortex.v1 import types_pb2
from node.worker.resources.rates import Rates

# the kernel counts busy milliseconds in 32 bits
BUSY_WRAPS_AT = 2**32
COUNTERS_WRAP_AT = 2**64
SECTOR_BYTES = 512
BLOCK_DEVICES = Path("/sys/dev/block")
COUNTERS = Path("/proc/diskstats")
NO_DISKS = ("loop", "ram", "zram", "sr", "fd")


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one device, since boot."""

    read_bytes: int
    written_bytes: int
    busy_ms: int  # with a request in flight
    waited_ms: int  # of all requests together


def device_of(folder: Path) -> str | None:
    """Kernel name of the block device that holds the folder; None where there is no single one, as with overlay,
    btrfs and network file systems."""
    number = os.stat(folder).st_dev
    link = BLOCK_DEVICES / f"{os.major(number)}:{os.minor(number)}"
    return link.resolve().name if link.exists() else None


def read_counters(path: Path = COUNTERS) -> dict[str, Counters]:
    """By device; empty where the kernel keeps none. Lines that are none of ours are passed over."""
    try:
        text = path.read_text()
    except OSError:
        return {}
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 14 and all(word.isdecimal() for word in words[3:14]):
            read, written = int(words[5]) * SECTOR_BYTES, int(words[9]) * SECTOR_BYTES
            found[words[2]] = Counters(read, written, busy_ms=int(words[12]), waited_ms=int(words[13]))
    return found


def measured(busy_ms_per_s: Mapping[str, float], device: str | None) -> str | None:
    """The device if its counters are known, else the busiest disk; None without any."""
    if device is not None and device in busy_ms_per_s:
        return device
    disks = [name for name in busy_ms_per_s if not name.startswith(NO_DISKS)]
    return max(disks, key=lambda name: busy_ms_per_s[name], default=None)


class DiskSpace:
    name = "disk space"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, now_us: int) -> types_pb2.Resources:
        usage = psutil.disk_usage(str(self._folder))
        return types_pb2.Resources(disk_total_bytes=usage.total, disk_free_bytes=usage.free)


class DiskIo:
    """Share of time with requests in flight, how many are, and what goes through."""

    name = "disk I/O"

    def __init__(self, folder: Path, counters: Path = COUNTERS) -> None:
        self._folder = folder
        self._counters = counters
        self._times = Rates(BUSY_WRAPS_AT)
        self._bytes = Rates(COUNTERS_WRAP_AT)

    def read(self, now_us: int) -> types_pb2.Resources:
        times: dict[str, int] = {}
        moved: dict[str, int] = {}
        for name, one in read_counters(self._counters).items():
            times[f"{name} busy"], times[f"{name} waited"] = one.busy_ms, one.waited_ms
            moved[f"{name} read"], moved[f"{name} written"] = one.read_bytes, one.written_bytes
        per_s = self._times.update(times, now_us)
        bytes_per_s = self._bytes.update(moved, now_us)
        busy = {key.removesuffix(" busy"): rate for key, rate in per_s.items() if key.endswith(" busy")}
        device = measured(busy, device_of(self._folder))
        if device is None:
            return types_pb2.Resources()
        return types_pb2.Resources(
            disk_io_percent=min(100.0, busy[device] / 10.0),
            disk_queue=per_s[f"{device} waited"] / 1000.0,
            disk_read_bytes_per_s=bytes_per_s[f"{device} read"],
            disk_written_bytes_per_s=bytes_per_s[f"{device} written"],
        )
