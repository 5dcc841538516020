"""Sampler: measures the machine and what runs on it every second, off the event loop, and keeps what it found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial

from cortex.v1 import types_pb2
from node.env import Env
from node.worker.port import AttemptKey
from node.worker.resources.bench import Bench
from node.worker.resources.cpu import Cpu
from node.worker.resources.disk import DiskIo, DiskSpace
from node.worker.resources.gpu import Gpus
from node.worker.resources.history import SERIES, History
from node.worker.resources.kept import KeptHistory, boot_id
from node.worker.resources.memory import Memory, Pressure, Swap
from node.worker.resources.network import Network
from node.worker.resources.port import Part, Say
from node.worker.resources.presence import GAME_PROCESSES, CoolDown, Presence, mark_gaming
from node.worker.resources.sensors import Sensors
from node.worker.resources.tasks import TaskMeter, tasks_of

EVERY_US = 1_000_000
# rates need two readings: the second one follows soon, so that a new node does not look idle for a second
FIRST_US = 200_000
STALE_US = 10_000_000
# a driver that is not kept loaded takes a second or two to come up
GPU_PATIENCE_S = 5.0
# A stop waits no longer for a disk: what is lost is a minute of history.
_SAVE_S = 2.0


class Lane:
    """Parts that are read one after the other in a thread of their own. One that hangs holds up no other lane."""

    def __init__(
        self,
        env: Env,
        name: str,
        parts: Sequence[Part],
        say: Say,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._after = after
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
        first = True
        while True:
            await asyncio.sleep(max(0, due_us - self._clock.boot_us()) / 1e6)
            await self.read_once()
            self._after()
            if first:
                # in the middle of a second: each has its reading, however late one comes
                due_us = due_us // EVERY_US * EVERY_US + EVERY_US // 2
                first = False
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
    """Measures this machine. `say` takes one sentence for the log, `games` the process names that mean a game.

    Implements port.Gauge.
    """

    def __init__(self, env: Env, say: Say, games: frozenset[str] = GAME_PROCESSES) -> None:
        machine: list[Part] = [
            Cpu(),
            Memory(),
            Swap(),
            Pressure(),
            DiskSpace(env.data),
            DiskIo(env.data),
            Network(),
            Presence(env.clock, games),
        ]
        self._clock = env.clock
        self._machine = Lane(env, "machine", machine, say, self._measured)
        self._gpu = Lane(env, "gpu", [Gpus(say)], say)
        self._sensors = Lane(env, "sensors", [Sensors()], say)
        self._cool_down = CoolDown()
        self._history = History()
        self._kept = KeptHistory(env, say, boot_id())
        self._meter = TaskMeter()
        self._meter_offload = env.make_offload("resources-tasks")
        self._metering = False
        self._running: Callable[[], Collection[AttemptKey]] = tuple
        self._uses: Mapping[AttemptKey, types_pb2.TaskUse] = {}
        self._say = say
        self._bench = Bench(env, say)
        self._tasks: list[asyncio.Task[None]] = []
        self._meters: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Returns when the machine and its GPUs were measured once, without GPUs where their driver hangs; rates
        follow at once."""
        await self._bench.load()
        self._history = await self._kept.load()
        await self._machine.read_once()
        lanes = (self._machine, self._gpu, self._sensors)
        self._tasks = [asyncio.create_task(lane.run()) for lane in lanes]
        with suppress(TimeoutError):
            async with asyncio.timeout(GPU_PATIENCE_S):
                await self._gpu.measured.wait()

    async def stop(self) -> None:
        """Ends the measuring; `latest` goes on to answer."""
        tasks = [*self._tasks, *self._meters]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []
        with suppress(TimeoutError):
            async with asyncio.timeout(_SAVE_S):
                await self._kept.save(self._history)

    def latest(self) -> types_pb2.Resources:
        """The latest picture, a copy. What cannot be measured is 0 or absent."""
        now_us = self._clock.boot_us()
        sample = types_pb2.Resources()
        sample.CopyFrom(self._machine.sample)
        # a driver that hangs has no GPU to offer, and its sensors tell nothing
        if now_us - self._gpu.read_at_us < STALE_US:
            sample.gpus.extend(self._gpu.sample.gpus)
        if now_us - self._sensors.read_at_us < STALE_US:
            at_us = sample.sampled_at_us
            sample.MergeFrom(self._sensors.sample)
            sample.sampled_at_us = at_us
        self._name_tasks(sample)
        mark_gaming(sample, self._cool_down, now_us)
        if self._bench.latest is not None:
            sample.benchmark.CopyFrom(self._bench.latest)
        return sample

    def follow(self, running: Callable[[], Collection[AttemptKey]]) -> None:
        self._running = running

    def uses(self) -> list[types_pb2.TaskUse]:
        return tasks_of(self._uses.values())

    def use_of(self, key: AttemptKey) -> types_pb2.TaskUse | None:
        # It may have ended, and been seen to have, before that is told.
        return self._meter.last(key)

    def history(self, span_us: int, points: int) -> tuple[list[types_pb2.Series], int, int]:
        now_us = self._clock.boot_us()
        curve = self._history.curve(span_us, points, now_us)
        series = [
            types_pb2.Series(name=name, values=values) for name, values in zip(SERIES, curve.columns, strict=True)
        ]
        return series, curve.step_us, curve.until_us + self._clock.wall_us() - now_us

    async def bench(self) -> types_pb2.Benchmark:
        return await self._bench.run()

    def _name_tasks(self, sample: types_pb2.Resources) -> None:
        """Whose the processes on the GPUs are."""
        if not any(gpu.processes for gpu in sample.gpus):
            return
        owners = self._meter.owners()
        for gpu in sample.gpus:
            for process in gpu.processes:
                process.task = owners.get(process.pid, "")

    def _measured(self) -> None:
        """After each reading of the machine. One of the tasks that takes longer is not begun twice."""
        running = frozenset(self._running())
        self._history.record(self.latest(), len(running), self._machine.read_at_us)
        if self._kept.due():
            self._begin(self._kept.save(self._history))
        if not self._metering and (running or self._uses):
            self._metering = True
            self._begin(self._read_uses(running))

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._meters.add(task)
        task.add_done_callback(self._meters.discard)

    async def _read_uses(self, running: frozenset[AttemptKey]) -> None:
        gpu_bytes: dict[int, int] = {}
        for gpu in self._gpu.sample.gpus:
            for process in gpu.processes:
                gpu_bytes[process.pid] = gpu_bytes.get(process.pid, 0) + process.memory_bytes
        now_us = self._clock.boot_us()
        try:
            self._uses = await self._meter_offload(partial(self._meter.read, running, gpu_bytes, now_us))
        except OSError as error:
            self._uses = {}
            self._say(f"What tasks use cannot be measured: {error}.")
        finally:
            self._metering = False
