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
        os.write(self._master, keys.encode())

    def until(self, shown: str | Callable[[], bool]) -> None:
        """Wait until the text is on the screen, or that holds of it."""
        deadline = time.monotonic() + DEADLINE_S
        holds = shown if callable(shown) else lambda: shown in self.text
        while not holds():
            assert self._child.poll() is None, f"the console ended:\n{self.text}"
            assert time.monotonic() < deadline, f"not seen: {shown}\n{self.text}"
            self._read()

    def wait(self) -> int:
        """Exit status, once it has ended."""
        deadline = time.monotonic() + DEADLINE_S
        while self._child.poll() is None:
            assert time.monotonic() < deadline, "the console does not end"
            self._read()
        self._stream.feed(self._rest)
        return self._child.returncode

    def close(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        os.close(self._master)
        os.close(self._slave)

    def _read(self) -> None:
        """Show whole frames only: in half a frame the cursor may stand on a row that is still to be redrawn."""
        if select.select([self._master], [], [], 0.05)[0]:
            frames, end, self._rest = (self._rest + os.read(self._master, 65536)).rpartition(FRAME_END)
            self._stream.feed(frames + end)
