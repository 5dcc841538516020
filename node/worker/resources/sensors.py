"""Temperature and battery, where a machine has them. A sensor may be slow to read: an own lane, and seldom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import psutil

from cortex.v1 import types_pb2

LOOK_EVERY_US = 10_000_000
# Drivers of processors' own sensors, the exact ones first; a board's sensors tell the air around it.
PROCESSOR = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "acpitz")
COLDEST_C, HOTTEST_C = -60.0, 150.0


class Reading(Protocol):
    @property
    def current(self) -> float | None: ...


class Battery(Protocol):
    @property
    def percent(self) -> float: ...

    @property
    def power_plugged(self) -> bool | None: ...


def processor_celsius(sensors: Mapping[str, Sequence[Reading]]) -> float | None:
    """The hottest place of the processor; None without a sensor, or where all that it says is nonsense."""
    for name in PROCESSOR:
        told = [float(one.current) for one in sensors.get(name, ()) if one.current is not None]
        sane = [value for value in told if COLDEST_C < value < HOTTEST_C and value != 0.0]
        if sane:
            return max(sane)
    return None


def read_sensors() -> Mapping[str, Sequence[Reading]]:
    return psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}


def read_battery() -> Battery | None:
    found: Battery | None = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return found


class Sensors:
    name = "sensors"

    def __init__(
        self,
        temperatures: Callable[[], Mapping[str, Sequence[Reading]]] = read_sensors,
        battery: Callable[[], Battery | None] = read_battery,
    ) -> None:
        self._temperatures = temperatures
        self._battery = battery
        self._latest = types_pb2.Resources()
        self._look_at_us = 0

    def read(self, now_us: int) -> types_pb2.Resources:
        if now_us < self._look_at_us:
            return self._latest
        self._look_at_us = now_us + LOOK_EVERY_US
        sample = self._latest = types_pb2.Resources()
        warm, battery = processor_celsius(self._temperatures()), self._battery()
        if warm is not None:
            sample.temperature_celsius = warm
        if battery is not None:
            sample.battery_percent = min(100.0, max(0.0, battery.percent))
            if battery.power_plugged is not None:
                sample.on_battery = not battery.power_plugged
        return sample
