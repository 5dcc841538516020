"""From cells to segments of exact width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from rich.segment import Segment
from rich.style import Style

from tui.columns.base import Column, Placed
from tui.draw import Cell, Glyphs
from tui.text import fit, width_of
from tui.themes import Palette

R = TypeVar("R")


MOST_CELLS = 8192

CellSegments = dict[tuple[Cell, int, str, bool], list[Segment]]
"""By cell, width, alignment and whether anything is behind it."""


def row_segments(
    columns: Sequence[Placed[R]],
    cells: Sequence[Cell],
    palette: Palette,
    base: Style,
    ellipsis: str,
    known: CellSegments | None = None,
) -> list[Segment]:
    """One row of a table; `base` is laid over every style. Many cells look as others did before: `known` keeps
    those of one palette and base.
    """
    segments: list[Segment] = []
    last = len(columns) - 1
    for at, (placed, cell) in enumerate(zip(columns, cells, strict=True)):
        key = (cell, placed.width, placed.column.align, at < last)
        found = known.get(key) if known is not None else None
        if found is None:
            found = cell_segments(cell, placed.width, placed.column.align, palette, base, ellipsis)
            if at < last:
                found = _with_gap(found, columns[at + 1].x - placed.x - placed.width, base)
            if known is not None:
                if len(known) >= MOST_CELLS:
                    known.clear()
                known[key] = found
        segments += found
    return segments


def _with_gap(segments: list[Segment], gap: int, base: Style) -> list[Segment]:
    """Segments and the cells behind them, as one with what fills the column."""
    if segments and segments[-1].style is base and segments[-1].text.isspace():
        return [*segments[:-1], Segment(segments[-1].text + " " * gap, base)]
    return [*segments, Segment(" " * gap, base)]


def header_segments(
    columns: Sequence[Placed[R]], sorted_by: Column[R], descending: bool, palette: Palette, glyphs: Glyphs
) -> list[Segment]:
    """The titles, with an arrow at the one that is sorted by."""
    arrow = glyphs.descending if descending else glyphs.ascending
    segments: list[Segment] = []
    end = 0
    for at, placed in enumerate(columns):
        title, role, width = placed.column.title, "title", placed.width
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
