"""Writes to the terminal beside the event loop, and tells when it was taken."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

CHUNK_BYTES = 4096
"""Written at once, so that it shows how far a slow terminal is."""
LEAVE_S = 2.0
"""For what is still to be written when the console ends; a terminal that takes nothing is left."""


class Writer(threading.Thread):
    """A queue without end that never blocks who writes; what is painted is bounded by tui.tty.pace.

    `taken` is called from this thread after each piece that was marked, `gone` once when the terminal is no more.
    """

    def __init__(self, fileno: int, taken: Callable[[], None], gone: Callable[[], None]) -> None:
        super().__init__(daemon=True, name="console-writer")
        self._fileno = fileno
        self._taken = taken
        self._gone = gone
        self._pieces: deque[tuple[bytes, bool]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self.dead = False

    def write(self, text: str, *, marked: bool = False) -> None:
        with self._changed:
            if not self.dead:
                self._pieces.append((text.encode("utf-8", "replace"), marked))
                self._changed.notify()

    def flush(self) -> None:
        """Everything is written as soon as it can be."""

    def stop(self) -> None:
        """Write what is left, as far as the terminal takes it in time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self.join(LEAVE_S)

    def run(self) -> None:
        while True:
            with self._changed:
                while not self._pieces and not self._closing:
                    self._changed.wait()
                if not self._pieces:
                    return
                data, marked = self._pieces.popleft()
            try:
                for start in range(0, len(data), CHUNK_BYTES):
                    _write_all(self._fileno, data[start : start + CHUNK_BYTES])
            except OSError:
                with self._changed:
                    self.dead = True
                    self._pieces.clear()
                self._gone()
                return
            if marked:
                self._taken()


def _write_all(fileno: int, data: bytes) -> None:
    while data:
        data = data[os.write(fileno, data) :]
