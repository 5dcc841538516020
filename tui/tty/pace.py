"""How fast the terminal takes what is painted, and when the next frame may follow. Pure.

Over a thin line bytes pile up in sockets that nobody sees, so a frame counts as shown when the terminal has
answered the question that was sent behind it. Times are monotonic seconds.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

INTERVALS_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Between two refreshes of live data; the first is the usual one."""
LEAST_AHEAD_BYTES = 1500
"""On their way at most when another frame is begun, so that keys are echoed although the way is long."""
FIRST_AHEAD_BYTES = 3000
"""The same before anything is known of the terminal: a first screen."""
FIRST_FRAME_BYTES = 4500
FRAME_S = 0.4
"""Of a thin line's time for one frame; what does not fit comes with the next."""
FAST_BYTES_PER_S = 200_000.0
AHEAD_S = 0.15
"""What a faster line may have on its way, in its own time."""
SHARE = 2.0
"""Live data leaves every other moment of the line to keys."""
TELLING_BYTES = 1400
"""From this size on a frame tells the rate."""
LEAST_DRAIN_S = 0.004
SILENT_S = 3.0
"""Without an answer for so long, live data waits: a link that froze must fall silent for sshd to find it dead."""
GIVE_UP_S = 10.0
"""A terminal that took everything and does not answer for so long may have lost the question: it is asked again."""
MOST_PATIENCE_S = 320.0
"""Each time in vain it is left alone for twice as long, up to here."""
MAX_FRAMES = 1000


@dataclass(frozen=True, slots=True)
class Frame:
    size_bytes: int
    sent_s: float


class Pace:
    """What is on its way to the terminal, and what follows of it for painting."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self.outstanding_bytes = 0
        self.peak_bytes = 0
        """Most that ever was on its way."""
        self.rate_bytes_per_s: float | None = None
        self._drain_s = 0.0
        self._trip_s = math.inf
        self._moved_s = 0.0
        self._patience_s = GIVE_UP_S
        self._refreshed_s = -math.inf
        self._level = 0

    def forget(self) -> None:
        """Another terminal, or the same after something else wrote to it."""
        self._frames.clear()
        self.outstanding_bytes = 0

    def sent(self, size_bytes: int, now_s: float) -> None:
        """A frame was handed over."""
        if len(self._frames) >= MAX_FRAMES:
            self.forget()
        if not self._frames:
            self._moved_s = now_s
        self._frames.append(Frame(size_bytes, now_s))
        self.outstanding_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.outstanding_bytes)

    def taken(self, now_s: float) -> None:
        """The terminal has the oldest frame that is on its way."""
        self._patience_s = GIVE_UP_S
        if not self._frames:
            return
        frame = self._frames.popleft()
        self.outstanding_bytes -= frame.size_bytes
        whole_s = max(0.0, now_s - frame.sent_s)
        if whole_s > SILENT_S and frame.size_bytes < TELLING_BYTES:
            # The line stood still, which is not the same as being slow.
            self._moved_s = now_s
            return
        behind = self._moved_s > frame.sent_s
        if frame.size_bytes < TELLING_BYTES and not behind:
            self._trip_s = min(self._trip_s * 1.05, whole_s)
        # Behind another frame the line was busy all the time; else the way there and back is no fault of the rate.
        trip_s = self._trip_s if math.isfinite(self._trip_s) else 0.0
        drain_s = max(0.0, whole_s - trip_s)
        if behind:
            drain_s = min(drain_s, now_s - self._moved_s)
        self._moved_s = now_s
        if frame.size_bytes >= TELLING_BYTES:
            rate = frame.size_bytes / max(drain_s, LEAST_DRAIN_S)
            known = self.rate_bytes_per_s
            self.rate_bytes_per_s = rate if known is None else known * 0.6 + rate * 0.4
        if self.rate_bytes_per_s:
            drain_s = frame.size_bytes / self.rate_bytes_per_s
        # Falls slowly: one small frame does not mean that the next is small.
        self._drain_s = max(drain_s, self._drain_s * 0.8)
        self._level = self._level_for(self._drain_s * SHARE)

    def _level_for(self, wanted_s: float) -> int:
        level = next((at for at, step in enumerate(INTERVALS_S) if wanted_s <= step), len(INTERVALS_S) - 1)
        # Once slower, it is faster again only when there is room to spare, so that the shown rate stands still.
        if level < self._level and wanted_s > INTERVALS_S[level] * 0.7:
            level += 1
        return level

    @property
    def interval_s(self) -> float:
        """Between two refreshes of live data."""
        return INTERVALS_S[self._level]

    def may_paint(self, now_s: float) -> bool:
        """Whether a frame may be begun: what a key changed, or what was put off."""
        if self._frames and now_s - max(self._moved_s, self._frames[-1].sent_s) > self._patience_s:
            self._patience_s = min(MOST_PATIENCE_S, 2 * self._patience_s)
            self.forget()
        if self.rate_bytes_per_s is None:
            return self.outstanding_bytes <= FIRST_AHEAD_BYTES
        return self.outstanding_bytes <= max(LEAST_AHEAD_BYTES, self.rate_bytes_per_s * AHEAD_S)

    @property
    def budget_bytes(self) -> int:
        """Most that a frame should have, so that the next is never far; 0 = no bound."""
        rate = self.rate_bytes_per_s
        if rate is None:
            return FIRST_FRAME_BYTES
        return 0 if rate >= FAST_BYTES_PER_S else max(LEAST_AHEAD_BYTES, int(rate * FRAME_S))

    def due(self, now_s: float) -> bool:
        """Whether live data may be refreshed now; if so, it counts as done."""
        thin = self._level > 0
        if not self.may_paint(now_s) or (thin and self._frames):
            return False
        if self._frames and now_s - max(self._moved_s, self._frames[0].sent_s) > SILENT_S:
            return False
        if thin and now_s - self._refreshed_s < self.interval_s * 0.95:
            return False
        self._refreshed_s = now_s
        return True

    def said(self) -> str:
        """`link 8 KB/s, 1 Hz` while live data is refreshed less often than usual; else empty."""
        if self._level == 0 or not self.rate_bytes_per_s:
            return ""
        rate = self.rate_bytes_per_s
        step = 10 ** math.floor(math.log10(max(rate, 1.0)))
        rounded = round(rate / step) * step
        shown = f"{rounded / 1000:.0f} KB/s" if rounded >= 1000 else f"{rounded:.0f} B/s"
        return f"link {shown}, {1 / self.interval_s:g} Hz"
