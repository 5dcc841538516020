"""Bad input as a terminal meets it: the raw bytes that the console writes to it, and takes from it."""

from __future__ import annotations

import os
import re
import signal
import termios
import time
from collections.abc import Iterator

import pyte
import pytest

from tests.tui.test_hostile import NASTY
from tests.tui.test_terminal import DEADLINE_S, Terminal

WIDTH, HEIGHT = 100, 30
PROGRAM = """
import sys
sys.path[:0] = [{{root!r}}, {{proto!r}}]
from cortex.v1 import cluster_pb2
from tests.tui import fake
from tests.tui.fake_source import FakeSource
from tests.tui.test_hostile import NASTY, hostile_source
from tui.app import run_console
source = {source}
sys.exit(run_console(source))
"""
MANY = 'FakeSource(tasks=[fake.task(n, f"job-{{n:04}}", fake.RUNNING, started_s=9) for n in range(3000)])'
OWN = re.compile(
    rb"\x1b\[[\d;]*[mHGJKCD]"  # colours, moves, clearing
    rb"|(?:\x1b\[\d*[AB]|\x0b{1,3})\x08{0,3}"  # to another line, and back a little
    rb"|\x1b\[\?(?:1049|1004|2004|2026|2048|25|7|1000|1002|1003|1006|1015|1016)[hl]"  # modes, on and off
    rb"|\x1b\]22;[a-z-]*(?:\x07|\x1b\\)"  # the pointer's shape
    rb"|\x1b\[(?:[<>=]\d*u|\?u|6n|\?\d+\$p)"  # the keyboard's protocol, and questions
)
FRAME_END = b"\x1b[6n"
UNKNOWN = re.compile(rb"\x1b\[[<>=][\d;]*u|\x1b\[\?[\d;]*\$p|\x1b\[\?u")
"""What the emulator does not know and would print."""
ACTS = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class BadTerminal(Terminal):
    """A terminal that may be resized and lost, with a look at what it shows."""

    def __init__(self, source: str) -> None:
        super().__init__(PROGRAM.format(source=source), size=(WIDTH, HEIGHT))
        self.lost = False
        self._screen = pyte.Screen(WIDTH, HEIGHT)
        self._stream = pyte.ByteStream(self._screen)
        self._fed = 0

    def shown(self) -> str:
        """What an emulator makes of the frames that were written whole: their parts come in any order."""
        whole = self.written.rfind(FRAME_END) + len(FRAME_END)
        if whole > self._fed:
            self._stream.feed(UNKNOWN.sub(b"", self.written[self._fed : whole]))
            self._fed = whole
        return "\n".join(self._screen.display)

    def until_shown(self, part: str) -> None:
        try:
            self.until(lambda: part.lower() in self.shown().lower())
        except AssertionError:
            raise AssertionError(f"{part} is not shown:\n{self.shown()}") from None

    def until_gone(self, part: str) -> None:
        self.until(lambda: part.lower() not in self.shown().lower())

    def quiet(self) -> None:
        """Read until nothing comes for a moment."""
        while self._read():
            pass

    def resize(self, width: int, height: int) -> None:
        termios.tcsetwinsize(self.slave, (height, width))
        self.child.send_signal(signal.SIGWINCH)

    def lose(self) -> None:
        """The line is cut: nobody is at the other end any more."""
        self.lost = True
        os.close(self.slave)
        os.close(self.master)

    def close(self) -> None:
        if not self.lost:
            super().close()
        elif self.child.poll() is None:
            self.child.kill()
            self.child.wait()


@pytest.fixture
def terminals() -> Iterator[list[BadTerminal]]:
    opened: list[BadTerminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def start(terminals: list[BadTerminal], source: str = "FakeSource()", first: str = "▌1 Nodes") -> BadTerminal:
    terminal = BadTerminal(source)
    terminals.append(terminal)
    terminal.until_shown(first)
    return terminal


def leave(terminal: BadTerminal) -> None:
    terminal.type(b"Q")
    assert terminal.wait() == 0
    terminal.assert_restored()


@pytest.mark.parametrize("kind", NASTY)
def test_names_errors_and_output_act_on_no_terminal(terminals: list[BadTerminal], kind: str) -> None:
    terminal = start(terminals, f"hostile_source(NASTY[{kind!r}])")
    for keys, title in (
        (b"2", "▌2 Queue"),
        (b"\r", "COMMAND"),
        (b"o", "OUTPUT"),
        (b"q4", "▌4 Dead letters"),
        (b"5", "▌5 Events"),
        (b"1\r", "RESOURCES"),
        (b"q2K", "do nothing"),
    ):
        terminal.type(keys)
        terminal.until_shown(title)
    terminal.type(b"\x1b")
    terminal.until_gone("do nothing")
    leave(terminal)
    rest = OWN.sub(b"", terminal.written).decode()
    assert ACTS.search(rest) is None, repr(ACTS.search(rest))


def test_markup_in_names_shows_as_it_is_written_and_cannot_be_pressed(terminals: list[BadTerminal]) -> None:
    terminal = start(terminals, 'hostile_source("[@click=app.quit]z[/]")')
    terminal.type(b"2")
    terminal.until_shown("[@click=ap")
    # A press of the mouse where it stands: the mouse is the terminal's own, and nothing is obeyed.
    terminal.type(b"\x1b[<0;12;5M\x1b[<0;12;5m\r")
    terminal.until_shown("[@click=app.quit]z[/]")
    leave(terminal)


def test_a_line_of_a_megabyte_is_cut_to_the_screen(terminals: list[BadTerminal]) -> None:
    source = (
        "FakeSource(); source.output_replies[{key!r}] = [cluster_pb2.OutputReply(data=({line}) + b'\\nthe end\\n')]"
    )
    key = "01jx00000001"
    terminal = start(terminals, source.format(key=key, line="b'x' * 1_000_000"))
    terminal.type(b"2")
    terminal.until_shown("▌2 Queue")
    before = len(terminal.written)
    terminal.type(b"jo")
    terminal.until_shown("the end")
    terminal.type(b"gGg")
    leave(terminal)
    assert len(terminal.written) - before < 60_000


def test_a_paste_of_a_megabyte_into_the_filter(terminals: list[BadTerminal]) -> None:
    terminal = start(terminals, MANY)
    terminal.type(b"2/")
    terminal.until_shown("/")
    paste(terminal, b"\x1b[200~job-0007 " + b"x" * 1_000_000 + b"\x1b[201~")
    terminal.until_shown("job-0007 xxx")
    terminal.type(b"\x1b")
    terminal.until_gone("job-0007 xxx")
    leave(terminal)


def test_what_is_pasted_over_a_view_presses_no_key(terminals: list[BadTerminal]) -> None:
    terminal = start(terminals)
    terminal.type(b"2")
    terminal.until_shown("▌2 Queue")
    paste(terminal, b"\x1b[200~" + b"K\ry\rQ\x1b[2J" * 20_000 + b"\x1b[201~")
    terminal.type(b"4")
    terminal.until_shown("▌4 Dead letters")
    assert "cancel" not in terminal.shown().lower()
    leave(terminal)


def paste(terminal: BadTerminal, data: bytes) -> None:
    """A terminal writes as its program reads, and goes on showing meanwhile."""
    os.set_blocking(terminal.master, False)
    while data:
        try:
            data = data[os.write(terminal.master, data) :]
        except BlockingIOError:
            terminal._read()
    os.set_blocking(terminal.master, True)


def test_keys_that_are_held_down_end_where_they_should(terminals: list[BadTerminal]) -> None:
    terminal = start(terminals, MANY)
    terminal.type(b"2")
    terminal.until_shown("1/3,0")
    for _ in range(6):
        paste(terminal, b"j" * 1000)
    terminal.until_shown("3,000/3,000")
    paste(terminal, b"k" * 2000)
    terminal.until_shown("1,000/3,000")
    leave(terminal)


def test_one_cell_and_back(terminals: list[BadTerminal]) -> None:
    terminal = start(terminals)
    steps = (b"2", "▌2 Queue"), (b"\r", "COMMAND"), (b"q5?", "Keys in"), (b"q2K", "do nothing")
    for keys, shown in steps:
        terminal.type(keys)
        for size in ((1, 1), (2, 1), (1, 40), (300, 2), (WIDTH, HEIGHT)):
            terminal.resize(*size)
        terminal.until_shown(shown)
    terminal.type(b"\x1b")
    terminal.until_gone("do nothing")
    terminal.type(b"1")
    terminal.until_shown("▌1 Nodes")
    terminal.until_shown("anvil")
    leave(terminal)


def test_a_line_that_is_cut_ends_the_console(terminals: list[BadTerminal]) -> None:
    terminal = start(terminals)
    terminal.lose()
    assert terminal.child.wait(DEADLINE_S) == 128 + signal.SIGHUP


def test_a_line_that_is_cut_in_a_dialog_changes_nothing(terminals: list[BadTerminal]) -> None:
    terminal = start(terminals)
    terminal.type(b"2K")
    terminal.until_shown("do nothing")
    terminal.type(b"\x1b[200~y")  # a paste that never ends
    terminal.lose()
    assert terminal.child.wait(DEADLINE_S) == 128 + signal.SIGHUP


@pytest.mark.parametrize(
    "noise",
    [
        bytes(range(256)).replace(b"Q", b"").replace(b"\x03", b"") * 5,
        b"\xff\xfe\xc3\x28\xe2\x82" * 200,
        b"\x1b" * 1000,
        b"\x1b[" + b"1;" * 500 + b"R",
        b"\x1b]52;c;" + b"A" * 1000 + b"\x07",
        b"\x1b[5;6R" * 2000,
        b"\x1b[M   \x1b[<35;10;10M" * 500,
    ],
    ids=["every byte", "no utf-8", "escapes", "long csi", "long osc", "answers", "mouse"],
)
def test_noise_on_the_line_ends_nothing(terminals: list[BadTerminal], noise: bytes) -> None:
    terminal = start(terminals)
    paste(terminal, noise)
    deadline_s = time.monotonic() + DEADLINE_S
    # Whatever was opened by it is left again, one thing after the other.
    while terminal.child.poll() is None:
        terminal.type(b"\x1b")
        terminal.quiet()
        terminal.type(b"Q")
        terminal.quiet()
        assert time.monotonic() < deadline_s, terminal.shown()
    assert terminal.wait() == 0
    terminal.assert_restored()
