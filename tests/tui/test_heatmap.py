"""The field of values: every node is in it, and what it shows does not hang on colour."""

from __future__ import annotations

from random import Random

import pytest

from tui.drawing.draw import ASCII, UNICODE, Glyphs, cell_width, plain
from tui.drawing.heatmap import LEVELS, heatmap, legend

RAMP = [0.0, 0.05, 0.29, 0.3, 0.6, 0.849, 0.85, 1.0, 7.0, -1.0, None, float("nan")]


def test_levels_are_glyphs() -> None:
    assert [plain(line) for line in heatmap(RAMP, 12, UNICODE, height=1).lines] == ["·░░▒▓▓███·??"]
    assert [plain(line) for line in heatmap(RAMP, 12, ASCII, height=1).lines] == [".::+##@@@.??"]


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_no_two_levels_share_a_glyph(glyphs: Glyphs) -> None:
    signs = [level.glyph(glyphs) for level in LEVELS] + ["?"]
    assert len(set(signs)) == len(signs)
    assert not glyphs.ascii_only or "".join(signs).isascii()


def test_every_value_has_its_cell_and_back() -> None:
    for seed in range(200):
        random = Random(seed)
        count, width, height = random.randint(0, 300), random.randint(1, 90), random.randint(0, 30)
        values = [random.choice((None, random.random())) for _ in range(count)]
        field = heatmap(values, width, UNICODE, height=height)
        assert all(cell_width(line) <= width for line in field.lines)
        met = []
        for y, line in enumerate(field.lines):
            text = plain(line)
            for x in range(0, len(text), field.cells):
                number = field.at(x, y)
                assert number is not None
                assert field.spot(number) == (x, y)
                assert text[x] == plain(heatmap([values[number]], 1, UNICODE).lines[0])
                assert number == field.at(x + field.cells - 1, y)
                met.append(number)
        assert met == list(range(count))
        for outside in ((-1, 0), (0, -1), (0, len(field.lines)), (field.columns * field.cells, 0)):
            assert field.at(*outside) is None


def test_nodes_are_wide_where_there_is_room() -> None:
    assert heatmap([0.5] * 40, 80, UNICODE, height=1).cells == 2
    assert heatmap([0.5] * 41, 80, UNICODE, height=1).cells == 1
    assert heatmap([0.5] * 1000, 80, UNICODE, height=18).cells == 1
    assert len(heatmap([0.5] * 1000, 80, UNICODE, height=18).lines) == 13
    assert len(heatmap([0.5] * 5000, 80, UNICODE, height=18).lines) == 63
    assert heatmap([0.5] * 1000, 80, UNICODE).cells == 2


def test_marks_show_instead_of_the_value() -> None:
    field = heatmap([0.9, 0.9, 0.9], 6, UNICODE, marks={1: ("✗", "bad"), 7: ("✗", "bad")})
    assert field.lines == ((("██✗ ██", "bad"),),)
    assert plain(heatmap([0.9, 0.9], 2, UNICODE, height=1, marks={0: ("✗", "bad")}).lines[0]) == "✗█"


def test_legend_says_what_fits() -> None:
    assert plain(legend(80, UNICODE)) == "· <5%  ░ <30%  ▒ <60%  ▓ <85%  █ ≥85%  ? unknown"
    assert plain(legend(80, ASCII)) == ". <5%  : <30%  + <60%  # <85%  @ >=85%  ? unknown"
    for glyphs in (UNICODE, ASCII):
        for width in range(1, 70):
            assert cell_width(legend(width, glyphs)) <= width
    assert plain(legend(20, UNICODE)) == "·░▒▓█?"


def test_nothing_to_show() -> None:
    field = heatmap([], 0, UNICODE, height=5)
    assert (field.lines, field.count, field.at(0, 0)) == ((), 0, None)
    with pytest.raises(IndexError):
        field.spot(0)
