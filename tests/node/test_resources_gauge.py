"""The sampler as a whole: attempts measured beside the machine, whose a GPU's processes are, and what is kept."""

from __future__ import annotations

import asyncio
import math
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cortex.v1 import types_pb2
from node.env import Env
from node.worker.port import AttemptKey
from node.worker.resources.history import SERIES
from node.worker.resources.sampler import Sampler
from tests.node.test_resources import HandClock

PATIENCE_S = 60
KEY = AttemptKey(f"gauge-{os.getpid()}", 5)


@dataclass
class OneGpu:
    """A GPU that a process has memory of."""

    pid: int
    name: str = "GPU"

    def read(self, now_us: int) -> types_pb2.Resources:
        process = types_pb2.GpuProcess(pid=self.pid, memory_bytes=700)
        stranger = types_pb2.GpuProcess(pid=1, memory_bytes=1)
        return types_pb2.Resources(gpus=[types_pb2.Gpu(name="a", processes=[process, stranger])])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  the picture is polled by its users too
            await asyncio.sleep(0.01)


async def test_attempts_are_measured_while_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = await asyncio.create_subprocess_exec(
        "sleep", "600", env={"CORTEX_TASK": KEY.task, "CORTEX_FENCE": str(KEY.fence)}, start_new_session=True
    )
    running = {KEY}
    monkeypatch.setattr("node.worker.resources.sampler.Gpus", lambda say: OneGpu(child.pid))
    sampler = Sampler(Env.real(tmp_path), lambda _: None)
    sampler.follow(lambda: running)
    try:
        await sampler.start()
        await until(lambda: bool(sampler.uses()) and sampler.uses()[0].gpu_memory_bytes == 700)
        [use] = sampler.uses()
        assert (use.task, use.fence, use.processes) == (KEY.task, KEY.fence, 1)
        assert sampler.use_of(KEY) == use
        [gpu] = sampler.latest().gpus
        assert [process.task for process in gpu.processes] == [KEY.task, ""]
        running.clear()
        await until(lambda: not sampler.uses())
        assert sampler.use_of(KEY) is None
        series, step_us, until_us = sampler.history(600_000_000, 0)
        assert [one.name for one in series] == list(SERIES)
        assert step_us == 1_000_000
        assert until_us > sampler.latest().sampled_at_us
        seen = {one.name: [value for value in one.values if not math.isnan(value)] for one in series}
        assert max(seen["running"]) > 0
        assert seen["cpu"]
        assert not seen["gpu"]
    finally:
        await sampler.stop()
        child.kill()
        await child.wait()


async def test_sensors_that_hang_cost_their_values_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, reads = threading.Event(), []

    class Slow:
        name = "sensors"

        def read(self, now_us: int) -> types_pb2.Resources:
            reads.append(now_us)
            if len(reads) > 1:
                gate.wait()
            return types_pb2.Resources(temperature_celsius=50)

    monkeypatch.setattr("node.worker.resources.sampler.Sensors", Slow)
    clock = HandClock()
    real = Env.real(tmp_path)
    sampler = Sampler(Env(clock, random.Random(1), tmp_path, real.open_disk, real.make_offload), lambda _: None)
    try:
        await sampler.start()
        await until(lambda: sampler.latest().HasField("temperature_celsius"))
        clock.now_us += 1_000_000  # time for the next reading
        await until(lambda: len(reads) > 1)
        clock.now_us += 11_000_000
        await until(lambda: sampler.latest().sampled_at_us == clock.now_us)
        assert not sampler.latest().HasField("temperature_celsius")
        assert sampler.latest().cores > 0
    finally:
        gate.set()
        await sampler.stop()
