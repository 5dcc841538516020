"""What goes to the terminal, byte by byte: no colour, no character and no mouse that was not asked for."""

from __future__ import annotations

import re

import pyte
import pytest

from tests.tui.test_terminal import Terminal
from tui.tty.driver import ASK

# Keys that open a screen, words that only it has, keys that leave it.
SCREENS: tuple[tuple[bytes, str, bytes], ...] = (
    (b"5", "DETAIL", b""),
    (b"1", "SCORE", b""),
    (b"\r", "DETAILS", b"\x1b"),
    (b"a", "No machine waits", b"\x1b"),
    (b"D", "Drain anvil", b"\x1b"),
    (b"c", "Cordon 1 node", b"\x1b"),
    (b"m", "unknown", b""),
    (b"2", "COMMAND", b""),
    (b"\r", "PLACEMENT", b"\x1b"),
    (b"o", "OUTPUT", b"\x1b"),
    (b"W", "VERDICT", b"\x1b"),
    (b":", "\n :", b""),
    (b"filter name~a\r", "/name~a", b"\x1b"),
    (b"x", "Export what", b"\x1b"),
    (b"O", "Columns", b"\x1b"),
    (b"s", "Sort by", b"\x1b"),
    (b":", "\n :", b""),
    (b"node a", ":node a", b"\x1b"),
    (b"S", "Submit a task", b"\x1b"),
    (b"p", "paused", b"p"),
    (b"3", "PROGRESS", b""),
    (b"\r", "m rail", b""),
    (b"m", "m layered", b""),
    (b"m", "m list", b"\x1b"),
    (b"4", "CAUSE", b""),
    (b"L", "OUTCOME", b"\x1b"),
    (b"?", "Keys in", b"\x1b"),
    (b"\x10", "What to do", b"\x1b"),
)
FRAME_END = ASK.encode()
ATTRIBUTES = frozenset({"", "0", "1", "2", "3", "4", "7", "22", "23", "24", "27"})
SIXTEEN = ATTRIBUTES | {str(code) for base in (30, 40, 90, 100) for code in range(base, base + 8)} | {"39", "49"}


class Walk:
    """Goes through every screen, and reads them as the terminal shows them."""

    def __init__(self, terminal: Terminal, size: tuple[int, int]) -> None:
        self.terminal = terminal
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._fed = 0

    def shown(self) -> str:
        """The last whole frame: within one, words that stay on the screen may be away for a moment."""
        end = self.terminal.written.rfind(FRAME_END) + len(FRAME_END)
        if end > self._fed:
            self._stream.feed(self.terminal.written[self._fed : end])
            self._fed = end
        return "\n".join(self._screen.display)

    def all(self) -> str:
        """Returns all that was written."""
        terminal = self.terminal
        try:
            terminal.until(lambda: "anvil" in self.shown())
            for opening, wanted, leaving in SCREENS:
                terminal.type(opening)
                terminal.until(lambda wanted=wanted: wanted in self.shown())  # type: ignore[misc]
                terminal.type(leaving)
                if leaving:
                    terminal.until(lambda wanted=wanted: wanted not in self.shown())  # type: ignore[misc]
            terminal.type(b"Q")
            assert terminal.wait() == 0
        finally:
            terminal.close()
        return terminal.written.decode("utf-8")


def walk(size: tuple[int, int] = (80, 24), **environ: str) -> str:
    return Walk(Terminal(size=size, **environ), size).all()


def styles(written: str) -> set[str]:
    """Every part of every SGR sequence."""
    return {code for found in re.findall(r"\x1b\[([\d;:]*)m", written) for code in re.split("[;:]", found)}


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_no_colour_and_nothing_but_ascii(size: tuple[int, int]) -> None:
    written = walk(size, LANG="C", NO_COLOR="1")
    assert {character for character in written if ord(character) > 0x7F} == set()
    assert styles(written) <= ATTRIBUTES


def test_a_terminal_of_sixteen_colours_gets_no_other() -> None:
    written = walk((200, 50), TERM="linux")
    assert styles(written) <= SIXTEEN
    assert styles(written) & {"31", "32", "33", "36"}, "but some"


def test_the_mouse_is_left_alone() -> None:
    written = walk()
    assert not re.search(r"\x1b\[\?100[0-35-6]", written)
