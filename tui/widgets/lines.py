"""Lines of cells: the top bar, banner, footer and panels. Repaints only the lines that changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.drawing.draw import EMPTY, Cell, cell_width
from tui.operator.themes import Palette
from tui.widgets.finished import FinishedLines
from tui.widgets.segments import cell_segments


class Lines(Widget):
    """Shows what it is given, one cell a line, cut to its width."""

    ALLOW_SELECT = False

    def __init__(
        self,
        palette: Callable[[], Palette],
        *,
        id: str | None = None,  # noqa: A002
        ellipsis: str = "…",
    ) -> None:
        super().__init__(id=id)
        self._styles_cache = FinishedLines(self.drawn_line)
        self._palette = palette
        self._ellipsis = ellipsis
        self.lines: Sequence[Cell] = ()

    def show(self, lines: Sequence[Cell]) -> None:
        before, self.lines = self.lines, tuple(lines)
        for y in range(max(len(before), len(self.lines))):
            old = before[y] if y < len(before) else EMPTY
            new = self.lines[y] if y < len(self.lines) else EMPTY
            if old != new and y < self.size.height:
                self.refresh(Region(0, y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        return self.drawn_line(y).apply_style(self.rich_style)

    def drawn_line(self, y: int) -> Strip:
        """A line without the widget's own colours."""
        width = self.size.width
        cell = self.lines[y] if y < len(self.lines) else EMPTY
        segments = cell_segments(cell, width, "left", self._palette(), Style.null(), self._ellipsis)
        return Strip(segments, width)


def ends(left: Cell, right: Cell, width: int, *, gap: int = 2) -> Cell:
    """Left and right pushed apart to `width`; what is right gives way when both do not fit."""
    room = width - cell_width(left) - cell_width(right)
    if room < gap:
        return left
    return (*left, (" " * room, "text"), *right)
