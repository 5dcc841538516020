"""Runs of cells are reached by short moves, and each style is said once a frame."""

from __future__ import annotations

import random
import re

import pyte

from tui.tty.pen import Pen, Run

WIDTH, HEIGHT = 60, 20
TEXT, STRONG, TRACK = "38;2;1;2;3;48;2;9;9;9", "1;38;2;4;5;6;48;2;9;9;9", "38;2;7;7;7;48;2;9;9;9"
STYLES = re.compile(r"\x1b\[[0-9;]*m")


def digits(y: int) -> list[Run]:
    """What changes in a row of a table from one second to the next."""
    return [
        Run(STRONG, y, 8, 9, "4"),
        Run(TEXT, y, 20, 22, "17"),
        Run(TEXT, y, 40, 41, "3"),
        Run(TRACK, y, 50, 51, "━"),
    ]


def test_each_style_is_said_once_however_many_rows_change() -> None:
    sent = Pen().draw([run for y in range(HEIGHT) for run in digits(y)], WIDTH)
    assert len(STYLES.findall(sent)) == 4, "three, and the end"
    assert len(STYLES.sub("", sent).encode()) <= HEIGHT * 4 * 8


def test_the_next_line_of_a_column_is_a_step_away() -> None:
    runs = [Run("", 3, 8, 9, "4"), Run("", 4, 8, 9, "5"), Run("", 5, 7, 9, "61"), Run("", 7, 9, 10, "2")]
    assert Pen().draw(runs, WIDTH) == "\x1b[4;9H4\v\b5\v\b\b61\v\v2"
    assert Pen(vertical_tabs=False).draw(runs, WIDTH) == "\x1b[4;9H4\x1b[B\b5\x1b[B\b\b61\x1b[2B2"


def test_places_are_said_anew_behind_what_a_terminal_may_take_for_wider() -> None:
    assert Pen().draw([Run("", 0, 2, 3, "é"), Run("", 0, 6, 7, "x")], WIDTH) == "\x1b[1;3Hé\x1b[1;7Hx"
    assert Pen().draw([Run("", 0, 2, 3, "━"), Run("", 0, 6, 7, "x")], WIDTH) == "\x1b[1;3H━\x1b[3Cx"
    at_the_edge = Pen().draw([Run("", 0, WIDTH - 1, WIDTH, "x"), Run("", 1, WIDTH - 1, WIDTH, "y")], WIDTH)
    assert at_the_edge == f"\x1b[1;{WIDTH}Hx\x1b[2;{WIDTH}Hy"


def test_in_whatever_order_every_run_stands_where_it_should() -> None:
    chance = random.Random(5)
    codes = ["", "1", "2;31", "1;31;44", TEXT, STRONG, TRACK, "4;38;5;17"]
    for number in range(100):
        cells = {(chance.randrange(HEIGHT), chance.randrange(WIDTH)): chance.choice("ab━é") for _ in range(120)}
        runs = [Run(chance.choice(codes), y, x, x + 1, text) for (y, x), text in sorted(cells.items())]
        shown, wanted = pyte.Screen(WIDTH, HEIGHT), pyte.Screen(WIDTH, HEIGHT)
        pyte.Stream(shown).feed("\x1b[7;7H" + Pen(vertical_tabs=number % 2 == 0).draw(runs, WIDTH))
        for run in runs:
            pyte.Stream(wanted).feed(f"\x1b[{run.y + 1};{run.x + 1}H\x1b[0;{run.code}m{run.text}\x1b[0m")
        for y in range(HEIGHT):
            assert [shown.buffer[y][x] for x in range(WIDTH)] == [wanted.buffer[y][x] for x in range(WIDTH)]
