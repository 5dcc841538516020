"""The real console on a pseudo terminal: keys go in, and what a terminal emulator shows comes out."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping

import pyte

DEADLINE_S = 60.0
FRAME_END = b"\x1b[6n"
"""The question behind each frame, whether the terminal has it; this one never answers."""


class ConsoleTerminal:
    """`cortex console` in an emulated terminal of that size."""

    def __init__(self, environ: Mapping[str, str], size: tuple[int, int] = (120, 40)) -> None:
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._rest = b""
        self._master, self._slave = pty.openpty()
        termios.tcsetwinsize(self._slave, (size[1], size[0]))
        # pytest's workers say 80×24 there, which would count more than the terminal itself.
        kept = {name: value for name, value in environ.items() if name not in ("COLUMNS", "LINES")}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tui.cli", "console"],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env={**kept, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"},
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    def line_with(self, part: str) -> str:
        """The first line with that text; empty when there is none."""
        return next((line for line in self.text.splitlines() if part in line), "")

    def row_of(self, node: str) -> str:
        """The node's row of the nodes view; empty when there is none. The headline may name a node too."""
        return next((line for line in self.text.splitlines()[2:] if line[4:].startswith(f"{node} ")), "")

    def type(self, keys: str) -> None:
        """Press keys when all that has come is shown: what was there before is not taken for their answer."""
        while self._show_frame() or self._more(0):
            pass
        os.write(self._master, keys.encode())

    def until(self, shown: str | Callable[[], bool]) -> None:
        """Wait until a frame shows the text, or that holds of it, however soon the next one came."""
        deadline = time.monotonic() + DEADLINE_S
        holds = shown if callable(shown) else lambda: shown in self.text
        while not holds():
            assert self._child.poll() is None, f"the console ended:\n{self.text}"
            assert time.monotonic() < deadline, f"not seen: {shown}\n{self.text}"
            if not self._show_frame():
                self._more(0.05)

    def wait(self) -> int:
        """Exit status, once it has ended."""
        deadline = time.monotonic() + DEADLINE_S
        while self._child.poll() is None:
            assert time.monotonic() < deadline, "the console does not end"
            self._more(0.05)
        self._stream.feed(self._rest)
        return self._child.returncode

    def close(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        os.close(self._master)
        os.close(self._slave)

    def _more(self, timeout_s: float) -> bool:
        """Take what comes within that time; whether anything did."""
        if not select.select([self._master], [], [], timeout_s)[0]:
            return False
        self._rest += os.read(self._master, 65536)
        return True

    def _show_frame(self) -> bool:
        """Show the next whole frame: in half of one the cursor may stand on a row that is still to be redrawn."""
        frame, end, rest = self._rest.partition(FRAME_END)
        if end:
            self._stream.feed(frame + end)
            self._rest = rest
        return bool(end)
