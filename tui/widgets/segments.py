"""From cells to segments of exact width."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TypeVar

from rich.segment import Segment
from rich.style import Style

from tui.columns.base import Column, Draw, Placed
from tui.drawing.draw import Cell
from tui.drawing.text import fit, width_of
from tui.operator.themes import Palette
from tui.tty.frontbuffer import Part
from tui.widgets.finished import Looks

R = TypeVar("R")


MOST_CELLS = 8192


class PlainRows:
    """Lines of rows that nothing is laid over, out of cells that are kept: many look as others did before."""

    def __init__(self) -> None:
        self._known: dict[tuple[Cell, int, str, int], Part] = {}
        self._looks: Looks | None = None

    def forget(self) -> None:
        self._known.clear()

    def line(
        self, columns: Sequence[Placed[R]], cells: Sequence[Cell], looks: Looks, palette: Palette, ellipsis: str
    ) -> list[Part]:
        """As row_segments, column by column, as it comes out of the looks."""
        if looks is not self._looks:
            self.forget()
            self._looks = looks
        parts: list[Part] = []
        last = len(columns) - 1
        for at, (placed, cell) in enumerate(zip(columns, cells, strict=True)):
            gap = columns[at + 1].x - placed.x - placed.width if at < last else 0
            key = (cell, placed.width, placed.column.align, gap)
            found = self._known.get(key)
            if found is None:
                made = cell_segments(cell, placed.width, placed.column.align, palette, _NOTHING, ellipsis)
                found = Part(looks.finished(_with_gap(made, gap) if gap else made))
                if len(self._known) >= MOST_CELLS:
                    self.forget()
                self._known[key] = found
            parts.append(found)
        return parts


_NOTHING = Style.null()


def _with_gap(segments: list[Segment], gap: int) -> list[Segment]:
    """Segments and the cells behind them, as one with what fills the column."""
    if segments and segments[-1].style is _NOTHING:
        return [*segments[:-1], Segment(segments[-1].text + " " * gap, _NOTHING)]
    return [*segments, Segment(" " * gap, _NOTHING)]


def row_segments(
    columns: Sequence[Placed[R]], cells: Sequence[Cell], palette: Palette, base: Style, ellipsis: str
) -> list[Segment]:
    """One row of a table; `base` is laid over every style."""
    segments: list[Segment] = []
    end = 0
    for placed, cell in zip(columns, cells, strict=True):
        if placed.x > end:
            segments.append(Segment(" " * (placed.x - end), base))
        segments += cell_segments(cell, placed.width, placed.column.align, palette, base, ellipsis)
        end = placed.x + placed.width
    return segments


def header_segments(
    columns: Sequence[Placed[R]], sorted_by: Column[R], descending: bool, palette: Palette, draw: Draw
) -> list[Segment]:
    """The titles, with an arrow at the one that is sorted by."""
    arrow = draw.glyphs.descending if descending else draw.glyphs.ascending
    segments: list[Segment] = []
    end = 0
    for at, placed in enumerate(columns):
        title, role, width = placed.column.titled(draw), "title", placed.width
        if placed.column is sorted_by:
            role = "accent"
            # The arrow stands in the gap behind a title that fills its column.
            if placed.column.align == "right" or width_of(title) >= width:
                title = fit(title, width, placed.column.align, "") + arrow
                width += width_of(arrow) if at + 1 < len(columns) else 0
            else:
                title += arrow
        text = fit(title, width, placed.column.align, "")
        segments += [Segment(" " * (placed.x - end)), Segment(text, palette.style(role))]
        end = placed.x + width
    return segments


def cell_segments(
    cell: Cell, width: int, align: str, palette: Palette, base: Style, ellipsis: str
) -> list[Segment]:
    """Segments of exactly `width` cells."""
    used = sum(width_of(text) for text, _ in cell)
    segments: list[Segment] = []
    if used <= width:
        segments = [Segment(text, palette.style(role) + base) for text, role in cell if text]
        if pad := width - used:
            blank = Segment(" " * pad, base)
            segments = [*segments, blank] if align == "left" else [blank, *segments]
        return segments
    room = width
    for at, (text, role) in enumerate(cell):
        size = width_of(text)
        if size > room or (size == room and any(later for later, _ in cell[at + 1 :])):
            # The space makes a text that just fits, but has more behind it, too wide: it is cut and marked.
            cut = fit(text if size > room else text + " ", room, "left", ellipsis)
            segments.append(Segment(cut, palette.style(role) + base))
            break
        segments.append(Segment(text, palette.style(role) + base))
        room -= size
    return segments


def note_line(text: str, y: int, width: int, gutter: int, palette: Palette) -> list[Segment]:
    """Of a text that stands from the second line of an empty table on."""
    lines = wrap(text, max(1, width - gutter))
    return [Segment(" " * gutter + lines[y - 1], palette.style("dim"))] if 0 < y <= len(lines) else []
