"""The line of moments: windows, steps, what is known of them, and how it is drawn."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tui.drawing.draw import ASCII, UNICODE, cell_width, plain
from tui.past.moments import Moment
from tui.past.timeline import STEPS, ZOOMS_US, Timeline, scrub_line

HOUR_US = 3_600_000_000
NOW_US = 1_700_000_000_000_000
OLDEST = Moment(index=10, at_us=NOW_US - 24 * HOUR_US)
DAY = Timeline(OLDEST, NOW_US).around(NOW_US)


def test_the_whole_first_then_shorter_ones_around_the_moment() -> None:
    assert (DAY.begin_us, DAY.end_us) == (OLDEST.at_us, NOW_US)
    assert DAY.step_us == HOUR_US // 2
    at_us = NOW_US - 12 * HOUR_US
    lengths = []
    line = DAY
    for _ in range(len(ZOOMS_US)):
        line = line.zoomed(at_us)
        assert line.begin_us <= at_us <= line.end_us
        lengths.append(line.end_us - line.begin_us)
    assert lengths == [*ZOOMS_US[1:], 24 * HOUR_US]


def test_a_short_past_has_no_longer_line_than_itself() -> None:
    line = Timeline(Moment(index=1, at_us=NOW_US - 30_000_000), NOW_US).around(NOW_US)
    assert line.zoomed(NOW_US).end_us - line.zoomed(NOW_US).begin_us == 30_000_000
    nothing = Timeline(Moment(at_us=NOW_US), NOW_US).around(NOW_US)
    assert nothing.step_us > 0
    assert nothing.stepped(NOW_US, -10) == NOW_US


def test_the_window_goes_along_where_the_moment_leaves_it() -> None:
    line = DAY.around(NOW_US, 2)
    inside = NOW_US - HOUR_US // 2
    assert line.around(inside) is line
    outside = NOW_US - 5 * HOUR_US
    moved = line.around(outside)
    assert moved.begin_us <= outside <= moved.end_us
    assert moved.end_us - moved.begin_us == HOUR_US


def test_what_happened_is_told_by_the_log_indexes() -> None:
    line = DAY
    assert line.entries() == [None] * STEPS
    for number, at_us in enumerate(reversed(line.unknown())):
        line = line.with_index(at_us, 100 if number < 10 else 700)
    assert line.unknown() == []
    assert line.entries() == [600 if step == 9 else 0 for step in range(STEPS)]
    drawn = plain(scrub_line(line, NOW_US, 0, "", UNICODE, 80))
    assert drawn.count("█") == 1
    assert drawn.index("┃") > drawn.index("█")


@settings(max_examples=100, deadline=None)
@given(
    width=st.integers(1, 300),
    back_us=st.integers(0, 24 * HOUR_US),
    held_us=st.integers(0, 24 * HOUR_US),
    zoom=st.integers(0, 9),
    steps=st.integers(-100, 100),
)
def test_it_fits_shows_the_moment_and_never_leaves_what_is_kept(
    width: int, back_us: int, held_us: int, zoom: int, steps: int
) -> None:
    at_us = NOW_US - back_us
    line = DAY.around(at_us, zoom)
    assert OLDEST.at_us <= line.begin_us <= at_us <= line.end_us <= NOW_US
    assert OLDEST.at_us <= line.stepped(at_us, steps) <= NOW_US
    for glyphs in (UNICODE, ASCII):
        cell = scrub_line(line, at_us, NOW_US - held_us, "", glyphs, width)
        assert cell_width(cell) <= max(width, 11)
        assert glyphs.thumb in plain(cell)
        assert glyphs is UNICODE or plain(cell).isascii()
