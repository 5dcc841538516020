"""A program on a pseudo terminal of 200×50, with the time of every byte that it wrote."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

import pyte

WIDTH, HEIGHT = 200, 50
QUIET_S = 0.06
_ASKS_SYNC = b"\x1b[?2026$p"
_HAS_SYNC = b"\x1b[?2026;2$y"
_ASKS_PLACE = b"\x1b[6n"
_IS_AT = b"\x1b[1;1R"
FRAME_END = b"\x1b[?2026l"
# What pyte does not know and would print: modes that are asked for, and answers of the keyboard protocol.
_UNKNOWN = re.compile(rb"\x1b\[[>=<][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]*\$[a-z]|\x1b\[\?2026[hl]|\x1b\[6n")


class Terminal:
    """The program from its start on. `chunks` are what it wrote, with the monotonic second of their arrival."""

    def __init__(self, argv: Sequence[str], **environ: str) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (HEIGHT, WIDTH))
        self.chunks: list[tuple[float, bytes]] = []
        self._emulated = 0
        self._screen = pyte.Screen(WIDTH, HEIGHT)
        self._stream = pyte.ByteStream(self._screen)
        base = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.begun_s = time.monotonic()
        self.child = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=base | environ, start_new_session=True
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.child.terminate()
        self.child.wait()
        self._reader.join()
        os.close(self.master)

    def _read(self) -> None:
        while True:
            if not select.select([self.master], [], [], 0.05)[0]:
                if self.child.poll() is not None:
                    return
                continue
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:
                return
            self.chunks.append((time.monotonic(), data))
            if _ASKS_SYNC in data:
                os.write(self.master, _HAS_SYNC)
            os.write(self.master, _IS_AT * data.count(_ASKS_PLACE))

    def type(self, keys: bytes) -> float:
        """Returns the second at which they were sent."""
        at_s = time.monotonic()
        os.write(self.master, keys)
        return at_s

    def written(self, since: int = 0) -> int:
        """Bytes of the chunks from number `since` on."""
        return sum(len(data) for _, data in self.chunks[since:])

    def quiet(self, quiet_s: float = QUIET_S, timeout_s: float = 120.0) -> None:
        """Return when nothing was written for so long."""
        end = time.monotonic() + timeout_s
        while self.chunks and time.monotonic() - self.chunks[-1][0] < quiet_s:
            if time.monotonic() > end:
                raise TimeoutError("the program does not come to rest")
            time.sleep(quiet_s / 4)  # what is timed are the arrivals, which the reader notes

    def shown_at(self, shows: Callable[[list[str]], bool], timeout_s: float = 60.0) -> float:
        """The second at which the screen first shows something, as of the chunks not looked at yet."""
        end = time.monotonic() + timeout_s
        while True:
            while self._emulated < len(self.chunks):
                at_s = self._emulate()
                if shows(self._screen.display):
                    return at_s
            if time.monotonic() > end:
                raise TimeoutError("it is never shown:\n" + "\n".join(self._screen.display))
            time.sleep(0.001)  # the arrivals are timed by the reader, not here

    def lines(self) -> list[str]:
        """What the screen shows of all that has arrived."""
        while self._emulated < len(self.chunks):
            self._emulate()
        return list(self._screen.display)

    def _emulate(self) -> float:
        """One more chunk; returns the second at which it arrived."""
        at_s, data = self.chunks[self._emulated]
        self._emulated += 1
        self._stream.feed(_UNKNOWN.sub(b"", data))
        return at_s

    def frame_of(self, keys: bytes) -> tuple[float, int]:
        """Seconds from keys to the end of the first frame after them, and its bytes. Nothing else may paint."""
        self.quiet()
        before = len(self.chunks)
        begun_s = self.type(keys)
        while len(self.chunks) == before:
            if time.monotonic() - begun_s > 10:
                raise TimeoutError(f"nothing follows {keys!r}")
            time.sleep(0.0005)  # likewise
        self.quiet()
        at_s = next((at for at, data in self.chunks[before:] if FRAME_END in data), self.chunks[-1][0])
        return at_s - begun_s, self.written(before)


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]
