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
from textual.geometry import Region
from textual.strip import Strip

from tui.columns.base import Column, Draw, Placed, TableSpec, place
from tui.drawing.draw import EMPTY, Cell
from tui.drawing.text import clean
from tui.keyboard.keymap import bindings
from tui.keyboard.wording import filled
from tui.lists.rows import Listing, Rows
from tui.messages import Opened, Pointed, SortAsked
from tui.operator.arrange import Columns
from tui.operator.themes import Palette
from tui.tty.frontbuffer import Part
from tui.widgets.kept import Kept
from tui.widgets.segments import PlainRows, header_segments, note_line, row_segments
from tui.widgets.virtual import THUMB
from tui.widgets.walking import Walking

R = TypeVar("R")

HIDDEN = "Nothing matches the filter; {app.step_back} clears it."
NOBODY = "If it does not run, start it with `cortex up`; {app.quit} leaves."
GUTTER = 2
"""Cells left of the columns, for the cursor and the mark."""

Image = tuple[bool, bool, tuple[Cell, ...]]
"""Of a row: whether the cursor is on it, whether it is marked, and its cells."""


class Table(Walking, Generic[R]):
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
        self.following = True
        self._cursor = 0
        self._cursor_key = ""
        self._emptiness = (True, False)
        self._placed: list[Placed[R]] = []
        self._placed_for: tuple[int, bool] | None = None
        self._drawn: dict[int, Image] = {}
        self._looked_at: object = None
        self._titles: list[str] = []
        self._frame: tuple[Draw, int, object] | None = None
        """While all lines are painted: what all share, and the first row."""
        self._plain_rows = PlainRows()
        self._around_then: tuple[Draw | None, object, object] = (None, None, None)
        self.kept: Kept[R] = Kept()

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
        moved = self.listing.update()
        self.keep_marks(self._rows.__contains__)
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

    # Drawing.

    def _columns(self) -> list[Placed[R]]:
        width = self.size.width - GUTTER - THUMB
        if self._placed_for != (width, self.every_column):
            self._placed = place(
                self.shown_columns(), max(1, width), every=self.every_column, pinned=self.columns.pinned
            )
            self._placed_for = (width, self.every_column)
            self._drawn.clear()
        return self._placed

    def _forget(self) -> None:
        """All that was drawn looks different now."""
        self._placed_for = None
        self._drawn.clear()
        self.kept.forget()
        self._plain_rows.forget()
        self._looked_at = None

    def _around(self, draw: Draw) -> object:
        """What decides beside a row how it looks; the same object until the next tick."""
        if self._around_then[0] is not draw or self._around_then[1] is not self._placed:
            around = (self.spec.around(draw), draw.now_us if draw.view.past else 0, self._placed_for)
            self._around_then = (draw, self._placed, around)
        return self._around_then[2]

    def _image(self, position: int, draw: Draw) -> Image:
        """All that decides how a row looks, but for the theme and the focus."""
        row, key = self.listing.row(position), self.listing.key(position)
        columns = self._placed
        # One that was removed keeps its line until the next sync.
        cells = (EMPTY,) * len(columns)
        if row is not None:
            around = (self.spec.ageing(row, draw), self._around(draw))
            kept = self.kept.cells(key, row, around)
            if kept is None:
                made = tuple([placed.column.draw(row, draw, placed.width) for placed in columns])
                kept = self.kept.keep_cells(key, row, around, made)
            cells = kept
        return (position == self._cursor, key in self.marks, cells)

    def _shown(self, y: int, draw: Draw) -> Image:
        """What the line shows; anew only when all of it is painted, for the other cells would stay behind."""
        self._columns()
        image = self._drawn.get(y)
        if image is None:
            image = self._drawn[y] = self._image(self.top + y, draw)
        return image

    def repaint_line(self, y: int) -> None:
        self._drawn.pop(y, None)
        super().repaint_line(y)

    def _repaint_changed(self) -> None:
        """Compare what each line shows with what it should, and dirty those that differ."""
        if not self.size:
            return
        draw = self.draw()
        top, count = self.top, len(self.listing)
        self.repaint_thumb()
        emptiness = (count == 0, draw.view.ready)
        if emptiness != self._emptiness:
            self._emptiness = emptiness
            self.repaint_line(1)
        looked_at = (self._rows.version, draw.view.version, self._around(draw), int(draw.now_s))
        if looked_at == self._looked_at:
            return
        self._looked_at = looked_at
        if (titles := [placed.column.titled(draw) for placed in self._columns()]) != self._titles:
            self._titles = titles
            self.repaint_header()
        drawn = self._drawn
        changed: list[int] = []
        for y in range(self.body_height):
            image = self._image(top + y, draw) if top + y < count else None
            if drawn.get(y) != image:
                changed.append(y)
                if image is None:
                    del drawn[y]
                else:
                    drawn[y] = image
        self.repaint_lines(changed)

    def header_line(self) -> list[Segment]:
        columns, draw = self._columns(), self.draw()
        titles = header_segments(columns, self.sort_column, self.listing.descending, self.palette(), draw)
        return [Segment(" " * GUTTER), *titles]

    def render_lines(self, crop: Region) -> list[Strip]:
        # Looked up once for all lines of a paint.
        self._columns()
        self._frame = (self.draw(), self.top, (self.has_focus, self.size, self.scroll_offset.x, id(self.palette())))
        try:
            return super().render_lines(crop)
        finally:
            self._frame = None

    def drawn_line(self, y: int) -> Strip:
        if self._frame is None or y < self.HEADER or self._frame[1] + y - self.HEADER >= len(self.listing):
            return super().drawn_line(y)
        draw, top, looks = self._frame
        y -= self.HEADER
        image = self._drawn.get(y)
        if image is None:
            image = self._drawn[y] = self._image(top + y, draw)
        key, on_thumb = self.listing.key(top + y), self._thumb[0] <= y < self._thumb[1]
        around = (image[0], image[1], on_thumb, looks)
        strip = self.kept.strip(key, image[2], around)
        if strip is None:
            made = None if image[0] or image[1] else self._plain_line(image[2], on_thumb)
            strip = self.kept.keep_strip(key, image[2], around, made or super().drawn_line(y + self.HEADER))
        return strip

    def _plain_line(self, cells: tuple[Cell, ...], on_thumb: bool) -> Strip | None:
        """The line of a row that nothing is laid over; None where it is not that simple."""
        looks, columns, width = self.finishing.looks, self._placed, self.size.width
        end = GUTTER + (columns[-1].x + columns[-1].width if columns else 0)
        beyond = width - THUMB - end
        if looks is None or not looks.plain or self.scroll_offset.x or beyond < 0:
            return None
        palette, glyphs = self.palette(), self.draw().glyphs
        edge = Segment(glyphs.thumb if on_thumb else " ", palette.style("track"))
        begin = Segment(" " * GUTTER, palette.style("accent"))
        ends = [begin, Segment(" " * beyond), edge] if beyond else [begin, edge]
        first, *rest = looks.finished(ends)
        row = self._plain_rows.line(columns, cells, looks, palette, glyphs.ellipsis)
        return looks.joined([Part([first]), *row, Part(rest)], width)

    def body_line(self, y: int) -> tuple[list[Segment], Style]:
        palette, draw = self.palette(), self.draw()
        position = self.top + y
        if position >= len(self.listing):
            self._drawn.pop(y, None)
            return self._note(y, palette), Style.null()
        at_cursor, marked, cells = self._shown(y, draw)
        base = Style.null()
        if at_cursor:
            base = palette.cursor if self.has_focus else palette.cursor_away
        elif marked:
            base = palette.marked
        glyphs = draw.glyphs
        lead = (glyphs.cursor if at_cursor else " ") + (glyphs.mark if marked else " ")
        segments = [Segment(lead, palette.style("accent") + base)]
        segments += row_segments(self._columns(), cells, palette, base, glyphs.ellipsis)
        return segments, base

    def _note(self, y: int, palette: Palette) -> list[Segment]:
        """Why there is nothing to see, from the second line of an empty table on."""
        if len(self.listing):
            return []
        draw = self.draw()
        text = filled(HIDDEN if self.filter_text else self.spec.empty, draw.word)
        if not draw.view.ready:
            remedy = draw.view.link.remedy or filled(NOBODY, draw.word)
            text = f"Waiting for the cluster. {clean(remedy, ascii_only=draw.glyphs.ascii_only)}"
            text = draw.view.awaiting or text
        return note_line(text, y, self.size.width, GUTTER, palette)
