"""A field of one value per cell, for many nodes at a glance. Pure.

A level is a glyph and a role: how full a node is can be told without colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tui.drawing.draw import Cell, Glyphs, Span
from tui.drawing.text import width_of

WIDE = 2
"""Cells of a node where there is room: about a square."""


@dataclass(frozen=True)
class Level:
    """Values below `under`, a share of one; the last level takes all others."""

    under: float
    unicode: str
    ascii: str
    role: str

    def glyph(self, glyphs: Glyphs) -> str:
        return self.ascii if glyphs.ascii_only else self.unicode


LEVELS = (
    Level(0.05, "·", ".", "dim"),
    Level(0.30, "░", ":", "wait"),
    Level(0.60, "▒", "+", "ok"),
    Level(0.85, "▓", "#", "warn"),
    Level(1.00, "█", "@", "bad"),
)
UNKNOWN: Span = ("?", "dim")


@dataclass(frozen=True)
class Heatmap:
    """`lines` from above, each `width` cells at most; the values run along the lines, numbered from 0."""

    lines: tuple[Cell, ...]
    legend: Cell
    columns: int
    """Values in a line."""
    cells: int
    """Cells of a value."""
    count: int

    def at(self, x: int, y: int) -> int | None:
        """Number of the value at a cell; None where there is none."""
        column = x // self.cells
        number = y * self.columns + column
        return number if 0 <= column < self.columns and y >= 0 and number < self.count else None

    def spot(self, number: int) -> tuple[int, int]:
        """Its first cell, as x and y. Raises IndexError for a number that is not in it."""
        if not 0 <= number < self.count:
            raise IndexError(number)
        y, column = divmod(number, self.columns)
        return column * self.cells, y


def heatmap(
    values: Sequence[float | None],
    width: int,
    glyphs: Glyphs,
    *,
    height: int = 0,
    marks: Mapping[int, Span] | None = None,
    levels: Sequence[Level] = LEVELS,
) -> Heatmap:
    """Values are shares of one; None and NaN are not known, which is not zero.

    Each takes two cells, or one where `height` lines would not do otherwise (0 = any number); if they still do not,
    there are more. `marks` shows something else, one cell wide, for some, such as those offline.
    """
    width = max(1, width)
    cells = WIDE if width >= WIDE and (not height or -(-len(values) // (width // WIDE)) <= height) else 1
    columns = width // cells
    shown = [_shown(value, glyphs, levels) for value in values]
    drawn = [(glyph * cells, role) for glyph, role in shown]
    for number, (text, role) in (marks or {}).items():
        if 0 <= number < len(drawn):
            drawn[number] = (text + " " * (cells - width_of(text)), role)
    lines = tuple(_joined(drawn[first : first + columns]) for first in range(0, len(drawn), columns))
    return Heatmap(lines, legend(width, glyphs, levels), columns, cells, len(values))


def legend(width: int, glyphs: Glyphs, levels: Sequence[Level] = LEVELS) -> Cell:
    """What each glyph stands for: `· <5%  ░ <30% …`; without the figures where they do not fit."""
    least = ">=" if glyphs.ascii_only else "≥"
    figures = [f"<{round(level.under * 100)}%" for level in levels[:-1]]
    figures.append(f"{least}{round(levels[-2].under * 100)}%" if len(levels) > 1 else "any")
    spans: list[Span] = []
    for level, figure in zip(levels, figures, strict=True):
        spans += [(level.glyph(glyphs), level.role), (f" {figure}  ", "dim")]
    spans += [UNKNOWN, (" unknown", "dim")]
    if sum(width_of(text) for text, _ in spans) <= width:
        return tuple(spans)
    brief = [*((level.glyph(glyphs), level.role) for level in levels), UNKNOWN]
    return _joined(brief[:width])


def _shown(value: float | None, glyphs: Glyphs, levels: Sequence[Level]) -> Span:
    if value is None or value != value:
        return UNKNOWN
    level = next((level for level in levels if value < level.under), levels[-1])
    return level.glyph(glyphs), level.role


def _joined(spans: Sequence[Span]) -> Cell:
    """Neighbours of the same role as one span."""
    joined: list[Span] = []
    for text, role in spans:
        if joined and joined[-1][1] == role:
            joined[-1] = (joined[-1][0] + text, role)
        else:
            joined.append((text, role))
    return tuple(joined)
