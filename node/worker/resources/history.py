"""What a node measured lately, in three rings: each second of 10 minutes, each 10 s of 2 hours, each minute of a
day.

A ring holds single-precision columns, NaN where nothing was measured: all three together 108 KiB, on the node
itself alone. Slots are counted on the boot clock, so that neither a clock that is set nor a suspend bends the
curve. How they outlive the daemon: see kept.py.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from cortex.v1.types_pb2 import Resources

SERIES = ("cpu", "memory", "disk", "io", "rx", "tx", "gpu", "gpu_memory", "temperature", "running")
"""Percent but for rx and tx (bytes per second), temperature (degrees Celsius) and running (tasks)."""
RINGS = ((1_000_000, 600), (10_000_000, 720), (60_000_000, 1440))
"""Step in microseconds and slots, the finest first."""
SPAN_LIMIT_US = 86_400_000_000
NAN = math.nan
_NEVER = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Curve:
    """Columns in the order of SERIES, oldest first; `until_us` is the end of the last step on the boot clock."""

    step_us: int
    until_us: int
    columns: Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class RingState:
    """Its newest slot, what came into that, and the mean of each slot at its number modulo the size."""

    step_us: int
    slot: int
    sums: Sequence[float]
    counts: Sequence[int]
    columns: Sequence[array[float]]


class Ring:
    """The mean of what was put into each step."""

    def __init__(self, step_us: int, size: int, width: int) -> None:
        self.step_us = step_us
        self.size = size
        self._columns = [array("f", [NAN]) * size for _ in range(width)]
        self._slot = _NEVER
        self._sums = [0.0] * width
        self._counts = [0] * width

    def state(self) -> RingState:
        return RingState(self.step_us, self._slot, self._sums, self._counts, self._columns)

    def restore(self, state: RingState) -> None:
        """Go on from the state of a ring of this shape."""
        self._slot = state.slot
        self._sums, self._counts, self._columns = list(state.sums), list(state.counts), list(state.columns)

    def put(self, at_us: int, values: Sequence[float]) -> None:
        """Times never go back."""
        slot = at_us // self.step_us
        if slot > self._slot:
            self._clear(slot)
        place = slot % self.size
        for at, value in enumerate(values):
            if not math.isnan(value):
                self._sums[at] += value
                self._counts[at] += 1
                self._columns[at][place] = self._sums[at] / self._counts[at]

    def last(self, until_slot: int, steps: int) -> list[list[float]]:
        """The last steps of each column up to `until_slot` inclusive; what lies ahead of the newest is a gap."""
        oldest = self._slot - self.size + 1
        slots = range(until_slot - steps + 1, until_slot + 1)
        return [
            [column[slot % self.size] if oldest <= slot <= self._slot else NAN for slot in slots]
            for column in self._columns
        ]

    def newest(self, now_us: int) -> int:
        """The slot to end with: that of now, or the one before while it has none."""
        slot = now_us // self.step_us
        return self._slot if self._slot == slot - 1 else slot

    def _clear(self, slot: int) -> None:
        """Begin a slot; those that were passed over stay gaps."""
        first = max(self._slot + 1, slot - self.size + 1)
        for column in self._columns:
            for passed in range(first, slot + 1):
                column[passed % self.size] = NAN
        self._slot = slot
        self._sums = [0.0] * len(self._columns)
        self._counts = [0] * len(self._columns)


class History:
    def __init__(self) -> None:
        self._rings = [Ring(step_us, size, len(SERIES)) for step_us, size in RINGS]

    def states(self) -> list[RingState]:
        """Of all rings, the finest first; good until the next record()."""
        return [ring.state() for ring in self._rings]

    def restore(self, states: Sequence[RingState]) -> None:
        for ring, state in zip(self._rings, states, strict=True):
            ring.restore(state)

    def record(self, sample: Resources, running: int, now_us: int) -> None:
        """`now_us` is the boot clock."""
        values = values_of(sample, running)
        for ring in self._rings:
            ring.put(now_us, values)

    def curve(self, span_us: int, points: int, now_us: int) -> Curve:
        """The finest ring that reaches back `span_us`, in `points` steps at most; 0 = as it is kept."""
        span_us = min(max(span_us, 0), SPAN_LIMIT_US)
        ring = next((one for one in self._rings if one.step_us * one.size >= span_us), self._rings[-1])
        steps = min(ring.size, -(-span_us // ring.step_us))
        group = -(-steps // points) if points else 1
        # Groups are counted from boot as slots are, so that a curve moves by whole steps.
        until_slot = ring.newest(now_us) // group * group + group - 1
        columns = ring.last(until_slot, -(-steps // group) * group)
        if group > 1:
            columns = [_means(column, group) for column in columns]
        step_us = ring.step_us * group
        return Curve(step_us, (until_slot + 1) * ring.step_us, columns)


def values_of(sample: Resources, running: int) -> list[float]:
    """In the order of SERIES."""
    busy = [gpu.utilisation_percent for gpu in sample.gpus if gpu.HasField("utilisation_percent")]
    gpu_total = sum(gpu.memory_total_bytes for gpu in sample.gpus)
    gpu_used = sum(gpu.memory_used_bytes for gpu in sample.gpus)
    return [
        sample.cpu_percent if sample.cores else NAN,
        _used_percent(sample.memory_total_bytes, sample.memory_total_bytes - sample.memory_available_bytes),
        _used_percent(sample.disk_total_bytes, sample.disk_total_bytes - sample.disk_free_bytes),
        sample.disk_io_percent if sample.HasField("disk_queue") else NAN,
        sample.rx_bytes_per_s,
        sample.tx_bytes_per_s,
        sum(busy) / len(busy) if busy else NAN,
        _used_percent(gpu_total, gpu_used),
        sample.temperature_celsius if sample.HasField("temperature_celsius") else NAN,
        float(running),
    ]


def _used_percent(total: int, used: int) -> float:
    return 100.0 * used / total if total > 0 else NAN


def _means(column: Sequence[float], group: int) -> list[float]:
    return [_mean(column[at : at + group]) for at in range(0, len(column), group)]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else NAN
