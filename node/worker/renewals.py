"""Renewals of one session: which were sent with what, and from when acknowledged leases count."""

from __future__ import annotations

from dataclasses import dataclass

_KEPT = 64


@dataclass(frozen=True, slots=True)
class Sent:
    number: int
    sent_us: int  # boot clock
    fences: frozenset[int]


class Renewals:
    """Number 0 is the Hello. `leased_from_us` is when the newest acknowledged one was sent, None before."""

    def __init__(self, sent_us: int, fences: frozenset[int], version: int) -> None:
        self._sent = {0: Sent(0, sent_us, fences)}
        self._last = 0
        self._version = version
        self._acknowledged = -1
        self.leased_from_us: int | None = None

    @property
    def unacknowledged(self) -> bool:
        """Whether the last one still waits for its acknowledgement."""
        return self._acknowledged < self._last

    @property
    def last_sent_us(self) -> int:
        return self._sent[self._last].sent_us

    def next(self, sent_us: int, fences: frozenset[int], version: int) -> tuple[int, bool]:
        """Number of the renewal that is sent now, and whether its set is to be named."""
        changed = version != self._version
        self._version = version
        self._last += 1
        self._sent[self._last] = Sent(self._last, sent_us, fences)
        self._sent.pop(self._last - _KEPT, None)
        return self._last, changed

    def acknowledge(self, number: int) -> Sent | None:
        """The renewal that is acknowledged; None for one that is unknown or older than another acknowledged."""
        sent = self._sent.get(number)
        if sent is None or number <= self._acknowledged:
            return None
        self._acknowledged = number
        self._sent = {each: value for each, value in self._sent.items() if each >= number}
        self.leased_from_us = sent.sent_us
        return sent
