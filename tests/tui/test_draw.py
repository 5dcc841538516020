"""Bars, sparklines and compact numbers keep their width and say no more than is known."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex.v1 import types_pb2
from tui.columns.base import Column, place
from tui.drawing.draw import (
    ASCII,
    NODE_WORDS,
    TASK_WORDS,
    UNICODE,
    age,
    averaged,
    bar,
    bytes_of,
    cell_width,
    clock,
    plain,
    span_of_time,
    sparkline,
    stacked,
    task_state,
)
from tui.drawing.text import width_of


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (0.9, "0s"),
        (99, "99s"),
        (100, "1m"),
        (5999, "99m"),
        (6000, "1h"),
        (172_799, "47h"),
        (172_800, "2d"),
    ],
)
def test_age(seconds: float, shown: str) -> None:
    assert age(int(seconds * 1e6)) == shown


@given(st.integers(-1, 10**18))
def test_ages_and_times_fit_their_columns(duration_us: int) -> None:
    assert len(age(duration_us)) <= 5
    assert len(span_of_time(min(duration_us, 86_400_000_000 * 90))) <= 6


@given(st.floats(0, 1e15))
def test_sizes_fit_five_cells(count: float) -> None:
    assert len(bytes_of(count)) <= 5


def test_clock() -> None:
    assert clock(1_750_000_000_123_456) == "15:06:40.123"


@given(st.floats(allow_nan=True, allow_infinity=False, width=32), st.floats(0, 1000), st.integers(0, 60))
@settings(max_examples=200)
def test_bars_fill_their_width(value: float, total: float, width: int) -> None:
    for glyphs in (UNICODE, ASCII):
        assert cell_width(bar(value, total, width, "ok", glyphs)) == width


@given(st.lists(st.floats(-50, 50), max_size=6), st.floats(1, 200), st.integers(0, 60))
def test_stacked_parts_fill_their_width(values: list[float], total: float, width: int) -> None:
    assert cell_width(stacked([(value, "ok") for value in values], total, width, UNICODE)) == width


def test_unknown_values_are_gaps() -> None:
    assert sparkline([0, None, 100, 50], 100, 6, UNICODE) == "  ▁ █▅"
    assert sparkline([None] * 9, 100, 4, UNICODE) == "    "
    assert sparkline([float("nan"), float("inf"), -5, 0], 100, 4, UNICODE) == " █▁▁"
    assert sparkline([5, None], 0, 2, UNICODE) == "▁ "


def test_every_state_has_a_word_and_its_own_glyph() -> None:
    states = [value for value in types_pb2.TaskState.values() if value]
    for glyphs in (UNICODE, ASCII):
        drawn = [plain(task_state(types_pb2.Task(state=state), glyphs)) for state in states]
        assert len({text[0] for text in drawn}) == len(states)
        assert all(len(text) > 4 for text in drawn)
    assert set(TASK_WORDS) == set(states)
    assert set(NODE_WORDS) == {value for value in types_pb2.NodeState.values() if value}


def test_every_glyph_is_one_cell() -> None:
    for glyphs in (UNICODE, ASCII):
        singles = [*glyphs.text.values(), *glyphs.sparks, glyphs.cursor, glyphs.mark, glyphs.leader, glyphs.none]
        singles += [
            glyphs.bar_full,
            glyphs.bar_half,
            glyphs.bar_rest,
            glyphs.thumb,
            glyphs.ascending,
            glyphs.stderr,
        ]
        assert {width_of(glyph) for glyph in singles} == {1}
    assert "".join(ASCII.text.values()).isascii()


def columns(*shapes: tuple[int, int, int]) -> list[Column[int]]:
    return [
        Column(f"c{at}", "T", width, lambda row, draw, cells: (), rank=rank, flex=flex)
        for at, (width, rank, flex) in enumerate(shapes)
    ]


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=8),
    st.integers(1, 120),
)
@settings(max_examples=200)
def test_columns_never_overlap(shapes: list[tuple[int, int, int]], width: int) -> None:
    placed = place(columns(*shapes), width)
    end = -1
    for item in placed:
        assert item.x > end
        assert item.width >= item.column.width
        end = item.x + item.width
    least = sum(item.column.width for item in placed) + len(placed) - 1
    assert end <= max(width, least)
    kept = {item.column.id for item in placed}
    assert all(f"c{at}" in kept for at, shape in enumerate(shapes) if shape[1] == 0)


def test_means_stand_still_while_values_come() -> None:
    values: list[float | None] = [float(number) for number in range(60)]
    whole = averaged(values[:20], 20, 4)
    assert whole == [1.5, 5.5, 9.5, 13.5, 17.5]
    for more in range(1, 4):
        assert averaged(values[: 20 + more], 20 + more, 4)[:5] == whole
    # One of the oldest is dropped: what is no longer whole is left out, the others stand.
    assert averaged(values[1:21], 21, 4) == [5.5, 9.5, 13.5, 17.5, 20.0]


def test_a_mean_of_what_is_half_unknown_is_a_gap() -> None:
    assert averaged([1.0, None, 3.0, 5.0, None, None, 1.0, 1.0, None], 9, 4) == [3.0, None, None]
    assert averaged([1.0, None, 3.0], 3, 1) == [1.0, None, 3.0]
