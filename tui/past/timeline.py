"""The kept past as a line that is scrubbed along: its window, steps and where things happened. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import log2

from tui.drawing.draw import Cell, Glyphs, Span, cell_width
from tui.past.moments import Moment, clock_of

STEPS = 48
"""Into which the window is cut; `[` and `]` go one of them."""
ZOOMS_US: tuple[int, ...] = (0, 21_600_000_000, 3_600_000_000, 600_000_000, 60_000_000)
"""Lengths of the window; 0 = all that is kept."""
_LEAST_US = 1_000_000


@dataclass(frozen=True)
class Timeline:
    """From the oldest kept moment to that of the last look at now. All times are leader time, unix microseconds."""

    oldest: Moment
    now_us: int
    begin_us: int = 0
    end_us: int = 0
    zoom: int = 0
    """Which of ZOOMS_US."""
    known: Sequence[tuple[int, int]] = field(default=())
    """Times and the log index that each stands for, ascending."""

    @property
    def step_us(self) -> int:
        return max(1, (self.end_us - self.begin_us) // STEPS)

    def around(self, at_us: int, zoom: int | None = None) -> Timeline:
        """With a window that has `at_us`; the same one where it has it already and the zoom does not change."""
        wanted = self.zoom if zoom is None else zoom % len(ZOOMS_US)
        if wanted == self.zoom and self.end_us and self.begin_us <= at_us <= self.end_us:
            return self
        whole_us = max(_LEAST_US, self.now_us - self.oldest.at_us)
        length_us = min(whole_us, ZOOMS_US[wanted] or whole_us)
        begin_us = max(self.oldest.at_us, min(at_us - length_us // 2, self.now_us - length_us))
        return replace(self, zoom=wanted, begin_us=begin_us, end_us=begin_us + length_us)

    def zoomed(self, at_us: int) -> Timeline:
        """With the next shorter window, or the whole after the shortest; those that are no shorter are left out."""
        zoom = self.zoom
        while True:
            zoom = (zoom + 1) % len(ZOOMS_US)
            if not zoom or ZOOMS_US[zoom] < self.now_us - self.oldest.at_us:
                return self.around(at_us, zoom)

    def stepped(self, at_us: int, steps: int) -> int:
        """The time so many steps on, within what is kept."""
        return min(self.now_us, max(self.oldest.at_us, at_us + steps * self.step_us))

    def unknown(self) -> list[int]:
        """Ends of the window's steps whose log index is not known yet, the latest first."""
        known = {at_us for at_us, _ in self.known}
        return [at_us for at_us in reversed(self._ends()) if at_us not in known]

    def with_index(self, at_us: int, index: int) -> Timeline:
        return replace(self, known=sorted({**dict(self.known), at_us: index}.items()))

    def _ends(self) -> list[int]:
        length_us = self.end_us - self.begin_us
        return [self.begin_us + length_us * number // STEPS for number in range(STEPS + 1)]

    def entries(self) -> list[int | None]:
        """How many log entries each step of the window has; None where that is not known."""
        index = dict(self.known)
        ends = self._ends()
        return [
            max(0, index[ends[at + 1]] - index[ends[at]]) if ends[at] in index and ends[at + 1] in index else None
            for at in range(STEPS)
        ]

    def step_of(self, at_us: int) -> int:
        """Which step of the window a time lies in."""
        return min(STEPS - 1, max(0, bisect_right(self._ends(), at_us) - 1))


def scrub_line(line: Timeline, at_us: int, held_us: int, loading: str, glyphs: Glyphs, width: int) -> Cell:
    """Where the shown moment lies among all that are kept, and where much happened. `held_us` 0 = none is held."""
    left: list[Span] = [(f" {clock_of(line.begin_us)} ", "dim")]
    at_now = line.end_us >= line.now_us
    right: list[Span] = [(" now " if at_now else f" {clock_of(line.end_us)} ", "dim")]
    right.append((f" {loading} ", "wait") if loading else (f" step {_length(line.step_us)} ", "dim"))
    room = width - cell_width(tuple(left)) - cell_width(tuple(right))
    if room < STEPS // 4:
        right, room = [], width - cell_width(tuple(left))
    return (*left, *_bar(line, at_us, held_us, glyphs, max(1, room)), *right)


def _bar(line: Timeline, at_us: int, held_us: int, glyphs: Glyphs, room: int) -> list[Span]:
    wide = max(1, room // STEPS)
    cells = min(room, STEPS * wide)
    entries = line.entries()
    most = max((count or 0 for count in entries), default=0)
    spans: list[Span] = []
    marks = [(line.step_of(at_us), glyphs.thumb, "accent")]
    if held_us and line.begin_us <= held_us <= line.end_us:
        marks.append((line.step_of(held_us), glyphs.mark, "warn"))
    places = {
        min(cells - 1, (step * cells + cells // 2) // STEPS): (text, role) for step, text, role in marks[::-1]
    }
    for cell in range(cells):
        if cell in places:
            spans.append(places[cell])
            continue
        first = cell * STEPS // cells
        counts = entries[first : max(first + 1, (cell + 1) * STEPS // cells)]
        spans.append(_level([count for count in counts if count is not None], most, glyphs))
    return spans


def _level(counts: Sequence[int], most: int, glyphs: Glyphs) -> Span:
    """How much happened, by its order of magnitude; a gap where that is not known."""
    if not counts:
        return (" ", "track")
    count = max(counts)
    if not count:
        return (glyphs.bar_rest, "track")
    top = len(glyphs.sparks) - 1
    return (glyphs.sparks[round(top * log2(1 + count) / log2(1 + most)) if most else 0], "busy")


def _length(length_us: int) -> str:
    seconds = length_us / 1_000_000
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 100:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 6000 else f"{seconds / 3600:.0f}h"
