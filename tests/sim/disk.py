"""A disk in memory that forgets at a crash what a real one may forget, and fails on demand.

Two ways to end a process: after `kill` (simply open the files again) the page cache is still there; after
power_loss() only what was synced is sure, and of the rest any sectors may or may not have come down.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

SECTOR = 512

T = TypeVar("T")


class PowerLost(Exception):
    """The machine went down during this call; whoever made it is gone as well."""


@dataclass(slots=True)
class _Inode:
    cached: bytearray = field(default_factory=bytearray)
    """What processes read: the page cache."""
    durable: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)
    """Sectors that differ from `durable` and would be written by a sync."""
    resized: bool = False


@dataclass(frozen=True, slots=True)
class _Step:
    """A change of the folder that is not durable yet. `old` is None for a creation, `new` None for a removal."""

    old: str | None
    new: str | None
    inode: _Inode


class SimDisk:
    """Implements node.env.Disk for one folder. Faults are plain attributes, to be set by a scenario."""

    def __init__(self, rng: random.Random, capacity_bytes: int = 1 << 40) -> None:
        self._rng = rng
        self.capacity_bytes = capacity_bytes
        """Writes that would take more end in ENOSPC."""
        self.fail_sync: Callable[[], bool] = lambda: False
        """Asked at every sync; True makes it end in EIO, and what it should have saved is lost at a crash."""
        self.fail_write: Callable[[], bool] = lambda: False
        self.dying = False
        """The power goes: nothing is synced any more."""
        self.dies_in_syncs = 0
        """The power goes at the sync of this number from now on, of a file or of the folder; 0 means never."""
        self.syncs = 0
        self.torn_sectors = 0
        """Sectors that a power loss dropped while others of the same file came down."""
        self._life = 0
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._steps: list[_Step] = []

    def open(self, name: str, *, create: bool = False) -> SimFile:
        inode = self._names.get(name)
        if inode is None:
            if not create:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            inode = self._names[name] = _Inode()
            self._steps.append(_Step(None, name, inode))
        return SimFile(self, inode, self._life)

    def names(self) -> list[str]:
        return sorted(self._names)

    def rename(self, old: str, new: str) -> None:
        inode = self._names.pop(old)
        self._names[new] = inode
        self._steps.append(_Step(old, new, inode))

    def remove(self, name: str) -> None:
        self._steps.append(_Step(name, None, self._names.pop(name)))

    def sync_folder(self) -> None:
        self.check_power()
        self._durable_names = dict(self._names)
        self._steps.clear()

    def check_power(self) -> None:
        if self.dies_in_syncs:
            self.dies_in_syncs -= 1
            self.dying = self.dying or self.dies_in_syncs == 0
        if self.dying:
            raise PowerLost

    def used_bytes(self) -> int:
        return sum(len(inode.cached) for inode in self._names.values())

    def damage(self, name: str, offset: int, mask: int) -> None:
        """Flip the bits of `mask` in one byte, on the disk and in the cache."""
        inode = self._names[name]
        inode.cached[offset] ^= mask
        if offset < len(inode.durable):
            inode.durable[offset] ^= mask

    def kill(self) -> None:
        """The process ends; the page cache stays. Open files go stale."""
        self._life += 1

    def power_loss(self) -> None:
        """The machine ends. Un-synced sectors come down or not, un-synced folder changes up to a random one."""
        self._life += 1
        self.dying, self.dies_in_syncs = False, 0
        names = dict(self._durable_names)
        for step in self._steps[: self._rng.randint(0, len(self._steps))]:
            if step.old is not None:
                names.pop(step.old, None)
            if step.new is not None:
                names[step.new] = step.inode
        self._steps.clear()
        for inode in names.values():
            self._tear(inode)
        self._names, self._durable_names = names, dict(names)

    def _tear(self, inode: _Inode) -> None:
        """Mostly all or nothing came down; else sector by sector."""
        dirty = sorted(inode.dirty)
        fate = self._rng.random()
        kept = [sector for sector in dirty if fate < 0.2 or (fate > 0.4 and self._rng.random() < 0.5)]
        if 0 < len(kept) < len(dirty):
            self.torn_sectors += len(dirty) - len(kept)
        size = len(inode.cached) if inode.resized and (kept or self._rng.random() < 0.5) else len(inode.durable)
        inode.durable[size:] = bytes(max(size - len(inode.durable), 0))
        for sector in kept:
            start, stop = sector * SECTOR, min((sector + 1) * SECTOR, size)
            inode.durable[start:stop] = inode.cached[start:stop]
        inode.cached = bytearray(inode.durable)
        inode.dirty.clear()
        inode.resized = False

    def owns(self, life: int) -> bool:
        return life == self._life


class SimFile:
    """Implements node.env.File."""

    def __init__(self, disk: SimDisk, inode: _Inode, life: int) -> None:
        self._disk, self._inode, self._life = disk, inode, life

    def _check(self) -> None:
        if not self._disk.owns(self._life):
            raise PowerLost

    def read(self, offset: int, size: int) -> bytes:
        self._check()
        with memoryview(self._inode.cached) as cached:
            return bytes(cached[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        self._check()
        if self._disk.fail_write():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        end = offset + len(data)
        if end > len(self._inode.cached):
            self._resize(end)
        self._inode.cached[offset:end] = data
        self._inode.dirty.update(range(offset // SECTOR, (end - 1) // SECTOR + 1))

    def size(self) -> int:
        self._check()
        return len(self._inode.cached)

    def truncate(self, size: int) -> None:
        self._check()
        self._resize(size)

    def preallocate(self, size: int) -> None:
        self._check()
        if size > len(self._inode.cached):
            self._resize(size)

    def _resize(self, size: int) -> None:
        cached = self._inode.cached
        if size > len(cached):
            if self._disk.used_bytes() + size - len(cached) > self._disk.capacity_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            cached.extend(bytes(size - len(cached)))
        else:
            del cached[size:]
        self._inode.resized = True

    def sync(self) -> None:
        self._check()
        self._disk.check_power()
        self._disk.syncs += 1
        inode = self._inode
        if self._disk.fail_sync():
            # As Linux does it: the pages are clean now, readers see them, the disk never got them.
            inode.dirty.clear()
            inode.resized = False
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        size = len(inode.cached)
        if inode.resized:
            inode.durable[size:] = bytes(max(size - len(inode.durable), 0))
        with memoryview(inode.cached) as cached:
            for sector in inode.dirty:
                start, stop = sector * SECTOR, min((sector + 1) * SECTOR, size)
                inode.durable[start:stop] = cached[start:stop]
        inode.dirty.clear()
        inode.resized = False

    def close(self) -> None:
        pass


class SimOffload:
    """Implements node.env.Offload on virtual time: what it runs takes as long as `delay_s()` says, in order.

    When the power goes while something runs, interrupt() lets it get as far as its first sync.
    """

    def __init__(self, disks: Callable[[], list[SimDisk]], delay_s: Callable[[], float]) -> None:
        self._disks = disks
        self._delay_s = delay_s
        self._lock = asyncio.Lock()
        self._running: Callable[[], object] | None = None

    async def __call__(self, function: Callable[[], T], /) -> T:
        async with self._lock:
            self._running = function
            await asyncio.sleep(self._delay_s())
            self._running = None
            return function()

    def interrupt(self, rng: random.Random) -> None:
        """The machine dies now: its life ends with it. Call this before SimDisk.power_loss()."""
        running, self._running = self._running, None
        if running is not None and rng.random() < 0.8:
            for disk in self._disks():
                disk.dying = True
            with suppress(Exception):
                running()
