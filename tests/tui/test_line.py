"""The line to the terminal: thin, gone, full of keys. On a real pseudo terminal."""

from __future__ import annotations

import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

ROOT = Path(__file__).parents[2]
ASK, ANSWER = b"\x1b[6n", b"\x1b[1;1R"
DEADLINE_S = 30.0
PROGRAM = """
import sys
sys.path[:0] = [{root!r}, {proto!r}]
from tests.tui.fake_source import FakeSource
from tui.app import run_console
from tui.demo.size import parse_size
from tui.demo.source import DemoSource
sys.exit(run_console(DemoSource(parse_size({size!r}))))
"""
QUIET = "nodes=40,tasks=3000,rate=0,changes=0"
BUSY = "nodes=40,tasks=3000,rate=1"
# What pyte does not know.
UNKNOWN = re.compile(rb"\x1b\[[>=<][0-9;]*[a-zA-Z]|\x1b\[\?[0-9;]*\$[a-z]|\x1b\[\?2026[hl]|\x1b\[6n")


class Line:
    """The console on a terminal that takes what it is told to take, and answers when it has it."""

    def __init__(self, size: str = QUIET, *, width: int = 100, height: int = 30, chunk: int = 65536) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (height, width))
        self.chunk = chunk
        self.screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self.screen)
        self.written = 0
        self._rest = b""
        self.answering = True
        program = PROGRAM.format(root=str(ROOT), proto=str(ROOT / "proto"), size=size)
        environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color", "HOME": "/nonexistent"}
        self.child = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environ,
            start_new_session=True,
        )
        os.close(slave)

    def read(self, timeout_s: float = 0.05) -> bytes:
        """Take one chunk, show it, and answer the questions in it."""
        if not select.select([self.master], [], [], timeout_s)[0]:
            return b""
        try:
            data = os.read(self.master, self.chunk)
        except OSError:
            return b""
        self.written += len(data)
        whole = self._rest + data
        # What may be half a sequence waits for its other half.
        cut = whole.rfind(b"\x1b", max(0, len(whole) - 24))
        whole, self._rest = (whole[:cut], whole[cut:]) if cut > 0 else (whole, b"")
        if (end := self._rest.find(ASK)) >= 0:
            whole, self._rest = whole + self._rest[: end + len(ASK)], self._rest[end + len(ASK) :]
        self._stream.feed(UNKNOWN.sub(b"", whole))
        for _ in range(whole.count(ASK)):
            if self.answering:
                self.type(ANSWER)
        return data

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    @property
    def text(self) -> str:
        return "\n".join(self.screen.display)

    def until(self, shown: Callable[[str], bool]) -> None:
        """Read until the screen shows it."""
        deadline = time.monotonic() + DEADLINE_S
        while not shown(self.text):
            self.read()
            assert time.monotonic() < deadline, f"it is never shown:\n{self.text}"
            assert self.child.poll() is None, f"it ended:\n{self.text}"

    def end(self) -> int:
        """Read until the console has ended; returns its status."""
        deadline = time.monotonic() + DEADLINE_S
        while self.child.poll() is None:
            self.read()
            assert time.monotonic() < deadline, "it does not end"
        while self.read(0):
            pass
        return self.child.returncode

    def resize(self, width: int, height: int) -> None:
        termios.tcsetwinsize(self.master, (height, width))
        self.screen.resize(height, width)
        self.child.send_signal(signal.SIGWINCH)

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        if self.master >= 0:
            os.close(self.master)


@pytest.fixture
def line() -> Iterator[Line]:
    opened = Line()
    try:
        opened.until(lambda text: "n0020" in text)
        yield opened
    finally:
        opened.close()


def position(text: str) -> str:
    """Which row of how many, as the second line says."""
    found = re.search(r"([\d,]+/[\d,]+)\s*$", text.splitlines()[1])
    return found[1] if found else ""


def in_queue(text: str) -> bool:
    """Whether all rows that QUIET has there have come."""
    return re.search(r"▌2 Queue.* 1/3,171\s*$", text.splitlines()[1]) is not None


def test_what_is_on_its_way_is_bounded_while_the_terminal_does_not_answer(line: Line) -> None:
    line.type(b"2")
    line.until(in_queue)
    line.chunk = 512
    for _ in range(60):
        line.type(b"\x1b[6~")
        line.read()
        time.sleep(0.03)  # not to wait: this is what makes the line thin
    line.chunk = 65536
    line.answering = False
    while line.read(0):
        pass
    before = line.written
    for _ in range(50):
        line.type(b"\x1b[6~")
    line.type(b"Q")
    assert line.end() == 0
    # A frame, small ones up to the bound, and what leaving takes. A page is about 2 KB, so that 50 are more.
    assert line.written - before < 40_000


def test_ten_thousand_keys_held_down_are_all_obeyed(line: Line) -> None:
    line.type(b"2")
    line.until(in_queue)
    last = position(line.text).partition("/")[2]
    for _ in range(10):
        line.type(b"j" * 1000)
        line.read(0)
    line.until(lambda text: position(text) == f"{last}/{last}")
    line.type(b"k" * 3)
    before = f"{int(last.replace(',', '')) - 3:,}/{last}"
    line.until(lambda text: position(text) == before)


def test_keys_typed_ahead_go_where_the_first_one_leads(line: Line) -> None:
    line.type(b"/jjjkkkjjj")
    line.until(lambda text: "jjjkkkjjj" in text)


def test_a_megabyte_is_pasted_in_no_time(line: Line) -> None:
    line.type(b"/")
    paste = b"\x1b[200~" + b"x" * 1_000_000 + b"\x1b[201~"
    for start in range(0, len(paste), 4096):
        line.type(paste[start : start + 4096])
        line.read(0)
    line.until(lambda text: "xxxxx" in text)
    line.type(b"\x1b")
    line.until(lambda text: "xxxxx" not in text)
    line.type(b"Q")
    assert line.end() == 0


def test_when_the_terminal_is_gone_the_console_ends(line: Line) -> None:
    os.close(line.master)
    line.master = -1
    assert line.child.wait(DEADLINE_S) == 129


def test_after_a_storm_of_sizes_the_screen_is_as_fresh(line: Line) -> None:
    chance = random.Random(7)
    for _ in range(40):
        line.resize(chance.choice([1, 2, 20, 80, 200]), chance.choice([1, 2, 5, 24, 60]))
        # No key that moves the cursor: over a node with GPUs the panel grows, and stays so.
        line.type(chance.choice([b"1", b"2", b"5"]))
        line.read(0)
    line.resize(100, 30)
    line.screen.reset()
    line.type(b"1g")
    fresh = Line()
    try:
        fresh.until(drawn)

        def as_fresh(text: str) -> bool:
            fresh.read(0)
            return drawn(text) and standing(text) == standing(fresh.text)

        line.until(as_fresh)
    finally:
        fresh.close()


def drawn(text: str) -> bool:
    """Whether the rows of the nodes have their states and scores."""
    return all(("●" in row or "◐" in row) and "━━" in row for row in text.splitlines()[3:20])


def standing(text: str) -> list[str]:
    """What does not change: samples grow older and move along, and the first line tells of the line."""
    return [shown[:60] for shown in text.splitlines()[1:24]] + text.splitlines()[-1:]
