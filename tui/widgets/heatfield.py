"""The rows of a table as a field of one glyph each: the same cursor, marks and order, a value at a glance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual import events

from tui.columns.base import Draw
from tui.columns.shades import Shade
from tui.drawing.draw import EMPTY, Cell, Span, foreign
from tui.drawing.heatmap import Heatmap, heatmap
from tui.keyboard.keymap import bindings
from tui.keyboard.wording import filled
from tui.operator.themes import Palette
from tui.widgets.rowlines import HIDDEN
from tui.widgets.segments import cell_segments
from tui.widgets.table import Table
from tui.widgets.virtual import THUMB, VirtualView

HERE = "[]"
"""The cursor, which must be seen on a full block as on a dot, with and without colour."""


class HeatField(VirtualView):
    """Over a table that need not be displayed: whoever moves here moves the cursor there."""

    BINDINGS = bindings("heat")

    def __init__(
        self,
        table: Table[Any],
        shade: Shade,
        draw: Callable[[], Draw],
        palette: Callable[[], Palette],
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(draw, palette, id=id)
        self._table = table
        self.shade = shade
        self._field: Heatmap = heatmap((), 1, draw().glyphs)
        self._lines: list[Cell] = []

    def sync(self) -> None:
        """Take in what changed, and repaint the lines that look different now."""
        if not self.size:
            return
        self._field = self._made()
        before, self._lines = self._lines, [self._line(y) for y in range(len(self._field.lines))]
        self.resize_virtual()
        self._scroll_to_cursor()
        self.repaint_thumb()
        for y in range(self.body_height):
            number = self.top + y
            old = before[number] if number < len(before) else None
            new = self._lines[number] if number < len(self._lines) else None
            if old != new:
                self.repaint_line(y)

    def show(self, shade: Shade) -> None:
        self.shade = shade
        self._lines = []
        self.sync()
        self.refresh()

    def _made(self) -> Heatmap:
        listing, shade = self._table.listing, self.shade
        rows = [listing.row(position) for position in range(len(listing))]
        found = ((at, shade.mark(row)) for at, row in enumerate(rows) if row is not None)
        marks = {at: mark for at, mark in found if mark is not None}
        width = max(1, self.size.width - THUMB)
        values = [None if row is None else shade.value(row) for row in rows]
        return heatmap(values, width, self.draw().glyphs, height=self.body_height, marks=marks, levels=shade.levels)

    def _line(self, y: int) -> Cell:
        """The line with the cursor and the marked rows laid over it."""
        field, table = self._field, self._table
        first = y * field.columns
        over = {table.cursor: (HERE[: field.cells] if field.cells > 1 else "X", "here")}
        if table.marks:
            keys = [table.listing.key(at) for at in range(first, min(first + field.columns, field.count))]
            mark = self.draw().glyphs.mark
            over = {
                first + at: ((mark * field.cells)[: field.cells], "accent")
                for at, key in enumerate(keys)
                if key in table.marks
            } | over
        line = field.lines[y]
        for number in sorted(over, reverse=True):
            if first <= number < min(first + field.columns, field.count):
                line = _overlaid(line, (number - first) * field.cells, over[number])
        return line

    def _scroll_to_cursor(self) -> None:
        if not self._field.count or self.body_height <= 0:
            return
        _, y = self._field.spot(min(self._table.cursor, self._field.count - 1))
        if y < self.top:
            self.scroll_lines_to(y)
        elif y >= self.top + self.body_height:
            self.scroll_lines_to(y - self.body_height + 1)

    # Keys.

    def _move(self, step: int) -> None:
        self._go(self._table.cursor + step)

    def _go(self, position: int) -> None:
        self._table.move_to(position)
        self.sync()

    def action_down(self) -> None:
        if self._table.cursor + self._field.columns < self._field.count:
            self._move(self._field.columns)

    def action_up(self) -> None:
        if self._table.cursor >= self._field.columns:
            self._move(-self._field.columns)

    def action_left(self) -> None:
        self._move(-1)

    def action_right(self) -> None:
        self._move(1)

    def action_top(self) -> None:
        self._go(0)

    def action_bottom(self) -> None:
        self._go(self._field.count - 1)

    def action_mark(self) -> None:
        self._table.action_mark()
        self.sync()

    def action_mark_all(self) -> None:
        self._table.action_mark_all()
        self.sync()

    def action_unmark(self) -> None:
        self._table.action_unmark()
        self.sync()

    def action_open(self) -> None:
        self._table.action_open()

    def on_click(self, event: events.Click) -> None:
        position = self._field.at(event.x, self.top + event.y - self.HEADER)
        if event.y >= self.HEADER and position is not None:
            self._go(position)

    # Drawing.

    def line_count(self) -> int:
        return len(self._field.lines)

    def resized(self) -> None:
        super().resized()
        self._lines = []
        self.sync()
        self.refresh()

    def header_line(self) -> list[Segment]:
        head: Cell = ((f"  {self.shade.title}   ", "accent"), *self._field.legend)
        return cell_segments(
            head, max(0, self.size.width - THUMB), "left", self.palette(), Style.null(), self.draw().glyphs.ellipsis
        )

    def body_line(self, y: int) -> tuple[list[Segment], Style]:
        number, palette = self.top + y, self.palette()
        if not self._field.count and y == 1:
            empty = HIDDEN if self._table.filter_text else self._table.spec.empty
            line: Cell = foreign(f"  {filled(empty, self.draw().word)}", "dim", self.draw().glyphs)
        else:
            line = self._lines[number] if number < len(self._lines) else EMPTY
        segments = []
        for text, role in line:
            style = palette.style("accent") + Style(reverse=True) if role == "here" else palette.style(role)
            segments.append(Segment(text, style))
        return segments, Style.null()


def _overlaid(line: Cell, x: int, span: Span) -> Cell:
    """The line with its cells from `x` on replaced by the span; every character is one cell wide."""
    made: list[Span] = []
    start, end = x, x + len(span[0])
    at = 0
    for text, role in line:
        left, right = text[: max(0, start - at)], text[max(0, end - at) :]
        if left:
            made.append((left, role))
        if at <= start < at + len(text):
            made.append(span)
        if right:
            made.append((right, role))
        at += len(text)
    return tuple(made)
