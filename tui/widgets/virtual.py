"""A scrolling view that draws only the lines on the screen: the base of tables, output and long texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from tui.columns.base import Draw
from tui.keyboard.keymap import Rebound
from tui.operator.themes import Palette
from tui.tty.driver import HeldKey
from tui.tty.frontbuffer import Finished
from tui.widgets.finished import FinishedLines

THUMB = 1
"""Cells at the right edge, for the scroll position."""
MOVES = frozenset({"down", "up", "half_down", "half_up", "page_down", "page_up"})
"""Actions of a view that concern nobody else until it says so."""


class VirtualView(Rebound, ScrollView, can_focus=True):
    """Lines under a header line, of which any number may exist; scrolls itself, with its own thumb."""

    HEADER = 1
    ALLOW_SELECT = False

    def __init__(
        self,
        draw: Callable[[], Draw],
        palette: Callable[[], Palette],
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(id=id)
        self._styles_cache = self.finishing = FinishedLines(self.drawn_line)
        self.draw = draw
        self.palette = palette
        self._thumb = (0, 0)
        """As it is drawn in every line: it is elsewhere only once all of them were dirtied."""

    def line_count(self) -> int:
        """How many lines there are, without the header."""
        raise NotImplementedError

    def content_width(self) -> int:
        """Cells of the widest line."""
        return self.size.width

    def body_line(self, y: int) -> tuple[list[Segment], Style]:
        """Segments of the line at `y` of the body, and the style beyond their end."""
        raise NotImplementedError

    def header_line(self) -> list[Segment]:
        return []

    @property
    def body_height(self) -> int:
        return max(0, self.size.height - self.HEADER)

    @property
    def top(self) -> int:
        """The first shown line."""
        return self.scroll_offset.y

    @property
    def last_top(self) -> int:
        return max(0, self.line_count() - self.body_height)

    @property
    def allow_vertical_scroll(self) -> bool:
        return True

    @property
    def allow_horizontal_scroll(self) -> bool:
        return self.content_width() > self.size.width

    def scroll_lines_to(self, y: int) -> bool:
        """Make `y` the first shown line, clamped; returns whether anything moved."""
        self.resize_virtual()
        y = max(0, min(y, self.last_top))
        if y == self.top:
            return False
        self.scroll_to(y=y, animate=False, force=True, immediate=True)
        self.repaint_thumb()
        return True

    def scroll_cells_by(self, cells: int) -> None:
        self.resize_virtual()
        self.scroll_to(x=self.scroll_offset.x + cells, animate=False, force=True, immediate=True)

    def resize_virtual(self) -> None:
        # Not by assignment: the reactive lays out the screen and repaints the whole widget.
        size = Size(self.content_width(), self.line_count() + self.HEADER)
        if size != self.virtual_size:
            self.set_reactive(Widget.virtual_size, size)
        self.repaint_thumb()

    def repaint_line(self, y: int) -> None:
        """Dirty one line of the body by its place on the screen."""
        if 0 <= y < self.body_height:
            self.refresh(Region(0, y + self.HEADER, self.size.width, 1))

    def repaint_lines(self, lines: Iterable[int]) -> None:
        """Dirty lines of the body, given from the top, at once."""
        width = self.size.width
        if regions := [Region(0, y + self.HEADER, width, 1) for y in lines]:
            self.refresh(*regions)

    def repaint_header(self) -> None:
        self.refresh(Region(0, 0, self.size.width, self.HEADER))

    def repaint_thumb(self) -> None:
        """Dirty the scroll thumb if it is elsewhere now."""
        if self._thumb != self.thumb_now():
            self._thumb = self.thumb_now()
            self.refresh(Region(self.size.width - THUMB, 0, THUMB, self.size.height))

    def thumb_now(self) -> tuple[int, int]:
        """First and one past the last body line of the thumb; empty when everything fits."""
        height, count = self.body_height, self.line_count()
        if count <= height or height < 2:
            return (0, 0)
        length = max(1, height * height // count)
        first = round(self.top / max(1, count - height) * (height - length))
        return (first, first + length)

    async def _on_key(self, event: events.Key) -> None:
        """What moves within the view is done here: by way of the screen and the console it takes twice as long."""
        bound = [one for one in self._bindings.key_to_bindings.get(event.key, ()) if not one.priority]
        if bound and bound[0].action in MOVES:
            move = getattr(self, f"action_{bound[0].action}")
            for _ in range(event.count if isinstance(event, HeldKey) else 1):
                move()
            event.stop()
            event.prevent_default()

    def on_resize(self, _event: events.Resize) -> None:
        self.resized()

    def resized(self) -> None:
        """The size of the view changed."""
        self.resize_virtual()
        self.scroll_lines_to(self.top)

    def render_line(self, y: int) -> Strip:
        return self.drawn_line(y).apply_style(self.rich_style)

    def drawn_line(self, y: int) -> Strip:
        """A line of the widget, without the widget's own colours."""
        width = self.size.width
        inner = max(0, width - THUMB)
        if y < self.HEADER:
            segments, beyond = self.header_line(), Style.null()
        else:
            segments, beyond = self.body_line(y - self.HEADER)
        offset = self.scroll_offset.x
        strip = Strip([segment for segment in segments if segment.text]).crop_extend(offset, offset + inner, beyond)
        first, last = self._thumb
        thumb = self.draw().glyphs.thumb if first <= y - self.HEADER < last else " "
        edge = Segment(thumb[:width], self.palette().style("track"))
        return Finished([*strip, edge], inner + min(width, THUMB))
