"""A container's log as one stream, over requests that break off: each line once. Pure.

The API is asked for timestamps. It can be asked to begin at a second, so after a break what came since that second
comes again: lines that are older than the last one are left out, and as many of its own instant as were seen.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

# Longer lines are passed on in parts.
PART_BYTES = 64 * 1024
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")
_STAMP_BYTES = 40

Instant = tuple[int, int]
"""Unix seconds and nanoseconds."""


class Log:
    def __init__(self) -> None:
        self._buffer = b""
        self._last: Instant | None = None  # of the newest line begun
        self._seen = 0  # lines of that instant that were begun
        self._passed_on = 0  # bytes of the newest line that are out; -1 = all of it
        self._again = 0  # after a break: lines of the last instant that came again
        self._skip = 0  # bytes of the present line that are out already; -1 = all of it
        self._inside = False  # of a line, past its timestamp
        self._resuming = False

    @property
    def since(self) -> str:
        """What to ask for after a break (sinceTime); empty = all of it."""
        if self._last is None:
            return ""
        return datetime.fromtimestamp(self._last[0], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def resume(self) -> None:
        """A new request begins, at `since`."""
        self._buffer = b""
        self._again = 0
        self._skip = 0
        self._inside = False
        self._resuming = self._last is not None

    def feed(self, chunk: bytes) -> bytes:
        """What is to be passed on now."""
        self._buffer += chunk
        out: list[bytes] = []
        while (end := self._buffer.find(b"\n")) >= 0:
            line, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
            out.append(self._piece(line))
            self._inside = False
        if len(self._buffer) >= PART_BYTES:
            out.append(self._piece(self._buffer))
            self._buffer = b""
            self._inside = True
        return b"".join(out)

    def finish(self) -> bytes:
        """The stream ended as it should: what had no line end."""
        rest, self._buffer = self._buffer, b""
        return self._piece(rest) if rest else b""

    def _piece(self, piece: bytes) -> bytes:
        """A line, or a part of one, without its timestamp and what is out already."""
        text = piece if self._inside else self._begin(piece)
        if self._skip:
            held = len(text) if self._skip < 0 else min(self._skip, len(text))
            if self._skip > 0:
                self._skip -= held
            text = text[held:]
        if self._skip == 0 and self._passed_on >= 0:
            self._passed_on = -1 if piece.endswith(b"\n") else self._passed_on + len(text)
        return text

    def _begin(self, piece: bytes) -> bytes:
        """The line after its timestamp; decides what of it is out already."""
        stamp = _STAMP.match(piece[:_STAMP_BYTES])
        if stamp is None:
            self._skip = 0  # no line of a container, such as what the kubelet itself says
            return piece
        instant = _instant(stamp)
        text = piece[stamp.end() :]
        self._skip = 0
        if self._resuming and self._last is not None and instant <= self._last:
            self._again += instant == self._last
            if instant < self._last or self._again < self._seen:
                self._skip = -1
                return text
            if self._again == self._seen:
                self._skip = self._passed_on
                return text
        self._resuming = False
        self._seen = self._seen + 1 if instant == self._last else 1
        self._last = instant
        self._passed_on = 0
        return text


def _instant(stamp: re.Match[bytes]) -> Instant:
    second, fraction, zone = stamp.groups()
    text = second.decode() + (zone.decode() if zone != b"Z" else "+00:00")
    return int(datetime.fromisoformat(text).timestamp()), int((fraction or b"0").ljust(9, b"0"))
