"""A scrolling text of prepared lines: details, help, the objects of a preview."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.segment import Segment
from rich.style import Style

from tui.columns.base import Draw
from tui.drawing.draw import EMPTY, Cell
from tui.keyboard.keymap import bindings
from tui.operator.themes import Palette
from tui.widgets.segments import cell_segments
from tui.widgets.virtual import THUMB, VirtualView


class Facts(VirtualView):
    """Lines of cells under a title; with an empty title there is no header line."""

    BINDINGS = bindings("output")

    def __init__(
        self,
        draw: Callable[[], Draw],
        palette: Callable[[], Palette],
        title: str = "",
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(draw, palette, id=id)
        self._title = title
        self.HEADER = 1 if title else 0
        self.lines: Sequence[Cell] = ()

    def show(self, lines: Sequence[Cell]) -> None:
        """Replace the text; only lines that differ are painted."""
        before, self.lines = self.lines, tuple(lines)
        self.resize_virtual()
        if self.top > self.last_top:
            self.scroll_lines_to(self.last_top)
        self.repaint_thumb()
        for y in range(self.body_height):
            number = self.top + y
            old = before[number] if number < len(before) else None
            new = self.lines[number] if number < len(self.lines) else None
            if old != new:
                self.repaint_line(y)

    def line_count(self) -> int:
        return len(self.lines)

    def header_line(self) -> list[Segment]:
        return [Segment(f"  {self._title}", self.palette().style("accent" if self.has_focus else "title"))]

    def body_line(self, y: int) -> tuple[list[Segment], Style]:
        number = self.top + y
        cell = self.lines[number] if number < len(self.lines) else EMPTY
        width = max(0, self.size.width - THUMB)
        ellipsis = self.draw().glyphs.ellipsis
        return cell_segments(cell, width, "left", self.palette(), Style.null(), ellipsis), Style.null()

    def on_focus(self) -> None:
        self.repaint_header()

    def on_blur(self) -> None:
        self.repaint_header()

    def action_down(self) -> None:
        self.scroll_lines_to(self.top + 1)

    def action_up(self) -> None:
        self.scroll_lines_to(self.top - 1)

    def action_half_down(self) -> None:
        self.scroll_lines_to(self.top + max(1, self.body_height // 2))

    def action_half_up(self) -> None:
        self.scroll_lines_to(self.top - max(1, self.body_height // 2))

    def action_page_down(self) -> None:
        self.scroll_lines_to(self.top + max(1, self.body_height - 1))

    def action_page_up(self) -> None:
        self.scroll_lines_to(self.top - max(1, self.body_height - 1))

    def action_top(self) -> None:
        self.scroll_lines_to(0)

    def action_bottom(self) -> None:
        self.scroll_lines_to(self.last_top)

    def action_left(self) -> None:
        """Lines are cut to the width; there is nothing beside them."""

    def action_right(self) -> None:
        """As action_left."""

    def action_next_match(self) -> None:
        """Facts are not searched."""

    def action_previous_match(self) -> None:
        """As action_next_match."""
