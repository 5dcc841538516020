"""A command's two streams on their way to the driver's own, unchanged, with a bounded buffer for each."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterable
from contextlib import suppress

CHUNK_BYTES = 64 * 1024
LINE_BYTES = 16 * 1024
_HEAD_BYTES = 512


class Stream:
    """From `source`, a pipe, to `sink`. `see` gets whole lines while it is set; longer ones are cut."""

    def __init__(self, source: int, sink: int, see: Callable[[bytes], None] | None) -> None:
        os.set_blocking(source, False)
        os.set_blocking(sink, False)
        self.source = source
        self.sink = sink
        self.see = see
        self.head = b""
        """How it began."""
        self._buffer = b""
        self._line = b""

    def wants(self) -> tuple[int, int] | None:
        """What it waits for: a descriptor and an event of it; None when it is over."""
        if self._buffer:
            return self.sink, select.POLLOUT
        return (self.source, select.POLLIN) if self.source >= 0 else None

    def move(self) -> bool:
        """Take or hand on what goes without waiting. Whether it may go on at once."""
        if self._buffer:
            return self._hand_on()
        if self.source < 0:
            return False
        try:
            self._buffer = os.read(self.source, CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not self._buffer:
            self.close()
            return False
        if len(self.head) < _HEAD_BYTES:
            self.head = (self.head + self._buffer)[:_HEAD_BYTES]
        if self.see is not None:
            self._look(self._buffer)
        return self._hand_on()

    def close(self) -> None:
        if self.source >= 0:
            os.close(self.source)
            self.source = -1

    def flush(self) -> None:
        """Hand on all that waits; takes as long as the reader does."""
        with suppress(OSError):
            os.set_blocking(self.sink, True)
        while self._buffer:
            self._hand_on()

    def _hand_on(self) -> bool:
        try:
            self._buffer = self._buffer[os.write(self.sink, self._buffer) :]
        except BlockingIOError:
            return False
        except OSError:
            # Nobody reads any more: the command must not be stopped by that.
            self._buffer = b""
        return True

    def _look(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = self._line + lines[0]
            self._line = b""
        for line in lines:
            if self.see is None:
                return
            self.see(line[:LINE_BYTES].rstrip(b"\r"))
        self._line = (self._line + rest)[:LINE_BYTES]


def drain(streams: Iterable[Stream]) -> None:
    """Take what the command left in its pipes, at most their largest capacity each, and close them."""
    for stream in streams:
        for _ in range(32):
            stream.flush()
            if not stream.move():
                break
        stream.flush()
        stream.close()
