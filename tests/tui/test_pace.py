"""How much is on its way to a terminal is bounded by what it takes, and live data leaves room for keys."""

from __future__ import annotations

import random
from collections import deque
from itertools import pairwise

import pytest

from tui.tty.pace import FIRST_AHEAD_BYTES, FIRST_FRAME_BYTES, INTERVALS_S, Pace


class Line:
    """A line of so many bytes a second, so many seconds there and back, and a terminal that answers."""

    def __init__(self, rate: float, trip_s: float) -> None:
        self.rate, self.trip_s = rate, trip_s
        self.pace = Pace()
        self.now_s = self.free_s = 100.0
        self.answers: deque[float] = deque()
        self.longest_s = 0.0
        self.frames = 0
        self.send(4)  # the first question
        self.go_on(2 * trip_s + 0.2)

    def send(self, size_bytes: int) -> None:
        self.free_s = max(self.free_s, self.now_s) + size_bytes / self.rate
        self.longest_s = max(self.longest_s, self.free_s - self.now_s)
        self.answers.append(self.free_s + self.trip_s)
        self.pace.sent(size_bytes, self.now_s)
        self.frames += 1

    def go_on(self, seconds: float, wanted_bytes: int = 0) -> None:
        """Live data would send so much at every tick."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 0.1
            while self.answers and self.answers[0] <= self.now_s:
                self.pace.taken(self.answers.popleft())
            if wanted_bytes and self.pace.due(self.now_s):
                self.send(min(wanted_bytes, self.pace.budget_bytes or wanted_bytes))


@pytest.mark.parametrize("trip_s", [0.0, 0.3, 1.0])
def test_on_a_thin_line_no_frame_waits_for_a_second(trip_s: float) -> None:
    line = Line(8000, trip_s)
    line.go_on(60, wanted_bytes=12_000)
    assert line.longest_s < 1.2
    assert line.pace.rate_bytes_per_s == pytest.approx(8000, rel=0.35)
    assert line.pace.interval_s in INTERVALS_S[2:]
    assert line.pace.said().startswith("link ")
    assert line.pace.said().endswith(" Hz")


def test_a_long_fast_line_is_not_slowed_down() -> None:
    line = Line(10_000_000, 0.3)
    line.go_on(30, wanted_bytes=4000)
    assert line.pace.interval_s == INTERVALS_S[0]
    assert line.pace.said() == ""
    assert line.frames > 250


def test_when_the_line_is_fast_again_so_is_the_console() -> None:
    line = Line(8000, 0.05)
    line.go_on(30, wanted_bytes=12_000)
    assert line.pace.interval_s > INTERVALS_S[0]
    line.rate = 1_000_000
    line.go_on(30, wanted_bytes=12_000)
    assert line.pace.interval_s == INTERVALS_S[0]


def test_small_frames_of_keys_need_not_wait_for_each_other() -> None:
    line = Line(8000, 0.3)
    line.go_on(20, wanted_bytes=6000)
    line.go_on(5)
    for _ in range(5):
        assert line.pace.may_paint(line.now_s)
        line.send(250)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_on_its_way_is_bounded(seed: int) -> None:
    chance = random.Random(seed)
    line = Line(chance.choice([2000, 8000, 50_000]), chance.choice([0.0, 0.3]))
    for _ in range(300):
        line.go_on(0.1 * chance.randrange(1, 5), wanted_bytes=chance.choice([0, 300, 12_000]))
        if line.pace.may_paint(line.now_s):
            line.send(min(chance.choice([30, 300, 9000]), line.pace.budget_bytes or 9000))
    assert line.pace.peak_bytes <= FIRST_AHEAD_BYTES + max(FIRST_FRAME_BYTES, 60_000 * 0.55)
    line.go_on(60)
    assert line.pace.outstanding_bytes == 0


def test_a_terminal_that_stops_answering_is_painted_all_the_same() -> None:
    pace = Pace()
    pace.sent(5000, 10.0)
    assert not pace.may_paint(15.0)
    assert pace.may_paint(21.0)
    pace.taken(30.0)  # a late answer is no harm
    assert pace.outstanding_bytes == 0


def test_live_data_leaves_a_frozen_line_alone_for_longer_and_longer() -> None:
    """sshd asks whether the other end lives only while nothing is written; as long as we write, it never ends."""
    line = Line(1_000_000, 0.05)
    line.go_on(10, wanted_bytes=500)
    frozen_s, sent_s = line.now_s, list[float]()
    line.answers.clear()
    while line.now_s < frozen_s + 600:
        line.now_s += 0.1
        if line.pace.due(line.now_s):
            line.pace.sent(500, line.now_s)
            sent_s.append(line.now_s)
    pauses = [round(later - earlier) for earlier, later in pairwise(sent_s) if later - earlier > 5]
    assert pauses[:4] == [10, 20, 40, 80]
    assert len([at_s for at_s in sent_s if at_s > frozen_s + 60]) < 150, "a few seconds' worth each time"


def test_a_frozen_line_that_answers_again_is_as_before() -> None:
    line = Line(1_000_000, 0.05)
    line.go_on(10, wanted_bytes=500)
    held = list(line.answers)
    line.answers.clear()
    for _ in range(400):
        line.now_s += 0.1
        if line.pace.due(line.now_s):
            held.append(line.now_s)
            line.pace.sent(500, line.now_s)
    for _ in held:
        line.pace.taken(line.now_s)
    line.free_s, before = line.now_s, line.frames
    line.go_on(5, wanted_bytes=500)
    assert line.frames - before > 40
    assert line.pace.outstanding_bytes <= 500
