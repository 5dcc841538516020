"""Sampler: measures the machine every second, off the event loop, and keeps the latest picture."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from cortex.v1 import types_pb2
from node.env import Env
from node.worker.resources.cpu import Cpu
from node.worker.resources.disk import DiskIo, DiskSpace
from node.worker.resources.gpu import Gpus
from node.worker.resources.memory import Memory
from node.worker.resources.network import Network
from node.worker.resources.port import Part, Say
from node.worker.resources.presence import GAME_PROCESSES, CoolDown, Presence, mark_gaming

EVERY_US = 1_000_000
# rates need two readings: the second one follows soon, so that a new node does not look idle for a second
FIRST_US = 200_000
STALE_US = 10_000_000
# a driver that is not kept loaded takes a second or two to come up
GPU_PATIENCE_S = 5.0


class Lane:
    """Parts that are read one after the other in a thread of their own. One that hangs holds up no other lane."""

    def __init__(self, env: Env, name: str, parts: Sequence[Part], say: Say) -> None:
        self._clock = env.clock
        self._offload = env.make_offload(f"resources-{name}")
        self._parts = parts
        self._say = say
        self._failures: dict[str, str] = {}
        self.sample = types_pb2.Resources()
        self.read_at_us = 0
        self.measured = asyncio.Event()

    async def run(self) -> None:
        if not self.read_at_us:
            await self.read_once()
        due_us = self.read_at_us + FIRST_US
        while True:
            await asyncio.sleep(max(0, due_us - self._clock.boot_us()) / 1e6)
            await self.read_once()
            # after a slow reading or a suspend there is nothing to catch up with
            due_us = max(due_us + EVERY_US, self._clock.boot_us())

    async def read_once(self) -> None:
        self.sample = await self._offload(self._read)
        self.read_at_us = self._clock.boot_us()
        self.measured.set()

    def _read(self) -> types_pb2.Resources:
        sample = types_pb2.Resources(sampled_at_us=self._clock.wall_us())
        for part in self._parts:
            try:
                sample.MergeFrom(part.read(self._clock.boot_us()))
            except Exception as error:
                self._note(part.name, f"{type(error).__name__}: {error}")
            else:
                self._note(part.name, "")
        return sample

    def _note(self, name: str, failure: str) -> None:
        """Say when a part begins to fail, fails otherwise, or recovers; not every second."""
        if failure == self._failures.get(name, ""):
            return
        self._failures[name] = failure
        self._say(f"Measuring {name} fails: {failure}" if failure else f"Measuring {name} works again.")


class Sampler:
    """Measures this machine. `say` takes one sentence for the log, `games` the process names that mean a game."""

    def __init__(self, env: Env, say: Say, games: frozenset[str] = GAME_PROCESSES) -> None:
        machine: list[Part] = [
            Cpu(),
            Memory(),
            DiskSpace(env.data),
            DiskIo(env.data),
            Network(),
            Presence(env.clock, games),
        ]
        self._clock = env.clock
        self._machine = Lane(env, "machine", machine, say)
        self._gpu = Lane(env, "gpu", [Gpus(say)], say)
        self._cool_down = CoolDown()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Returns when the machine and its GPUs were measured once, without GPUs where their driver hangs; rates
        follow at once."""
        await self._machine.read_once()
        self._tasks = [asyncio.create_task(lane.run()) for lane in (self._machine, self._gpu)]
        with suppress(TimeoutError):
            async with asyncio.timeout(GPU_PATIENCE_S):
                await self._gpu.measured.wait()

    async def stop(self) -> None:
        """Ends the measuring; `latest` goes on to answer."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def latest(self) -> types_pb2.Resources:
        """The latest picture, a copy. What cannot be measured is 0 or absent."""
        now_us = self._clock.boot_us()
        sample = types_pb2.Resources()
        sample.CopyFrom(self._machine.sample)
        # a driver that hangs has no GPU to offer
        if now_us - self._gpu.read_at_us < STALE_US:
            sample.gpus.extend(self._gpu.sample.gpus)
        mark_gaming(sample, self._cool_down, now_us)
        return sample
