"""A day of a node in three rings: means, gaps, and what a curve of so many points shows."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import pytest

from cortex.v1.types_pb2 import Gpu, Resources
from node.worker.resources.history import RINGS, SERIES, SPAN_LIMIT_US, History, Ring, values_of

SECOND = 1_000_000
NAN = math.nan


def same(values: Sequence[float], expected: Sequence[float]) -> bool:
    return [round(v, 3) if v == v else None for v in values] == [v if v == v else None for v in expected]


def test_a_step_is_the_mean_of_what_came_in_it_and_a_passed_one_is_a_gap() -> None:
    ring = Ring(10, 4, 2)
    ring.put(100, [1, NAN])
    ring.put(105, [3, 8])
    ring.put(120, [5, NAN])
    one, other = ring.last(12, 4)
    assert same(one, [NAN, 2, NAN, 5])
    assert same(other, [NAN, 8, NAN, NAN])
    assert same(ring.last(14, 4)[0], [NAN, 5, NAN, NAN])


def test_a_ring_forgets_what_is_older_than_it_is_long() -> None:
    ring = Ring(1, 3, 1)
    for at in range(5):
        ring.put(at, [at])
    assert same(ring.last(4, 5)[0], [NAN, NAN, 2, 3, 4])
    ring.put(1000, [7])  # asleep in between
    assert same(ring.last(1000, 3)[0], [NAN, NAN, 7])


def test_a_clock_that_stands_puts_all_into_one_step() -> None:
    ring = Ring(10, 3, 1)
    for value in (1, 2, 6):
        ring.put(5, [value])
    assert same(ring.last(0, 1)[0], [3])


def sample(cpu: float) -> Resources:
    return Resources(cpu_percent=cpu, cores=4)


def cpu(history: History, span_us: int, points: int, now_us: int) -> tuple[int, int, Sequence[float]]:
    curve = history.curve(span_us, points, now_us)
    return curve.step_us, curve.until_us, curve.columns[SERIES.index("cpu")]


def test_the_finest_ring_that_reaches_back_far_enough_answers() -> None:
    history = History()
    begin = 10**12
    for second in range(700):
        history.record(sample(float(second)), 0, begin + second * SECOND)
    now_us = begin + 699 * SECOND
    step_us, until_us, fine = cpu(history, 600 * SECOND, 0, now_us)
    assert (step_us, until_us, len(fine)) == (SECOND, now_us + SECOND, 600)
    assert same(fine, list(range(100, 700)))
    step_us, _, middle = cpu(history, 7200 * SECOND, 0, now_us)
    assert (step_us, len(middle)) == (10 * SECOND, 720)
    assert same(middle[-3:], [674.5, 684.5, 694.5])
    assert math.isnan(middle[-71])
    step_us, _, coarse = cpu(history, SPAN_LIMIT_US, 0, now_us)
    assert (step_us, len(coarse)) == (60 * SECOND, 1440)
    assert same(coarse[-1:], [689.5])  # 680 to 699: the minute lasts


@pytest.mark.parametrize(("points", "step_s", "count"), [(60, 10, 60), (7, 86, 7), (600, 1, 600), (1000, 1, 600)])
def test_a_curve_has_so_many_points_at_most(points: int, step_s: int, count: int) -> None:
    history = History()
    for second in range(600):
        history.record(sample(50.0), 0, 10**12 + second * SECOND)
    step_us, _, values = cpu(history, 600 * SECOND, points, 10**12 + 599 * SECOND)
    assert (step_us, len(values)) == (step_s * SECOND, count)
    assert same([value for value in values if value == value][-5:], [50.0] * 5)


def test_a_node_that_stopped_measuring_has_a_growing_gap() -> None:
    history = History()
    history.record(sample(10.0), 0, 10 * SECOND)
    for now_s, expected in ((10, [10]), (11, [10]), (12, [NAN]), (13, [NAN])):
        _, _, values = cpu(history, SECOND, 0, now_s * SECOND)
        assert same(values, expected), now_s
    assert same(cpu(history, 4 * SECOND, 0, 12 * SECOND)[2], [NAN, 10, NAN, NAN])


def test_what_is_not_measured_is_no_zero() -> None:
    named = dict(zip(SERIES, values_of(Resources(), 0), strict=True))
    assert [name for name, value in named.items() if not math.isnan(value)] == ["rx", "tx", "running"]
    full = Resources(
        cores=2,
        memory_total_bytes=100,
        memory_available_bytes=25,
        disk_queue=0,
        gpus=[
            Gpu(utilisation_percent=40, memory_total_bytes=10, memory_used_bytes=1),
            Gpu(memory_total_bytes=10, memory_used_bytes=4),
        ],
    )
    named = dict(zip(SERIES, values_of(full, 3), strict=True))
    assert (named["cpu"], named["memory"], named["io"], named["running"]) == (0, 75, 0, 3)
    assert (named["gpu"], named["gpu_memory"]) == (40, 25)  # one whose use is not measured counts for nothing
    assert math.isnan(named["temperature"])


def test_memory_is_bounded() -> None:
    columns = [column for ring in History()._rings for column in ring._columns]
    assert len(columns) == len(RINGS) * len(SERIES)
    assert sum(map(sys.getsizeof, columns)) < 120_000
