"""A log over requests that break off anywhere: each byte once."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from node.drivers.k8s.logs import PART_BYTES, Log

LINES = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 2), st.binary(max_size=8).map(lambda text: text.replace(b"\n", b" "))
    ),
    max_size=12,
)


def stamped(second: int, tenths: int, text: bytes) -> bytes:
    fraction = f".{tenths}" if tenths else ""
    return f"2026-01-01T00:00:0{second}{fraction}Z ".encode() + text


def served(lines: list[tuple[int, int, bytes]], since: str) -> bytes:
    """What an API answers: whole seconds are all it is asked for."""
    first = int(since[-3:-1]) if since else 0
    return b"".join(stamped(*line) + b"\n" for line in lines if line[0] >= first)


@settings(max_examples=100, deadline=None)
@given(lines=LINES, cuts=st.lists(st.integers(0, 400), max_size=6), size=st.integers(1, 50))
def test_each_byte_comes_once(lines: list[tuple[int, int, bytes]], cuts: list[int], size: int) -> None:
    lines = sorted(lines, key=lambda line: line[:2])
    log, out = Log(), b""
    for cut in [*cuts, 10_000]:
        log.resume()
        data = served(lines, log.since)[:cut]
        for at in range(0, len(data), size):
            out += log.feed(data[at : at + size])
    assert out + log.finish() == b"".join(text + b"\n" for _, _, text in lines)


def test_a_line_longer_than_a_part_goes_on_where_it_broke_off() -> None:
    long = bytes(range(97, 123)) * (3 * PART_BYTES // 26)
    whole = stamped(1, 0, b"short") + b"\n" + stamped(1, 5, long) + b"\n" + stamped(2, 0, b"end") + b"\n"
    log = Log()
    out = b""
    for cut in (PART_BYTES + 100, 2 * PART_BYTES + 7, len(whole)):
        log.resume()
        data = whole[:cut]
        for at in range(0, len(data), 10_000):
            out += log.feed(data[at : at + 10_000])
    assert out == b"short\n" + long + b"\nend\n"


def test_what_has_no_timestamp_is_passed_on() -> None:
    log = Log()
    log.resume()
    assert log.feed(b"unable to retrieve container logs\n") == b"unable to retrieve container logs\n"
    assert log.since == ""


def test_other_zones_and_nanoseconds_are_understood() -> None:
    log = Log()
    log.resume()
    assert log.feed(b"2026-01-01T02:00:03.000000001+02:00 a\n") == b"a\n"
    assert log.since == "2026-01-01T00:00:03Z"
    log.resume()
    again = b"2026-01-01T00:00:03.000000001Z a\n2026-01-01T00:00:03.000000002Z b\n"
    assert log.feed(again) == b"b\n"
    assert log.finish() == b""


def test_the_last_line_may_lack_its_end() -> None:
    log = Log()
    log.resume()
    assert log.feed(b"2026-01-01T00:00:03Z no end") == b""
    assert log.finish() == b"no end"
