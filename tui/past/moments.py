"""Moments of the past as people write and read them. Pure."""

from __future__ import annotations

from cortex.v1 import cluster_pb2
from tui.drawing.draw import clock
from tui.drawing.format import parse_time_us
from tui.drawing.text import clean

Moment = cluster_pb2.Moment
REMEDY = "Write an index as 1234, a time as 2026-01-31T12:00:00Z, or 30m for half an hour ago."


class MomentError(ValueError):
    """A text that names no moment: one sentence, and what to write instead."""

    def __init__(self, message: str, remedy: str = REMEDY) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def read_moment(text: str, now_us: int) -> Moment:
    """An index, a time, or how long before `now_us` (leader time, unix microseconds). Raises MomentError."""
    said = text.strip()
    if said.isdecimal() and 0 < len(said) <= 18 and int(said):
        return Moment(index=int(said))
    try:
        at_us = parse_time_us(said.removesuffix("ago").strip(), now_us)
    except ValueError:
        raise MomentError(f"{clean(text)!r} is no moment.") from None
    if at_us <= 0:
        raise MomentError("That lies before 1970.", "Name a moment of the last 24 hours.")
    return Moment(at_us=at_us)


def clock_of(at_us: int) -> str:
    """Time of day in UTC, to the second."""
    return clock(at_us)[:8]


def argument(moment: Moment) -> str:
    """As an option of the command line takes it."""
    from tui.drawing.format import rfc3339

    return str(moment.index) if moment.index else rfc3339(moment.at_us)
