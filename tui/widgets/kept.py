"""Rows as a table drew them last: what looks as before is not drawn anew when others change or all scroll."""

from __future__ import annotations

from typing import Generic, TypeVar

from textual.strip import Strip

from tui.drawing.draw import Cell

R = TypeVar("R")

MOST_ROWS = 512

Cells = tuple[Cell, ...]


class Kept(Generic[R]):
    """By key of the row. `drawn` and `composed` count what was really made."""

    def __init__(self) -> None:
        self._cells: dict[str, tuple[R, object, Cells]] = {}
        self._strips: dict[str, tuple[Cells, object, Strip]] = {}
        self.drawn = 0
        self.composed = 0

    def forget(self) -> None:
        self._cells.clear()
        self._strips.clear()

    def cells(self, key: str, row: R, around: object) -> Cells | None:
        """The cells of a row; `around` is what else decides about them."""
        kept = self._cells.get(key)
        return kept[2] if kept is not None and kept[0] is row and kept[1] == around else None

    def keep_cells(self, key: str, row: R, around: object, cells: Cells) -> Cells:
        """Cells that were made; the former ones where they are the same, so that the line of these stays."""
        self.drawn += 1
        kept = self._cells.get(key)
        if kept is not None and kept[2] == cells:
            cells = kept[2]
        if len(self._cells) >= MOST_ROWS:
            self._cells.clear()
        self._cells[key] = (row, around, cells)
        return cells

    def strip(self, key: str, cells: Cells, looks: object) -> Strip | None:
        """The line of a row; `looks` is what beside its cells decides how it looks."""
        kept = self._strips.get(key)
        return kept[2] if kept is not None and kept[0] is cells and kept[1] == looks else None

    def keep_strip(self, key: str, cells: Cells, looks: object, strip: Strip) -> Strip:
        self.composed += 1
        if len(self._strips) >= MOST_ROWS:
            self._strips.clear()
        self._strips[key] = (cells, looks, strip)
        return strip
