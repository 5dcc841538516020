"""Leader time never goes back, never stands still, and does not follow a lone clock that jumps."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from node.leader_time import LeaderTime

SECOND = 1_000_000
THREE = ("n1", "n2", "n3")


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
    time = LeaderTime(clock, voters=lambda: THREE)
    time.applied(clock.wall)
    clock.wall -= 3600 * SECOND
    clock.boot += 2 * SECOND
    assert time.now_us() == 1_002 * SECOND


def test_readings_do_not_go_back_with_a_clock_that_was_followed() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=lambda: THREE)
    time.applied(clock.wall)
    clock.wall += 20 * SECOND
    assert time.now_us() == 1_020 * SECOND
    clock.wall -= 20 * SECOND
    clock.boot += SECOND
    assert time.now_us() == 1_021 * SECOND, "it goes on from where it was, by the boot clock"
    assert time.stamp_us() == 1_021 * SECOND


def test_a_majority_that_changes_its_mind_does_not_take_time_back() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=lambda: THREE)
    time.applied(clock.wall)
    clock.wall += 3600 * SECOND
    time.observe("n2", clock.wall)
    assert time.now_us() == clock.wall
    time.observe("n2", clock.wall - 3600 * SECOND)
    time.observe("n3", clock.wall - 3600 * SECOND)
    clock.pass_(SECOND)
    assert time.now_us() == clock.wall
    assert time.distrusts_wall


def test_a_second_jump_is_measured_from_the_last_entry_not_from_the_first_jump() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=lambda: THREE)
    time.applied(clock.wall)
    clock.wall += 20 * SECOND
    assert time.now_us() == 1_020 * SECOND
    clock.wall += 20 * SECOND
    assert time.now_us() == 1_020 * SECOND
    assert time.distrusts_wall


def test_what_a_follower_made_of_its_own_clock_does_not_outlive_the_leaders_next_entry() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=lambda: THREE)
    time.applied(clock.wall)
    clock.wall += 25 * SECOND
    assert time.now_us() == 1_025 * SECOND
    clock.wall -= 25 * SECOND
    time.applied(clock.wall + 1)
    assert time.now_us() == 1_000 * SECOND + 1


def test_the_first_stamp_of_a_leader_is_later_than_the_last_entry_of_the_one_before() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=lambda: THREE)
    time.applied(1_010 * SECOND)
    assert time.stamp_us() == 1_010 * SECOND + 1


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(("wall", "boot", "observe", "read", "stamp", "apply")),
            st.integers(-40, 40),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_never_back_and_never_still_whatever_the_clocks_do(steps: list[tuple[str, int, bool]]) -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=lambda: THREE)
    last, last_boot, stamped = 0, clock.boot, 0
    for kind, amount, first in steps:
        if kind == "wall":
            clock.wall += amount * SECOND
        elif kind == "boot":
            clock.boot += abs(amount) * SECOND
        elif kind == "observe":
            time.observe("n2" if first else "n3", clock.wall + amount * SECOND)
        elif kind == "apply":
            time.applied(stamped)
        elif kind == "stamp":
            stamp = time.stamp_us()
            assert stamp > stamped
            stamped = stamp
        else:
            now = time.now_us()
            assert now >= last + clock.boot - last_boot
            last, last_boot = now, clock.boot


def test_stamps_are_strictly_later() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=lambda: THREE[:1])
    stamps = [time.stamp_us() for _ in range(5)]
    assert stamps == sorted(set(stamps))


def test_a_jump_ahead_needs_a_majority() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=lambda: THREE)
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
    time = LeaderTime(clock, voters=lambda: THREE)
    time.applied(clock.wall)
    clock.wall += 30 * SECOND
    assert time.now_us() == clock.wall
    other = LeaderTime(clock, voters=lambda: THREE)
    other.applied(1_000 * SECOND)
    clock.wall += 1
    assert other.now_us() == 1_000 * SECOND


def test_a_jump_is_not_believed_by_what_was_heard_before_it() -> None:
    clock = HandClock()
    time = LeaderTime(clock, voters=lambda: THREE)
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
    time = LeaderTime(clock, voters=lambda: THREE)
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
