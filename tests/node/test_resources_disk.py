"""Disk saturation, swap, pressure and sensors: from files as a kernel writes them; absent where there are none."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from cortex.v1.types_pb2 import Resources
from node.worker.resources import disk
from node.worker.resources.disk import DiskIo, measured, read_counters
from node.worker.resources.memory import Pressure, Swap
from node.worker.resources.sensors import Sensors, processor_celsius

SECOND = 1_000_000
Reading = namedtuple("Reading", "current")
Battery = namedtuple("Battery", "percent power_plugged")


@pytest.mark.parametrize(
    ("busy_ms_per_s", "device", "expected"),
    [
        ({"sda": 250.0, "sdb": 900.0}, "sda", "sda"),
        ({"sda": 250.0, "sdb": 900.0}, None, "sdb"),
        ({"sda": 250.0, "sdb": 900.0}, "dm-0", "sdb"),
        ({"sda": 10.0, "loop3": 900.0, "zram0": 800.0}, None, "sda"),
        ({"loop3": 900.0}, None, None),
        ({}, "sda", None),
    ],
)
def test_which_device_is_measured(
    busy_ms_per_s: dict[str, float], device: str | None, expected: str | None
) -> None:
    assert measured(busy_ms_per_s, device) == expected


def line(name: str, read_sectors: int, written_sectors: int, busy_ms: int, waited_ms: int) -> str:
    return f" 254 0 {name} 9 0 {read_sectors} 7 8 0 {written_sectors} 6 0 {busy_ms} {waited_ms} 0 0 0 0 0 0\n"


def test_disk_io_sees_the_counters_of_the_folders_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = tmp_path / "diskstats"
    monkeypatch.setattr(disk, "device_of", lambda folder: "mine")
    counters.write_text(line("mine", 0, 0, 2**32 - 100, 1000) + line("other", 0, 0, 0, 0))
    part = DiskIo(tmp_path, counters)
    assert part.read(0) == Resources()  # a rate takes two readings
    counters.write_text(line("mine", 2048, 4096, 150, 3500) + line("other", 0, 0, 999, 999))
    sample = part.read(SECOND)
    assert (sample.disk_io_percent, sample.disk_queue) == (25.0, 2.5)
    assert (sample.disk_read_bytes_per_s, sample.disk_written_bytes_per_s) == (2048 * 512, 4096 * 512)
    counters.write_text(line("mine", 2048, 4096, 150, 3500))
    idle = part.read(2 * SECOND)
    assert idle.HasField("disk_queue")
    assert (idle.disk_io_percent, idle.disk_queue, idle.disk_read_bytes_per_s) == (0.0, 0.0, 0.0)
    counters.write_text("")
    assert part.read(3 * SECOND) == Resources()


@pytest.mark.parametrize("text", ["", "no counters\n", " 8 0 sda 1 2 x 4 5 6 7 8 9 10 11\n", " 8 0 sda 1 2 3\n"])
def test_a_kernel_without_disk_counters_measures_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "diskstats").write_text(text)
    assert read_counters(tmp_path / "diskstats") == {}
    assert read_counters(tmp_path / "none") == {}
    part = DiskIo(tmp_path, tmp_path / "diskstats")
    part.read(0)
    assert part.read(SECOND) == Resources()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SwapTotal:  2048 kB\nSwapFree:  1024 kB\n", Resources(swap_total_bytes=2 << 20, swap_used_bytes=1 << 20)),
        ("SwapTotal:  0 kB\nSwapFree:  0 kB\n", Resources(swap_total_bytes=0, swap_used_bytes=0)),
        ("MemTotal:  9 kB\n", Resources()),
        ("SwapTotal:\nSwapFree: x kB\n", Resources()),
    ],
)
def test_swap(tmp_path: Path, text: str, expected: Resources) -> None:
    (tmp_path / "meminfo").write_text(text)
    assert Swap(tmp_path / "meminfo").read(0) == expected


def test_pressure_is_what_waited_for_anything_and_absent_where_it_is_not_counted(tmp_path: Path) -> None:
    some = "some avg10={} avg60=1.00 avg300=1.00 total=1\nfull avg10=90.00 avg60=0 avg300=0 total=0\n"
    (tmp_path / "cpu").write_text(some.format("7.79"))
    (tmp_path / "memory").write_text(some.format("0.00"))
    (tmp_path / "io").write_text("some avg10=nan\n")
    sample = Pressure(tmp_path).read(0)
    assert sample == Resources(cpu_pressure_percent=7.79, memory_pressure_percent=0.0)
    assert Pressure(tmp_path / "none").read(0) == Resources()


@pytest.mark.parametrize(
    ("sensors", "expected"),
    [
        ({}, None),
        ({"nvme": [Reading(70.0)]}, None),
        ({"acpitz": [Reading(27.8)], "coretemp": [Reading(51.0), Reading(64.0)]}, 64.0),
        ({"coretemp": [Reading(None), Reading(0.0), Reading(999.0)], "acpitz": [Reading(30.0)]}, 30.0),
    ],
)
def test_temperature_is_that_of_the_processors_hottest_place(
    sensors: dict[str, list[Reading]], expected: float | None
) -> None:
    assert processor_celsius(sensors) == expected


def test_sensors_are_read_seldom_and_what_is_not_there_is_absent() -> None:
    reads: list[int] = []

    def temperatures() -> dict[str, list[Reading]]:
        reads.append(1)
        return {"k10temp": [Reading(40.0 + len(reads))]}

    part = Sensors(temperatures, lambda: Battery(55.0, False))
    assert part.read(SECOND) == Resources(temperature_celsius=41.0, battery_percent=55.0, on_battery=True)
    assert part.read(10 * SECOND).temperature_celsius == 41.0
    assert part.read(11 * SECOND).temperature_celsius == 42.0
    unknown = Sensors(dict, lambda: Battery(101.0, None)).read(0)
    assert unknown == Resources(battery_percent=100.0)
    assert Sensors(dict, lambda: None).read(0) == Resources()
