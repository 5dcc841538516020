"""Labelled lines, shared by the details of tasks and nodes. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from tui.columns.base import Draw
from tui.drawing.draw import Cell, Span, cell_width
from tui.drawing.text import clean, fit, width_of, wrap

LABEL = 12
"""Cells of a label."""


def pair(label: str, *cell: Span) -> Cell:
    return ((f" {fit(label, LABEL)}", "dim"), *cell)


def title(text: str) -> list[Cell]:
    return [(), ((f" {text}", "title"),)]


def wrapped(cell: Cell, width: int) -> list[Cell]:
    """A cell of words in lines of at most `width` cells, broken between words; a longer word has a line."""
    if cell_width(cell) <= width:
        return [cell]
    lines: list[list[Span]] = [[]]
    used = 0
    for text, role in cell:
        for word in re.findall(r" *[^ ]+| +", text):
            size = width_of(word)
            if used and used + size > width:
                lines.append([])
                word = word.lstrip(" ")
                size, used = width_of(word), 0
            lines[-1].append((word, role))
            used += size
    return [tuple(line) for line in lines]


def long_text(label: str, text: str | bytes, role: str, draw: Draw, width: int, most: int = 8) -> Iterator[Cell]:
    cleaned = clean(text, ascii_only=draw.glyphs.ascii_only)
    pieces = wrap(cleaned, width - LABEL - 2)
    for at, piece in enumerate(pieces[:most]):
        more = draw.glyphs.ellipsis if at == most - 1 and len(pieces) > most else ""
        yield pair(label if at == 0 else "", (piece + more, role))


def sentence(label: str, text: str, role: str, draw: Draw, width: int, most: int = 8) -> Iterator[Cell]:
    """As long_text, of what is read and not copied: broken between words."""
    cleaned = clean(text, ascii_only=draw.glyphs.ascii_only)
    pieces = textwrap.wrap(cleaned, max(1, width - LABEL - 2)) or [""]
    if any(width_of(piece) > width - LABEL - 2 for piece in pieces):
        # Wide characters: words are not minded.
        yield from long_text(label, text, role, draw, width, most)
        return
    for at, piece in enumerate(pieces[:most]):
        more = draw.glyphs.ellipsis if at == most - 1 and len(pieces) > most else ""
        yield pair(label if at == 0 else "", (piece + more, role))
