"""The one table of the console: draws only the rows on the screen, and repaints only the cells that changed.

Textual's own DataTable keeps a widget cell per row and repaints everything; this one reads a `Listing`, so 100,000
rows cost as much as 50.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from tui.columns.base import Column, Draw, Placed, TableSpec, place
from tui.draw import Cell
from tui.keymap import bindings
from tui.messages import Opened, Pointed, SortAsked
from tui.rows import Listing, Rows
from tui.text import fit
from tui.themes import Palette
from tui.widgets.segments import header_segments, row_segments

R = TypeVar("R")

GUTTER = 2
"""Cells left of the columns, for the cursor and the mark."""
THUMB = 1
"""Cells right of them, for the scroll position."""
HEADER = 1


class Table(ScrollView, Generic[R], can_focus=True):
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
        super().__init__(id=id)
        self.spec = spec
        self._rows = rows
        self._draw = draw
        self._palette = palette
        column = spec.column(spec.sort)
        assert column.sort is not None
        self.sort_column: Column[R] = column
        self.listing: Listing[R] = Listing(rows, column.sort, descending=column.descending, only=only)
        self.filter_text = ""
        self.marks: set[str] = set()
        self.every_column = False
        self.following = True
        self._cursor = 0
        self._cursor_key = ""
        self._placed: list[Placed[R]] = []
        self._placed_for: tuple[int, bool] | None = None
        self._lines: dict[int, tuple[Cell, ...]] = {}
        self._thumb: tuple[int, int] = (0, 0)
        self._second = -1

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

    def chosen(self) -> list[str]:
        """Keys that an action concerns: the marked rows in listed order, else the one under the cursor."""
        if self.marks:
            return [key for key in self.listing.keys() if key in self.marks]  # noqa: SIM118
        return [self.cursor_key] if self.cursor_key else []

    @property
    def body_height(self) -> int:
        return max(0, self.size.height - HEADER)

    # Changes from outside.

    def sync(self) -> None:
        """Take in what changed in the rows, and repaint the cells that look different now."""
        moved, _changed = self.listing.update()
        if self.marks:
            self.marks = {key for key in self.marks if key in self._rows}
        if moved:
            self._settle()
        self._repaint_changed()

    def apply_filter(self, source: str) -> None:
        """Show only what matches. Raises FilterError and keeps the former filter."""
        wanted = self.spec.parse(source, self._rows)
        self.filter_text = source.strip()
        self.listing.filter_by(wanted)
        self._settle()
        self.redraw()

    def sort_by(self, column: Column[R], descending: bool) -> None:
        assert column.sort is not None
        self.sort_column = column
        self.listing.sort_by(column.sort, descending)
        self._settle()
        self.redraw()

    def restrict(self, only: Callable[[R], bool]) -> None:
        """Replace the condition that every listed row meets."""
        self.listing.close()
        assert self.sort_column.sort is not None
        self.listing = Listing(self._rows, self.sort_column.sort, descending=self.listing.descending, only=only)
        self._settle()
        self.redraw()

    def redraw(self) -> None:
        """Repaint everything: the width, the theme or the columns changed."""
        self._placed_for = None
        self._lines.clear()
        self.refresh()

    def show_every_column(self, every: bool) -> None:
        self.every_column = every
        if not every:
            self.scroll_to(x=0, animate=False, force=True, immediate=True)
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
        top = self._top
        if not self._scroll_into_view():
            self._repaint_row(before - top)
            self._repaint_row(position - top)
        self.post_message(Pointed(self, self._cursor_key))

    def point_at(self, key: str) -> bool:
        """Put the cursor on a row by key; False when it is not listed."""
        position = self.listing.position(key)
        if position is None:
            return False
        self.move_to(position)
        return True

    def action_down(self) -> None:
        self.move_to(self._cursor + 1)

    def action_up(self) -> None:
        self.move_to(self._cursor - 1)

    def action_top(self) -> None:
        self.move_to(0, follow=True)

    def action_bottom(self) -> None:
        self.move_to(len(self.listing) - 1)

    def action_half_down(self) -> None:
        self.move_to(self._cursor + max(1, self.body_height // 2))

    def action_half_up(self) -> None:
        self.move_to(self._cursor - max(1, self.body_height // 2))

    def action_page_down(self) -> None:
        self.move_to(self._cursor + max(1, self.body_height - 1))

    def action_page_up(self) -> None:
        self.move_to(self._cursor - max(1, self.body_height - 1))

    def action_left(self) -> None:
        self.scroll_to(x=self.scroll_offset.x - 8, animate=False, force=True, immediate=True)

    def action_right(self) -> None:
        self.scroll_to(x=self.scroll_offset.x + 8, animate=False, force=True, immediate=True)

    def action_next_match(self) -> None:
        if len(self.listing):
            self.move_to((self._cursor + 1) % len(self.listing))

    def action_previous_match(self) -> None:
        if len(self.listing):
            self.move_to((self._cursor - 1) % len(self.listing))

    def action_mark(self) -> None:
        key = self.cursor_key
        if not key:
            return
        self.marks ^= {key}
        self._repaint_row(self._cursor - self._top)
        self.move_to(self._cursor + 1)

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

    def clear_marks(self) -> bool:
        """Unmark all; False when nothing was marked."""
        had = bool(self.marks)
        self.marks.clear()
        self.redraw()
        return had

    # Geometry.

    @property
    def allow_vertical_scroll(self) -> bool:
        return True

    @property
    def allow_horizontal_scroll(self) -> bool:
        return self.every_column

    @property
    def _top(self) -> int:
        return self.scroll_offset.y

    def _settle(self) -> None:
        """After positions changed: keep the cursor on its row and that row on its line of the screen."""
        line = self._cursor - self._top
        position = None if self.following else self.listing.position(self._cursor_key)
        self._resize_virtual()
        if position is None:
            # Its row is gone (or the top is followed): the cursor keeps its place rather than jumping away.
            position = 0 if self.following else min(self._cursor, max(0, len(self.listing) - 1))
        moved_key = self.listing.key(position) if len(self.listing) else ""
        self._cursor, previous, self._cursor_key = position, self._cursor_key, moved_key
        self.scroll_to(y=max(0, position - line), animate=False, force=True, immediate=True)
        self._scroll_into_view()
        if moved_key != previous:
            self.post_message(Pointed(self, moved_key))

    def _resize_virtual(self) -> None:
        # Not by assignment: the reactive lays out the screen and repaints the whole widget.
        size = Size(self._content_width(), len(self.listing) + HEADER)
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)

    def _content_width(self) -> int:
        columns = self._columns()
        return GUTTER + columns[-1].x + columns[-1].width + THUMB if columns else self.size.width

    def _scroll_into_view(self) -> bool:
        """Scroll as little as shows the cursor; returns whether anything moved."""
        top, height = self._top, self.body_height
        if height <= 0:
            return False
        wanted = min(top, self._cursor)
        if self._cursor >= wanted + height:
            wanted = self._cursor - height + 1
        if wanted == top:
            return False
        self.scroll_to(y=wanted, animate=False, force=True, immediate=True)
        return True

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        if round(old_value) != round(new_value):
            self._lines.clear()
        super().watch_scroll_y(old_value, new_value)

    def on_resize(self, _event: events.Resize) -> None:
        self._placed_for = None
        self._lines.clear()
        self._resize_virtual()
        self._scroll_into_view()

    def on_focus(self) -> None:
        self._repaint_row(self._cursor - self._top)

    def on_blur(self) -> None:
        self._repaint_row(self._cursor - self._top)

    def on_click(self, event: events.Click) -> None:
        position = self._top + event.y - HEADER
        if event.y < HEADER or position >= len(self.listing):
            return
        again = position == self._cursor and event.chain > 1
        self.move_to(position)
        if again:
            self.action_open()

    def on_unmount(self) -> None:
        self.listing.close()

    # Drawing.

    def _columns(self) -> list[Placed[R]]:
        width = self.size.width - GUTTER - THUMB
        if self._placed_for != (width, self.every_column):
            self._placed = place(self.spec.columns, max(1, width), every=self.every_column)
            self._placed_for = (width, self.every_column)
        return self._placed

    def _cells(self, position: int, draw: Draw) -> tuple[Cell, ...]:
        row = self.listing.row(position)
        return tuple(placed.column.draw(row, draw, placed.width) for placed in self._columns())

    def _repaint_changed(self) -> None:
        """Compare what each line shows with what it should, and dirty only the cells that differ."""
        if not self.size:
            return
        draw = self._draw()
        top, count = self._top, len(self.listing)
        if self._thumb != self._thumb_now():
            self._thumb = self._thumb_now()
            self.refresh(Region(self.size.width - THUMB, 0, THUMB, self.size.height))
        for y in range(self.body_height):
            position = top + y
            drawn = self._lines.get(y)
            if position >= count:
                if drawn is not None or position == count == 0:
                    self._lines.pop(y, None)
                    self._repaint_row(y)
                continue
            cells = self._cells(position, draw)
            if drawn == cells:
                continue
            self._lines[y] = cells
            if drawn is None or len(drawn) != len(cells):
                self._repaint_row(y)
            else:
                self._repaint_cells(y, drawn, cells)

    def _repaint_cells(self, y: int, before: tuple[Cell, ...], after: tuple[Cell, ...]) -> None:
        offset = GUTTER - self.scroll_offset.x
        for placed, old, new in zip(self._columns(), before, after, strict=True):
            if old != new:
                region = Region(placed.x + offset, y + HEADER, placed.width, 1)
                if visible := region.intersection(self.size.region):
                    self.refresh(visible)

    def _repaint_row(self, y: int) -> None:
        if 0 <= y < self.body_height:
            self.refresh(Region(0, y + HEADER, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        palette = self._palette()
        if y < HEADER:
            segments = header_segments(
                self._columns(), self.sort_column, self.listing.descending, palette, self._draw().glyphs
            )
            return self._finish([Segment(" " * GUTTER), *segments], 0, width, palette, Style.null())
        position = self._top + y - HEADER
        if position >= len(self.listing):
            self._lines.pop(y - HEADER, None)
            return self._blank(y - HEADER, width, palette)
        draw = self._draw()
        cells = self._cells(position, draw)
        self._lines[y - HEADER] = cells
        key = self.listing.key(position)
        at_cursor, marked = position == self._cursor, key in self.marks
        base = Style.null()
        if at_cursor:
            base = palette.cursor if self.has_focus else palette.cursor_away
        elif marked:
            base = palette.marked
        glyphs = draw.glyphs
        lead = (
            (glyphs.cursor if at_cursor else " ", palette.style("accent")),
            (glyphs.mark if marked else " ", palette.style("accent")),
        )
        segments = [Segment(text, style + base) for text, style in lead]
        segments += row_segments(self._columns(), cells, palette, base, glyphs.ellipsis)
        return self._finish(segments, y, width, palette, base)

    def _blank(self, y: int, width: int, palette: Palette) -> Strip:
        if y == 1 and not len(self.listing):
            note = "Nothing matches the filter; esc clears it." if self.filter_text else self.spec.empty
            return Strip([Segment(fit(" " * GUTTER + note, width), palette.style("dim"))], width)
        return Strip.blank(width)

    def _finish(self, segments: list[Segment], y: int, width: int, palette: Palette, base: Style) -> Strip:
        """Cut to the viewport and add the scroll thumb, which stays at the right edge."""
        inner = max(0, width - THUMB)
        offset = self.scroll_offset.x
        strip = Strip([segment for segment in segments if segment.text])
        strip = strip.crop_extend(offset, offset + inner, base)
        first, last = self._thumb_now()
        glyphs = self._draw().glyphs
        thumb = glyphs.thumb if HEADER + first <= y < HEADER + last else " "
        return Strip([*strip, Segment(thumb[:width], palette.style("track"))], inner + THUMB)

    def _thumb_now(self) -> tuple[int, int]:
        """First and one past the last body line of the thumb; empty when everything fits."""
        height, count = self.body_height, len(self.listing)
        if count <= height or height < 2:
            return (0, 0)
        length = max(1, height * height // count)
        first = round(self._top / max(1, count - height) * (height - length))
        return (first, first + length)
