"""The lines of a table: made of what is known of their rows, and painted when they differ from what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.strip import Strip

from tui.columns.base import Column, Draw, Placed, TableSpec, place
from tui.drawing.draw import EMPTY, Cell
from tui.drawing.text import clean
from tui.keyboard.wording import filled
from tui.lists.rows import Listing, Rows
from tui.operator.themes import Palette
from tui.tty.frontbuffer import Part, prepare
from tui.widgets.kept import Kept
from tui.widgets.segments import PlainRows, header_segments, note_line, row_segments
from tui.widgets.virtual import THUMB
from tui.widgets.walking import Walking

R = TypeVar("R")

HIDDEN = "Nothing matches the filter; {app.step_back} clears it."
NOBODY = "If it does not run, start it with `cortex up`; {app.quit} leaves."
GUTTER = 2
"""Cells left of the columns, for the cursor and the mark."""
PREPARED_ROWS = 10
"""Made at once: half a millisecond to one, for a key may be waiting."""

Image = tuple[bool, bool, tuple[Cell, ...]]
"""Of a row: whether the cursor is on it, whether it is marked, and its cells."""


LineLooks = tuple[bool, Size, int, int]
"""What beside its image and the thumb decides how a line looks: focus, size, cells scrolled aside, palette."""


class RowLines(Walking, Generic[R]):
    """Under a table."""

    spec: TableSpec[R]
    listing: Listing[R]
    sort_column: Column[R]
    _rows: Rows[R]
    _cursor: int

    def begin_drawing(self) -> None:
        self._emptiness = (True, False)
        self._placed: list[Placed[R]] = []
        self._placed_for: tuple[int, bool] | None = None
        self._drawn: dict[int, Image] = {}
        self._looked_at: object = None
        self._titles: list[str] = []
        self._frame: tuple[Draw, int, LineLooks] | None = None
        """While all lines are painted: what all share, and the first row."""
        self._plain_rows = PlainRows()
        self._around_then: tuple[Draw | None, object, object] = (None, None, None)
        self.kept: Kept[R] = Kept()

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
        self._frame = (self.draw(), self.top, self._looks())
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
        strip = self._kept_line(y, self.listing.key(top + y), image, looks)
        if strip is None:
            strip = super().drawn_line(y + self.HEADER)
            on_thumb = self._thumb[0] <= y < self._thumb[1]
            around = (image[0], image[1], on_thumb, looks, self.finishing.looks)
            self.kept.keep_strip(self.listing.key(top + y), image[2], around, strip)
        return strip

    def _looks(self) -> LineLooks:
        return self.has_focus, self.size, self.scroll_offset.x, id(self.palette())

    def _kept_line(self, y: int, key: str, image: Image, looks: LineLooks) -> Strip | None:
        """The line as it was made before, or made now where that is simple."""
        on_thumb = self._thumb[0] <= y < self._thumb[1]
        # A plain line is finished by those of the last paint, which may be of before a change of the theme.
        around = (image[0], image[1], on_thumb, looks, self.finishing.looks)
        strip = self.kept.strip(key, image[2], around)
        if strip is None and not image[0] and not image[1]:
            strip = self._plain_line(image[2], on_thumb, looks)
            if strip is not None:
                self.kept.keep_strip(key, image[2], around, strip)
        return strip

    def preparing(self) -> Iterator[None]:
        """Make the lines that the next sync will show, a few at a time; between them anything may happen."""
        for y in range(self.body_height):
            if y % PREPARED_ROWS == 0:
                yield
                if self.paused or not self.is_attached or not self.size:
                    return
                self._columns()
                # Asked once for all rows of a part: where a widget stands takes long to find out.
                draw, top, looks = self.draw(), self.top, self._looks()
            position = top + y
            if position >= len(self.listing):
                return
            image = self._image(position, draw)
            if self._drawn.get(y) != image:
                strip = self._kept_line(y, self.listing.key(position), image, looks)
                if strip is not None:
                    prepare(strip, self.app.console)

    def _plain_line(self, cells: tuple[Cell, ...], on_thumb: bool, around: LineLooks) -> Strip | None:
        """The line of a row that nothing is laid over; None where it is not that simple."""
        looks, columns = self.finishing.looks, self._placed
        _, (width, _), scrolled, _ = around
        end = GUTTER + (columns[-1].x + columns[-1].width if columns else 0)
        beyond = width - THUMB - end
        if looks is None or not looks.plain or scrolled or beyond < 0:
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
