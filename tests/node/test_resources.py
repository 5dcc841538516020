"""Resources: pure rates and sums by table, the parts on this machine, the sampler's independence of its parts."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from cortex.v1 import types_pb2
from node.env import Env, ThreadOffload
from node.worker.resources.cpu import Cpu, CpuTimes, percent
from node.worker.resources.disk import DiskIo, DiskSpace
from node.worker.resources.memory import Memory
from node.worker.resources.network import Link, Network, physical, throughput
from node.worker.resources.presence import (
    CoolDown,
    Presence,
    Terminal,
    mark_gaming,
    owner_at_work,
    process_names,
)
from node.worker.resources.rates import Rates, advance
from node.worker.resources.sampler import Lane, Sampler

T = TypeVar("T")
SECOND = 1_000_000
PATIENCE_S = 60


@pytest.mark.parametrize(
    ("before", "after", "wraps_at", "grown"),
    [
        (10, 10, 2**32, 0),
        (10, 17, 2**32, 7),
        (2**32 - 5, 3, 2**32, 8),  # wrapped
        (1000, 3, 2**32, 0),  # began anew
        (2**31, 0, 2**32, 2**31),  # exactly half: still a wrap-around
        (2**31 - 1, 0, 2**32, 0),
        (5 * 10**12, 0, 2**64, 0),  # an interface that was made anew
        (2**64 - 1, 1, 2**64, 2),
    ],
)
def test_advance(before: int, after: int, wraps_at: int, grown: int) -> None:
    assert advance(before, after, wraps_at) == grown


def test_rates_leave_out_what_has_no_reading_before() -> None:
    rates = Rates(2**32)
    assert rates.update({"a": 100}, 10 * SECOND) == {}
    assert rates.update({"a": 150, "b": 7}, 12 * SECOND) == {"a": 25.0}
    assert rates.update({"b": 8}, 12_500_000) == {"b": 2.0}
    assert rates.update({"a": 900, "b": 8}, 13 * SECOND) == {"b": 0.0}


@pytest.mark.parametrize("step_us", [0, -5])
def test_rates_know_nothing_when_the_clock_stands(step_us: int) -> None:
    rates = Rates(2**32)
    rates.update({"a": 1}, SECOND)
    assert rates.update({"a": 2}, SECOND + step_us) == {}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (CpuTimes(0, 0), CpuTimes(1, 4), 25.0),
        (CpuTimes(5, 10), CpuTimes(5, 10), 0.0),
        (CpuTimes(5, 10), CpuTimes(15, 20), 100.0),
        (CpuTimes(5, 10), CpuTimes(4.9, 11), 0.0),  # idle time stepped back
        (CpuTimes(5, 10), CpuTimes(7, 11), 100.0),
    ],
)
def test_cpu_percent(before: CpuTimes, after: CpuTimes, expected: float) -> None:
    assert percent(before, after) == expected


LOOPBACK = Link("lo", 0, loopback=True, has_device=False)
ETHERNET = Link("eth0", 1_000_000_000, loopback=False, has_device=True)
WIRELESS = Link("wlan0", 0, loopback=False, has_device=True)
BRIDGE = Link("docker0", 10_000_000_000, loopback=False, has_device=False)


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([LOOPBACK, ETHERNET, BRIDGE], [ETHERNET]),
        ([LOOPBACK, ETHERNET, WIRELESS], [ETHERNET, WIRELESS]),
        ([LOOPBACK, BRIDGE], [BRIDGE]),  # inside a container
        ([LOOPBACK], []),
    ],
)
def test_physical_links(links: list[Link], expected: list[Link]) -> None:
    assert physical(links) == expected


def test_throughput_sums_links_and_known_speeds() -> None:
    per_s = {"eth0 rx": 10.0, "eth0 tx": 1.0, "wlan0 rx": 5.0, "docker0 rx": 99.0}
    sample = throughput(per_s, [ETHERNET, WIRELESS])
    assert (sample.rx_bytes_per_s, sample.tx_bytes_per_s, sample.link_bits_per_s) == (15.0, 1.0, 1_000_000_000)
    assert throughput(per_s, [WIRELESS]).link_bits_per_s == 0


@pytest.mark.parametrize(
    ("host", "idle_s", "at_work"),
    [
        ("", 10, True),
        (":0", 10, True),
        ("localhost", 299, True),
        ("", 300, False),
        ("203.0.113.9", 1, False),
        ("tmux(77).%0", 1, False),
    ],
)
def test_owner_at_work(host: str, idle_s: float, at_work: bool) -> None:
    assert owner_at_work([Terminal("198.51.100.1", 0), Terminal(host, idle_s)]) is at_work


def gaming(listed: bool, *gpu_percents: float, cool_down: CoolDown, now_us: int) -> tuple[bool, list[bool]]:
    gpus = [types_pb2.Gpu(uuid=str(place), utilisation_percent=value) for place, value in enumerate(gpu_percents)]
    sample = types_pb2.Resources(gaming=listed, gpus=gpus)
    mark_gaming(sample, cool_down, now_us)
    return sample.gaming, [gpu.gaming for gpu in sample.gpus]


@pytest.mark.parametrize(
    ("listed", "gpu_percents", "expected"),
    [
        (False, [100.0], (False, [False])),  # somebody's training run
        (True, [70.0], (False, [False])),
        (True, [70.5, 3.0], (True, [True, False])),
        (True, [], (True, [])),
        (False, [], (False, [])),
    ],
)
def test_gaming_needs_a_listed_process_and_a_busy_gpu(
    listed: bool, gpu_percents: list[float], expected: tuple[bool, list[bool]]
) -> None:
    assert gaming(listed, *gpu_percents, cool_down=CoolDown(), now_us=SECOND) == expected


def test_gaming_cools_down_for_30_seconds() -> None:
    cool_down = CoolDown()
    assert gaming(True, 90.0, cool_down=cool_down, now_us=100 * SECOND) == (True, [True])
    assert gaming(True, 10.0, cool_down=cool_down, now_us=130 * SECOND - 1) == (True, [True])
    assert gaming(True, 10.0, cool_down=cool_down, now_us=130 * SECOND) == (False, [False])


def test_this_process_is_among_the_processes() -> None:
    assert Path("/proc/self/comm").read_text().rstrip("\n") in process_names()


def test_presence_finds_a_process_by_its_name_and_looks_rarely(tmp_path: Path) -> None:
    mine = Path("/proc/self/comm").read_text().rstrip("\n")
    clock = Env.real(tmp_path).clock
    assert Presence(clock, frozenset({mine + "x" * 15, mine})).read(0).gaming
    part = Presence(clock, frozenset({"no-such-game-runs"}))
    assert not part.read(0).gaming
    assert part.read(9 * SECOND) is part.read(SECOND)


def test_parts_measure_this_machine(tmp_path: Path) -> None:
    sample = types_pb2.Resources()
    for part in (Cpu(), Memory(), DiskSpace(tmp_path), DiskIo(tmp_path), Network()):
        part.read(0)
        sample.MergeFrom(part.read(SECOND))
    assert sample.cores == psutil.cpu_count()
    assert 0 <= sample.cpu_percent <= 100
    assert sample.load_1m >= 0
    assert sample.memory_total_bytes == psutil.virtual_memory().total
    assert 0 < sample.memory_available_bytes < sample.memory_total_bytes
    assert sample.disk_total_bytes == psutil.disk_usage(str(tmp_path)).total
    assert 0 < sample.disk_free_bytes < sample.disk_total_bytes
    assert 0 <= sample.disk_io_percent <= 100
    assert sample.rx_bytes_per_s >= 0
    assert sample.link_bits_per_s >= 0


def test_cpu_sees_work_done_between_two_readings() -> None:
    part = Cpu()
    before = psutil.cpu_times().user
    while psutil.cpu_times().user < before + 0.05:
        sum(range(10_000))
    assert part.read(0).cpu_percent > 0


def test_a_machine_without_network_has_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "net_if_stats", dict)
    monkeypatch.setattr(psutil, "net_io_counters", lambda **_: {})
    assert Network().read(0) == types_pb2.Resources()


@dataclass
class Scripted:
    """A part that reads what it is told, or raises it."""

    name: str
    answers: list[types_pb2.Resources | Exception] = field(default_factory=list)

    def read(self, now_us: int) -> types_pb2.Resources:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_part_that_fails_loses_no_other_and_is_named_once(tmp_path: Path) -> None:
    said: list[str] = []
    cores = types_pb2.Resources(cores=4)
    bad: list[types_pb2.Resources | Exception] = [
        OSError("no such file"),
        OSError("no such file"),
        types_pb2.Resources(load_1m=1),
    ]
    lane = Lane(
        Env.real(tmp_path), "x", [Scripted("bad", bad), Scripted("good", [cores, cores, cores])], said.append
    )
    for load in (0, 0, 1):
        await lane.read_once()
        assert (lane.sample.cores, lane.sample.load_1m) == (4, load)
    assert said == ["Measuring bad fails: OSError: no such file", "Measuring bad works again."]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  the picture is polled by its users too
            await asyncio.sleep(0.01)


async def test_sampler_keeps_a_fresh_picture_and_stops(tmp_path: Path) -> None:
    said: list[str] = []
    sampler = Sampler(Env.real(tmp_path), said.append)
    await sampler.start()
    first = sampler.latest()
    assert first.cores > 0
    assert first.memory_total_bytes > 0
    await until(lambda: sampler.latest().sampled_at_us >= first.sampled_at_us + SECOND)
    first.cores = 0
    assert sampler.latest().cores > 0
    await sampler.stop()
    await sampler.stop()
    assert sampler.latest().cores > 0


@dataclass
class HandClock:
    now_us: int = SECOND

    def wall_us(self) -> int:
        return self.now_us

    def boot_us(self) -> int:
        return self.now_us


class HangingOffload(ThreadOffload):
    """Its thread stands still from the given call on, counted from 1, until it is let go."""

    def __init__(self, name: str, gate: threading.Event, hangs_from: int) -> None:
        super().__init__(name)
        self._gate = gate
        self._hangs_from = hangs_from
        self._calls = 0
        self.hangs = False

    async def __call__(self, function: Callable[[], T], /) -> T:
        self._calls += 1
        if self._calls >= self._hangs_from:
            self.hangs = True
            await super().__call__(self._gate.wait)
        return await super().__call__(function)


@pytest.mark.parametrize("hangs_from", [1, 2])
async def test_a_driver_that_hangs_costs_its_gpus_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs_from: int
) -> None:
    gate = threading.Event()
    offloads: dict[str, HangingOffload | ThreadOffload] = {}

    def make_offload(name: str) -> HangingOffload | ThreadOffload:
        offloads[name] = HangingOffload(name, gate, hangs_from) if name.endswith("gpu") else ThreadOffload(name)
        return offloads[name]

    gpus = types_pb2.Resources(gpus=[types_pb2.Gpu(name="a", uuid="1")])
    monkeypatch.setattr(
        "node.worker.resources.sampler.Gpus", lambda say: Scripted("GPU", [gpus for _ in range(1000)])
    )
    monkeypatch.setattr("node.worker.resources.sampler.GPU_PATIENCE_S", 0.1 if hangs_from == 1 else PATIENCE_S)
    clock = HandClock()
    real = Env.real(tmp_path)
    sampler = Sampler(Env(clock, random.Random(1), tmp_path, real.open_disk, make_offload), lambda _: None)
    try:
        await sampler.start()
        assert len(sampler.latest().gpus) == hangs_from - 1
        gpu_offload = offloads["resources-gpu"]
        assert isinstance(gpu_offload, HangingOffload)
        await until(lambda: gpu_offload.hangs)
        clock.now_us += 11 * SECOND
        await until(lambda: sampler.latest().sampled_at_us == clock.now_us)
        assert not sampler.latest().gpus
        assert sampler.latest().cores > 0
    finally:
        gate.set()
        await sampler.stop()


async def test_a_disk_that_hangs_holds_up_no_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    # Its first call reads what was kept, the next ones write.
    history = HangingOffload("history", gate, hangs_from=2)
    monkeypatch.setattr("node.worker.resources.sampler._SAVE_S", 0.01)
    real = Env.real(tmp_path)

    def make_offload(name: str) -> HangingOffload | ThreadOffload:
        return history if name == "history" else ThreadOffload(name)

    sampler = Sampler(Env(real.clock, random.Random(1), tmp_path, real.open_disk, make_offload), lambda _: None)
    await sampler.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await sampler.stop()
        assert history.hangs
    finally:
        gate.set()
