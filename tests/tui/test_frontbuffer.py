"""Only changed cells are sent, in as few bytes as can be, and the terminal shows what a whole paint would."""

from __future__ import annotations

import random

import pyte
import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style

from tui.tty.frontbuffer import Finished, FrontBuffer

WIDTH, HEIGHT = 40, 8
STYLES = [
    Style.parse(text)
    for text in (
        "none",
        "bold",
        "underline #ff0000",
        "#00ff00 on #000020",
        "bold #00ff00 on #000020",
        "white on #000020",
        "bright_red on bright_black",
        "color(200) on color(17)",
        "reverse",
        "default on default",
    )
]
CONSOLE = Console(force_terminal=True, color_system="truecolor", width=WIDTH)


class Screen:
    """A terminal that gets what the buffer sends, and one that gets whole lines."""

    def __init__(self) -> None:
        self.front = FrontBuffer()
        self.front.fit(WIDTH, HEIGHT)
        self.thin, self.whole = pyte.Screen(WIDTH, HEIGHT), pyte.Screen(WIDTH, HEIGHT)
        self.bytes = 0

    def write(self, y: int, x: int, segments: list[Segment]) -> str:
        sent = self.front.write([(y, x, segments)], CONSOLE)
        self.bytes += len(sent)
        pyte.Stream(self.thin).feed(sent)
        full = "".join(
            segment.style.render(segment.text) if segment.style else segment.text for segment in segments
        )
        pyte.Stream(self.whole).feed(f"\x1b[{y + 1};{x + 1}H{full}")
        return sent

    def check(self) -> None:
        for y in range(HEIGHT):
            for x in range(WIDTH):
                assert self.thin.buffer[y][x] == self.whole.buffer[y][x], (y, x)


@pytest.mark.parametrize("seed", range(20))
def test_random_updates_show_what_whole_ones_would(seed: int) -> None:
    chance = random.Random(seed)
    screen = Screen()
    for y in range(HEIGHT):
        screen.write(y, 0, [Segment(" " * WIDTH)])
    for _ in range(200):
        x = chance.randrange(WIDTH - 6)
        left = WIDTH - x
        segments = []
        while left > 4 and chance.random() < 0.8:
            text = "".join(chance.choice("ab  ●é世") for _ in range(chance.randrange(1, 3)))
            left -= sum(2 if character == "世" else 1 for character in text)
            segments.append(Segment(text, chance.choice(STYLES)))
        if segments:
            # A wide character half overwritten shows differently from one terminal to the next.
            whole = [Segment(" " * x), *segments, Segment(" " * left)]
            screen.write(chance.randrange(HEIGHT), 0, whole)
    screen.check()


def test_what_is_shown_already_costs_nothing() -> None:
    screen = Screen()
    line = [Segment("state ", STYLES[3]), Segment("running", STYLES[4])]
    assert screen.write(2, 0, line)
    assert screen.write(2, 0, line) == ""


def test_a_style_is_said_once_and_then_only_what_differs() -> None:
    screen = Screen()
    sent = screen.write(0, 0, [Segment("a", STYLES[3]), Segment("b", STYLES[4]), Segment("c", STYLES[5])])
    assert sent == "\x1b[1;1H\x1b[38;2;0;255;0;48;2;0;0;32ma\x1b[1mb\x1b[22;37mc\x1b[0m"


def test_a_forgotten_picture_is_sent_whole() -> None:
    screen = Screen()
    screen.write(0, 0, [Segment("abc")])
    screen.front.forget()
    screen.front.fit(WIDTH, HEIGHT)
    assert screen.write(0, 0, [Segment("abc")]) == "\x1b[1;1Habc"


def kept_line(number: int, changed: int, chance: random.Random) -> Finished:
    style = chance.choice(STYLES)
    text = f"row {number:4} {'●' * (number % 5)} {changed}"
    return Finished([Segment(text, style), Segment(" " * (WIDTH - len(text)))], WIDTH)


@pytest.mark.parametrize("seed", range(6))
def test_lines_that_scroll_are_moved_by_the_terminal(seed: int) -> None:
    chance = random.Random(seed)
    front, thin, scrolled = FrontBuffer(), pyte.Screen(WIDTH, HEIGHT), 0
    rows = [kept_line(number, 0, chance) for number in range(60)]
    front.fit(WIDTH, HEIGHT)
    top = 20
    for turn in range(60):
        top = max(0, min(52, top + chance.choice([-9, -2, -1, -1, 0, 1, 1, 2, 3, 9])))
        for _ in range(chance.choice([0, 0, 1, 3])):
            rows[chance.randrange(60)] = kept_line(chance.randrange(60), turn, chance)
        shown = list(enumerate(rows[top : top + HEIGHT]))
        # The first line stands still, the last one is a widget of its own.
        shown[0] = (0, kept_line(0, 0, random.Random(1)))
        if seed % 2:
            shown[-1] = (HEIGHT - 1, kept_line(99, turn, chance))
        sent = front.write([(y, 0, line) for y, line in shown], CONSOLE)
        scrolled += "r\x1b[" in sent
        pyte.Stream(thin).feed(sent)
        whole = pyte.Screen(WIDTH, HEIGHT)
        for y, line in shown:
            pyte.Stream(whole).feed(f"\x1b[{y + 1}H" + line.render(CONSOLE))
        for y in range(HEIGHT):
            for x in range(WIDTH):
                assert thin.buffer[y][x] == whole.buffer[y][x], (turn, y, x)
    assert scrolled > 5


def test_lines_between_that_are_not_painted_stay_where_they_are() -> None:
    chance, front = random.Random(0), FrontBuffer()
    front.fit(WIDTH, HEIGHT)
    rows = [kept_line(number, 0, chance) for number in range(20)]
    front.write([(y, 0, rows[y]) for y in range(HEIGHT)], CONSOLE)
    sent = front.write([(y, 0, rows[y + 1]) for y in range(HEIGHT - 1) if y != 3], CONSOLE)
    assert "r\x1b[" not in sent
    front.write([(3, 0, rows[4])], CONSOLE)
    sent = front.write([(y, 0, rows[y + 2]) for y in range(HEIGHT - 1)], CONSOLE)
    assert "r\x1b[" in sent
    assert "row    6" not in sent
