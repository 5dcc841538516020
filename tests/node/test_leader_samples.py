"""The record of what nodes measured: resolution, bounds, and that scores and filters see the same as then."""

from __future__ import annotations

import math

import pytest

from cortex.v1.types_pb2 import Gpu, Resources
from node.core.score import points
from node.leader.samples import (
    COARSE_LIMIT,
    COARSE_US,
    FINE_LIMIT,
    PLACED_US,
    Series,
    Then,
)

T0 = 1_700_000_000_000_000
SECOND = 1_000_000


def measured(available: int = 10**9, **fields: object) -> Resources:
    return Resources(
        memory_total_bytes=16 * 10**9,
        memory_available_bytes=available,
        disk_total_bytes=10**12,
        disk_free_bytes=3 * 10**11,
        **fields,  # type: ignore[arg-type]
    )


def test_a_record_scores_and_filters_as_what_was_measured() -> None:
    seen = measured(
        cpu_percent=12.5,
        disk_io_percent=25.0,
        rx_bytes_per_s=1e6,
        tx_bytes_per_s=2e6,
        link_bits_per_s=10**9,
        gpus=[Gpu(utilisation_percent=90, gaming=True), Gpu(utilisation_percent=40), Gpu(utilisation_percent=70)],
        gaming=True,
        interactive_owner=True,
    )
    series = Series()
    series.record(T0, Then(seen, 37, True))
    found = series.at(T0)
    assert found is not None
    assert (found.prefetch, found.reachable) == (37, True)
    then = found.resources
    assert then is not None
    assert points(then) == points(seen)
    assert len(then.gpus) == 3
    assert [gpu.gaming for gpu in then.gpus].count(True) == 1
    assert (then.gaming, then.interactive_owner) == (True, True)
    assert (then.memory_available_bytes, then.disk_free_bytes) == (10**9, 3 * 10**11)


def test_a_node_that_had_measured_nothing_yet_is_known_to_have_been_there() -> None:
    series = Series()
    series.record(T0, Then(None, 5, False))
    assert series.at(T0) == Then(None, 5, False)


@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf, 1e308])
def test_what_no_machine_measures_is_kept_as_well(wild: float) -> None:
    series = Series()
    series.record(
        T0, Then(measured(cpu_percent=wild, rx_bytes_per_s=wild, gpus=[Gpu(utilisation_percent=wild)]), 0, True)
    )
    found = series.at(T0)
    assert found is not None
    assert found.resources is not None
    assert points(found.resources).memory == points(measured()).memory


def test_the_nearest_record_within_ten_seconds_then_within_a_minute_then_none() -> None:
    series = Series()
    for second in range(0, 2 * 3600, 10):
        series.record(T0 + second * SECOND, Then(measured(second), 0, True))

    def available(second: float) -> int | None:
        found = series.at(T0 + int(second * SECOND))
        return found.resources.memory_available_bytes if found is not None and found.resources is not None else None

    last = 2 * 3600 - 10
    assert available(last) == last
    assert available(last - 4) == last
    assert available(last - 6) == last - 10
    assert available(last + 10) == last
    assert available(last + 61) is None
    assert available(15) == 10
    for second in range(2 * 3600, 4 * 3600, 10):
        series.record(T0 + second * SECOND, Then(measured(second), 0, True))
    assert available(3600 - 25) == 3600
    assert available(3600 - 35) == 3540
    assert available(-61) is None
    assert available(0) == 0


def test_a_day_is_bounded_in_memory_and_begins_where_it_should() -> None:
    series = Series()
    seconds = 30 * 3600
    for second in range(0, seconds, 10):
        series.record(T0 + second * SECOND, Then(measured(), 0, True))
    record = 73
    assert (len(series.fine), len(series.coarse)) == (FINE_LIMIT * record, COARSE_LIMIT * record)
    end_us = T0 + (seconds - 10) * SECOND
    assert series.at(end_us - 23 * 3600 * SECOND) is not None
    assert series.at(end_us - 25 * 3600 * SECOND) is None


def test_records_come_no_more_often_than_they_are_kept() -> None:
    series = Series()
    for tenth in range(700):
        series.record(T0 + tenth * SECOND // 10, Then(measured(), 0, True))
    assert len(series.fine) // 73 == 70 * SECOND // PLACED_US
    assert len(series.coarse) // 73 == -(-70 * SECOND // COARSE_US)
