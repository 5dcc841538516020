"""The lines of a task's output, as they come in pieces of two streams. Pure."""

from __future__ import annotations

import codecs
from collections import deque
from dataclasses import dataclass

from tui.drawing.text import clean, width_of

MAX_LINES = 20_000
MAX_LINE_CHARS = 4096

STDOUT, STDERR, NOTE = 1, 2, 0


@dataclass(slots=True)
class OutputLine:
    stream: int
    """STDOUT, STDERR, or NOTE for what the console itself says."""
    raw: str
    open: bool = True


class OutputBuffer:
    """The last lines of both streams in the order they came; older ones are dropped and counted."""

    def __init__(self, *, ascii_only: bool = False, max_lines: int = MAX_LINES) -> None:
        self.ascii_only = ascii_only
        self._max_lines = max_lines
        self._lines: deque[OutputLine] = deque()
        self._open: dict[int, OutputLine] = {}
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}
        self.dropped = 0
        """Lines no longer kept."""
        self.version = 0
        """Grows with every change."""
        self.longest = 0
        """Cells of the longest line so far."""

    def __len__(self) -> int:
        return len(self._lines)

    def clear(self) -> None:
        self._lines.clear()
        self._open.clear()
        self._decoders.clear()
        self.dropped = 0
        self.longest = 0
        self.version += 1

    def append(self, stream: int, data: bytes) -> None:
        """Add bytes of one stream; a line or character cut at their end goes on with the next."""
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        pieces = decoder.decode(data).split("\n")
        for at, piece in enumerate(pieces):
            last = at == len(pieces) - 1
            if piece or not last:
                self._extend(stream, piece)
            if not last:
                line = self._open.pop(stream, None)
                if line is not None:
                    line.open = False
        self.version += 1

    def note(self, text: str) -> None:
        """A line of the console's own."""
        self._add(OutputLine(NOTE, text, open=False))
        self.version += 1

    def line(self, number: int) -> tuple[int, str]:
        """Stream and cleaned text of a line, from 0 for the oldest that is kept."""
        line = self._lines[number]
        return line.stream, self._shown(line)

    def find(self, needle: str, start: int, step: int) -> int | None:
        """The next line from `start` on, going `step` and around the end, that contains the text in any case."""
        needle = needle.lower()
        count = len(self._lines)
        for offset in range(count):
            number = (start + offset * step) % count
            if needle in self._shown(self._lines[number]).lower():
                return number
        return None

    def _shown(self, line: OutputLine) -> str:
        return clean(_overwritten(line.raw), ascii_only=self.ascii_only)

    def _extend(self, stream: int, piece: str) -> None:
        line = self._open.get(stream)
        if line is None:
            line = self._open[stream] = OutputLine(stream, "")
            self._add(line)
        line.raw = _bounded(line.raw + piece)
        while len(line.raw) > MAX_LINE_CHARS:
            line.raw, rest = line.raw[:MAX_LINE_CHARS], line.raw[MAX_LINE_CHARS:]
            line.open = False
            line = self._open[stream] = OutputLine(stream, rest)
            self._add(line)
        self.longest = max(self.longest, width_of(self._shown(line)))

    def _add(self, line: OutputLine) -> None:
        self._lines.append(line)
        self.longest = max(self.longest, width_of(self._shown(line)))
        if len(self._lines) > self._max_lines:
            self._lines.popleft()
            self.dropped += 1


def _bounded(raw: str) -> str:
    """A line drawn over and over keeps only what shows."""
    return _overwritten(raw) + ("\r" if raw.endswith("\r") else "") if len(raw) > MAX_LINE_CHARS else raw


def _overwritten(raw: str) -> str:
    """What is left of a line after its carriage returns, as a terminal would show a progress bar."""
    return raw.rstrip("\r").rpartition("\r")[2] if "\r" in raw else raw
