"""A screen with two lines on the row under the cursor: what its columns have no room for."""

from __future__ import annotations

from collections.abc import Sequence

from tui.drawing.draw import Cell
from tui.screens.base import ConsoleScreen
from tui.widgets.lines import Lines

TALL = 18
"""Lines of a screen from which on there is room for them."""


class PointingScreen(ConsoleScreen):
    """Subclasses put `under_lines` below their table, and say what `under` shows."""

    def under_lines(self) -> Lines:
        return Lines(self.palette, id="under", ellipsis=self.console.glyphs.ellipsis)

    def under(self, width: int) -> Sequence[Cell]:
        """What is known of the row beyond its columns; two lines at most. As of when the table stood still."""
        raise NotImplementedError

    def sync_chrome(self) -> None:
        super().sync_chrome()
        if self.is_mounted:
            lines = self.query_one("#under", Lines)
            lines.display = self.size.height >= TALL
            lines.show(self.under(self.size.width))
