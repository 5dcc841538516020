"""The one table of the console: draws only the rows on the screen, and repaints only the cells that changed.

Textual's own DataTable keeps a widget cell per row and repaints everything; this one reads a `Listing`, so 100,000
rows cost as much as 50.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from textual import events

from tui.columns.base import Column, Draw, TableSpec
from tui.keyboard.keymap import bindings
from tui.lists.filter import Filter
from tui.lists.rows import Listing, Rows
from tui.messages import Opened, Pointed, SortAsked
from tui.operator.arrange import Columns
from tui.operator.themes import Palette
from tui.widgets.rowlines import GUTTER, RowLines
from tui.widgets.virtual import THUMB

R = TypeVar("R")
JUDGED_A_SECOND = 10_000
"""Rows that a filter about ages is asked of anew per second."""


class Table(RowLines[R]):
    """A listing with a cursor that stays on its row, marks, sort and filter.

    Until the cursor is moved it stays on the top row; then it follows the row it is on, wherever that goes.
    """

    BINDINGS = bindings("table")

    def __init__(
        self,
        spec: TableSpec[R],
        rows: Rows[R],
        draw: Callable[[], Draw],
        palette: Callable[[], Palette],
        *,
        only: Callable[[R], bool] | None = None,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(draw, palette, id=id)
        self.spec = spec
        self._rows = rows
        self.sort_column: Column[R] = spec.column(spec.sort)
        assert self.sort_column.sort is not None
        self.listing: Listing[R] = Listing(
            rows, self.sort_column.sort, descending=self.sort_column.descending, only=only
        )
        self.filter_text = ""
        self.columns = Columns()
        self.begin_marking()
        self.every_column = False
        self._judged_us = 0
        self.following = True
        self._cursor = 0
        self._cursor_key = ""
        self.begin_drawing()

    # What the screens ask.

    @property
    def cursor(self) -> int:
        return self._cursor

    @property
    def cursor_key(self) -> str:
        """Key of the row under the cursor; empty when there is none."""
        return self.listing.key(self._cursor) if self._cursor < len(self.listing) else ""

    @property
    def cursor_row(self) -> R | None:
        return self.listing.row(self._cursor) if self._cursor < len(self.listing) else None

    # Changes from outside.

    def sync(self) -> None:
        """Take in what changed in the rows, and repaint the cells that look different now."""
        if self.paused:
            return
        judged = self._judge_in_time()
        moved = self.listing.update() or judged
        self.keep_marks(self._rows.__contains__)
        if moved:
            self._settle()
        if judged:
            self.redraw()
        self._repaint_changed()

    def apply_filter(self, source: str) -> None:
        """Show only what matches. Raises FilterError and keeps the former filter."""
        wanted = self.spec.parse(source, self._rows, self.now_us)
        self.filter_text = source.strip()
        self.listing.filter_by(wanted)
        self._settle()
        self.redraw()

    def now_us(self) -> int:
        """The leader's time as it is drawn."""
        return self.draw().now_us

    @property
    def filter_in_use(self) -> Filter[int] | None:
        return self.listing.filter

    @property
    def filtered_rows(self) -> int:
        """How many rows the filter is asked of."""
        return len(self._rows)

    def judge_again(self) -> None:
        """Ask the filter of every row anew."""
        self.listing.rebuild()

    def _judge_in_time(self) -> bool:
        """Where a filter is about ages, time alone makes rows match; many rows are asked less often.

        Returns whether others match now.
        """
        wanted = self.filter_in_use
        if wanted is None or not wanted.timed:
            return False
        now_us = self.now_us()
        if 0 <= now_us - self._judged_us < max(1, self.filtered_rows // JUDGED_A_SECOND) * 1_000_000:
            return False
        self._judged_us = now_us
        before = list(self.listing.keys())
        self.judge_again()
        return before != list(self.listing.keys())

    def sort_by(self, column: Column[R], descending: bool) -> None:
        assert column.sort is not None
        self.sort_column = column
        self.listing.sort_by(column.sort, descending)
        self._settle()
        self.redraw()

    def redraw(self) -> None:
        """Repaint everything: the width, the theme or the columns changed."""
        self._forget()
        self.refresh()

    def show_every_column(self, every: bool) -> None:
        self.every_column = every
        self._placed_for = None
        if not every:
            self.scroll_cells_by(-self.scroll_offset.x)
        self._settle()
        self.redraw()

    # Cursor.

    def move_to(self, position: int, *, follow: bool = False) -> None:
        """Put the cursor on a position, clamped, and scroll it into view."""
        last = len(self.listing) - 1
        position = max(0, min(position, last))
        before, self._cursor = self._cursor, position
        self._cursor_key = self.listing.key(position) if last >= 0 else ""
        self.following = follow
        top = self.top
        self.extend_range()
        if not self._scroll_into_view():
            self.repaint_line(before - top)
            self.repaint_line(position - top)
        self.post_message(Pointed(self, self._cursor_key))

    def point_at(self, key: str) -> bool:
        """Put the cursor on a row by key; False when it is not listed."""
        position = self.listing.position(key)
        if position is None:
            return False
        self.move_to(position)
        return True

    def action_open(self) -> None:
        if self.cursor_key:
            self.post_message(Opened(self, self.cursor_key))

    def action_sort(self) -> None:
        self.post_message(SortAsked(self))

    def action_sort_column(self, step: int) -> None:
        shown = [placed.column for placed in self._columns() if placed.column.sort is not None]
        if shown:
            at = shown.index(self.sort_column) if self.sort_column in shown else -1 if step > 0 else 0
            column = shown[(at + step) % len(shown)]
            self.sort_by(column, column.descending)

    def action_invert(self) -> None:
        self.sort_by(self.sort_column, not self.listing.descending)

    def action_wide(self) -> None:
        self.show_every_column(not self.every_column)

    # Geometry.

    def line_count(self) -> int:
        return len(self.listing)

    def content_width(self) -> int:
        columns = self._columns()
        return GUTTER + columns[-1].x + columns[-1].width + THUMB if columns else self.size.width

    def _settle(self) -> None:
        """After positions changed: keep the cursor on its row and that row on its line of the screen."""
        line = self._cursor - self.top
        position = None if self.following else self.listing.position(self._cursor_key)
        if position is None:
            # Its row is gone (or the top is followed): the cursor keeps its place rather than jumping away.
            position = 0 if self.following else min(self._cursor, max(0, len(self.listing) - 1))
        key = self.listing.key(position) if len(self.listing) else ""
        self._cursor, before, self._cursor_key = position, self._cursor_key, key
        self.scroll_lines_to(position - line)
        self._scroll_into_view()
        if key != before:
            self.post_message(Pointed(self, key))

    def _scroll_into_view(self) -> bool:
        """Scroll as little as shows the cursor; returns whether anything moved."""
        wanted = min(self.top, self._cursor)
        if self._cursor >= wanted + self.body_height:
            wanted = self._cursor - self.body_height + 1
        return self.body_height > 0 and self.scroll_lines_to(wanted)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        if round(old_value) != round(new_value):
            self._drawn.clear()
        super().watch_scroll_y(old_value, new_value)

    def resized(self) -> None:
        self._forget()
        super().resized()
        self._scroll_into_view()

    def on_focus(self) -> None:
        self.repaint_line(self._cursor - self.top)

    def on_blur(self) -> None:
        self.repaint_line(self._cursor - self.top)

    def on_click(self, event: events.Click) -> None:
        position = self.top + event.y - self.HEADER
        if event.y < self.HEADER or position >= len(self.listing):
            return
        again = position == self._cursor and event.chain > 1
        self.move_to(position)
        if again:
            self.action_open()

    def on_unmount(self) -> None:
        self.listing.close()
