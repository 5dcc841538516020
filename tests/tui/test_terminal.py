"""The console on a real pseudo terminal: started by what the environment says, and always put back in order."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tui.tty.terminal import detect

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
sys.path[:0] = [{root!r}, {proto!r}]
from tests.tui.fake_source import FakeSource
from tui.app import run_console
sys.exit(run_console(FakeSource()))
"""
BROKEN = """
import sys
sys.path[:0] = [{root!r}, {proto!r}]
from tests.tui.fake_source import FakeSource
from tui.app import Console, run_console
def broken(self):
    raise RuntimeError("broken on purpose")
Console.tick = broken
sys.exit(run_console(FakeSource()))
"""
DEADLINE_S = 60.0


@pytest.mark.parametrize(
    ("environ", "ascii_only", "no_color", "light"),
    [
        ({"LANG": "C.UTF-8", "TERM": "xterm-256color"}, False, False, False),
        ({"LANG": "en_US.utf8"}, False, False, False),
        ({"LANG": "C"}, True, False, False),
        ({}, True, False, False),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, False, False, False),
        ({"LANG": "C.UTF-8", "LC_ALL": "POSIX"}, True, False, False),
        ({"LANG": "C.UTF-8", "TERM": "dumb"}, True, False, False),
        ({"LANG": "C.UTF-8", "NO_COLOR": "1"}, False, True, False),
        ({"LANG": "C.UTF-8", "NO_COLOR": ""}, False, False, False),
        ({"LANG": "C.UTF-8", "COLORFGBG": "0;15"}, False, False, True),
        ({"LANG": "C.UTF-8", "COLORFGBG": "15;default;0"}, False, False, False),
    ],
)
def test_detection(environ: dict[str, str], ascii_only: bool, no_color: bool, light: bool) -> None:
    found = detect(environ)
    assert (found.ascii_only, found.no_color, found.light) == (ascii_only, no_color, light)


def test_a_terminal_that_would_show_vertical_tabs_gets_none() -> None:
    assert detect({"TERM": "tmux-256color"}).vertical_tabs
    assert not detect({"TERM": "eterm-color"}).vertical_tabs


class Terminal:
    """A child on a pseudo terminal, and all that it wrote."""

    def __init__(self, program: str = PROGRAM, *, size: tuple[int, int] = (80, 24), **environ: str) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, size[::-1])
        self.before = termios.tcgetattr(self.slave)
        self.written = b""
        program = program.format(root=str(ROOT), proto=str(ROOT / "proto"))
        base = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        self.child = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=base | environ,
            start_new_session=True,
        )

    def read_until(self, wanted: bytes) -> None:
        self.until(lambda: wanted in self.written)

    def until(self, condition: Callable[[], bool]) -> None:
        """Read until something holds. Fails when it never does."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            ended = self.child.poll() is not None
            given_up = not self._read() and (ended or time.monotonic() > deadline)
            assert not given_up, f"what is wanted does not come: {self.written[-2000:]!r}"

    def wait(self) -> int:
        deadline = time.monotonic() + DEADLINE_S
        while self.child.poll() is None:
            assert time.monotonic() < deadline, "the console does not end"
            self._read()
        while select.select([self.master], [], [], 0)[0]:
            if not self._read():
                break
        return self.child.returncode

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        os.close(self.master)
        os.close(self.slave)

    def _read(self) -> bytes:
        if not select.select([self.master], [], [], 0.05)[0]:
            return b""
        data = os.read(self.master, 65536)
        self.written += data
        return data

    def assert_restored(self) -> None:
        assert self.written.rstrip().endswith(b"\x1b[?1049l") or b"\x1b[?1049l" in self.written, "main screen"
        assert self.written.rfind(b"\x1b[?25h") > self.written.rfind(b"\x1b[?25l"), "cursor shown"
        assert b"\x1b[?1000h" not in self.written, "the mouse is the terminal's own"
        assert self.written.rfind(b"\x1b[?2004l") > self.written.rfind(b"\x1b[?2004h"), "paste brackets off"
        assert termios.tcgetattr(self.slave)[3] == self.before[3], "echo and line mode as before"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_the_terminal_in_order(number: signal.Signals) -> None:
    terminal = Terminal()
    try:
        terminal.read_until(b"anvil")
        terminal.child.send_signal(number)
        assert terminal.wait() == 128 + number
        terminal.assert_restored()
    finally:
        terminal.close()


@pytest.mark.parametrize("keys", [b"Q", b"\x03", b"2\rQ"])
def test_leaving_by_key_leaves_the_terminal_in_order(keys: bytes) -> None:
    terminal = Terminal()
    try:
        terminal.read_until(b"anvil")
        terminal.type(keys)
        assert terminal.wait() == 0
        terminal.assert_restored()
    finally:
        terminal.close()


def test_one_that_was_stopped_and_goes_on_takes_keys_and_leaves_the_terminal_in_order() -> None:
    terminal = Terminal()
    try:
        terminal.read_until(b"anvil")
        terminal.child.send_signal(signal.SIGSTOP)
        terminal.child.send_signal(signal.SIGCONT)
        left = b"\x1b[?1049l"
        terminal.read_until(left)
        # What is painted anew may have come in the same read.
        terminal.written = terminal.written.partition(left)[2]
        terminal.read_until(b"anvil")
        terminal.type(b"2\rQ")
        assert terminal.wait() == 0
        terminal.assert_restored()
    finally:
        terminal.close()


def test_a_crash_leaves_the_terminal_in_order_and_says_why() -> None:
    terminal = Terminal(BROKEN)
    try:
        assert terminal.wait() == 1
        terminal.assert_restored()
        assert b"broken on purpose" in terminal.written
    finally:
        terminal.close()
