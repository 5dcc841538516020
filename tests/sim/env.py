"""One simulated machine: its clocks, disks and lives, as node.env.Env."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from node.env import Env
from node.failpoints import watched
from tests.sim.disk import SimDisk, SimOffload
from tests.sim.loop import Life, SimLoop

START_US = 1_700_000_000_000_000


class SimClock:
    """Implements node.env.Clock; a scenario may set skew and let the wall clock jump."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.skew_us = 0

    def wall_us(self) -> int:
        return START_US + self.skew_us + int(self._loop.time() * 1e6)

    def boot_us(self) -> int:
        return int(self._loop.time() * 1e6)


class SimMachine:
    """Survives the processes on it. boot() gives a new life and its Env; power_loss() or kill() ends it."""

    def __init__(self, loop: SimLoop, name: str, seed: int) -> None:
        self._loop = loop
        self.name = name
        self.random = random.Random(f"{seed}/{name}")
        """For what happens to the machine; the process on it draws from its own."""
        self.clock = SimClock(loop)
        self.disks: dict[str, SimDisk] = {}
        self.sync_s = (0.0002, 0.0006)
        """How long the disk takes."""
        self.life: Life | None = None
        self.on_hit: Callable[[str], None] | None = None
        """Called at every failpoint of later lives."""
        self._offloads: list[SimOffload] = []
        self._lives = 0

    @property
    def up(self) -> bool:
        return self.life is not None

    def boot(self) -> tuple[Life, Env]:
        assert self.life is None
        self._lives += 1
        self.life = Life(f"{self.name}#{self._lives}")
        env = Env(
            clock=self.clock,
            random=random.Random(self.random.getrandbits(64)),
            data=Path("/sim") / self.name,
            open_disk=self.disk,
            make_offload=self._make_offload,
        )
        return self.life, watched(env, self.on_hit) if self.on_hit else env

    def disk(self, name: str) -> SimDisk:
        if name not in self.disks:
            self.disks[name] = SimDisk(random.Random(self.random.getrandbits(64)))
        return self.disks[name]

    def _make_offload(self, name: str) -> SimOffload:
        offload = SimOffload(lambda: list(self.disks.values()), lambda: self.random.uniform(*self.sync_s))
        self._offloads.append(offload)
        return offload

    def kill(self) -> None:
        """The process ends as by kill -9; what it wrote stays in the page cache."""
        self._end()
        for disk in self.disks.values():
            disk.kill()

    def power_loss(self) -> None:
        """The machine goes down, perhaps in the middle of a write."""
        for offload in self._offloads:
            offload.interrupt(self.random)
        self._end()
        for disk in self.disks.values():
            disk.power_loss()

    def _end(self) -> None:
        self._offloads.clear()
        if self.life is not None:
            self.life.end()
            self.life = None
