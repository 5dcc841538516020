"""Leader time never goes back, never stands still, and does not follow a lone clock that jumps."""

from __future__ import annotations

from structlog.testing import capture_logs

from node.leader_time import LeaderTime

SECOND = 1_000_000


class HandClock:
    def __init__(self) -> None:
        self.wall = 1_000 * SECOND
        self.boot = 5 * SECOND

    def wall_us(self) -> int:
        return self.wall

    def boot_us(self) -> int:
        return self.boot

    def pass_(self, us: int) -> None:
        self.wall += us
        self.boot += us


def test_goes_on_when_the_wall_clock_goes_back() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=3)
    time.applied(clock.wall)
    clock.wall -= 3600 * SECOND
    clock.boot += 2 * SECOND
    assert time.now_us() == 1_002 * SECOND


def test_stamps_are_strictly_later() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=1)
    stamps = [time.stamp_us() for _ in range(5)]
    assert stamps == sorted(set(stamps))


def test_a_jump_ahead_needs_a_majority() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=3)
    time.applied(clock.wall)
    clock.wall += 3600 * SECOND
    time.observe("n2", clock.wall - 3600 * SECOND)
    time.observe("n3", clock.wall - 3600 * SECOND)
    assert time.now_us() == 1_000 * SECOND
    assert time.distrusts_wall
    time.observe("n2", clock.wall + 29 * SECOND)
    assert time.now_us() == clock.wall
    assert not time.distrusts_wall


def test_thirty_seconds_ahead_is_followed_alone() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=3)
    time.applied(clock.wall)
    clock.wall += 30 * SECOND
    assert time.now_us() == clock.wall
    clock.wall += 1
    assert time.now_us() == 1_000 * SECOND


def test_a_jump_is_not_believed_by_what_was_heard_before_it() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=3)
    time.applied(clock.wall)
    time.observe("n2", clock.wall)
    time.observe("n3", clock.wall)
    clock.pass_(SECOND)
    clock.wall += 3600 * SECOND
    assert time.stamp_us() == 1_001 * SECOND
    assert time.distrusts_wall
    time.observe("n2", clock.wall)
    assert time.now_us() == clock.wall


def test_a_distrusted_clock_is_told_once() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=3)
    time.applied(clock.wall)
    clock.wall += 3600 * SECOND
    with capture_logs() as logs:
        time.now_us()
        assert logs == [], "nobody was heard yet"
        time.observe("n2", 1_000 * SECOND)
        for _ in range(3):
            time.now_us()
        clock.wall -= 3600 * SECOND
        time.now_us()
    assert [(log["log_level"], log["event"]) for log in logs] == [
        ("error", "clock not followed"),
        ("info", "clock followed again"),
    ]
