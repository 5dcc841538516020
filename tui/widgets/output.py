"""A task's live output: follows its end until one scrolls up, and searches."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from rich.style import Style

from tui.columns.base import Draw
from tui.drawing.draw import Cell, Glyphs, count_of, foreign
from tui.keyboard.keymap import bindings
from tui.operator.themes import Palette
from tui.store.outbuf import NOTE, STDERR, OutputBuffer
from tui.widgets.segments import cell_segments
from tui.widgets.virtual import THUMB, VirtualView

GUTTER = 2


class OutputPane(VirtualView):
    """Shows a buffer. Lines of stderr carry a mark, so that they differ without colour."""

    BINDINGS = bindings("output")

    def __init__(
        self,
        draw: Callable[[], Draw],
        palette: Callable[[], Palette],
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(draw, palette, id=id)
        self.buffer = OutputBuffer(ascii_only=draw().glyphs.ascii_only)
        self.following = True
        self.filter_text = ""
        self.status: Cell = ()
        """What the header says of the stream."""
        self._shown: tuple[int, int, Cell, bool] | None = None
        self._match = -1
        self._missed = False
        """Whether no line has what was searched for; not known once more lines come."""

    def sync(self) -> None:
        """Show what came since the last call."""
        state = (self.buffer.version, self.buffer.dropped, self.status, self.following)
        if state == self._shown:
            return
        before, self._shown = self._shown, state
        self.repaint_header()
        if before is not None and before[:2] == state[:2]:
            return
        self._missed = False
        if before is not None and not self.following and self.buffer.dropped > before[1]:
            # What is looked at moves up by as much as was dropped above it.
            self.scroll_lines_to(self.top - (self.buffer.dropped - before[1]))
        self.resize_virtual()
        if self.following:
            self.scroll_lines_to(self.last_top)
        self.refresh()

    def follow(self, following: bool) -> None:
        self.following = following
        if following:
            self.scroll_lines_to(self.last_top)
        self.repaint_header()

    def apply_filter(self, source: str) -> None:
        """Search for the text; the view goes to the first line with it from here on."""
        self.filter_text = source.strip()
        self._match = -1
        self._missed = False
        if self.filter_text:
            self._go_to_match(self.top, 1)
        self.refresh()

    def _go_to_match(self, start: int, step: int) -> None:
        found = self.buffer.find(self.filter_text, start, step) if self.filter_text else None
        self._missed = bool(self.filter_text) and found is None
        self.repaint_header()
        if found is None:
            return
        self._match = found
        self.following = False
        self.scroll_lines_to(found - self.body_height // 3)
        self.refresh()

    # Keys.

    def _scroll_by(self, lines: int) -> None:
        self.following = False
        self.scroll_lines_to(self.top + lines)
        if self.top == self.last_top and lines > 0:
            self.following = True
        self.repaint_header()

    def action_down(self) -> None:
        self._scroll_by(1)

    def action_up(self) -> None:
        self._scroll_by(-1)

    def action_half_down(self) -> None:
        self._scroll_by(max(1, self.body_height // 2))

    def action_half_up(self) -> None:
        self._scroll_by(-max(1, self.body_height // 2))

    def action_page_down(self) -> None:
        self._scroll_by(max(1, self.body_height - 1))

    def action_page_up(self) -> None:
        self._scroll_by(-max(1, self.body_height - 1))

    def action_top(self) -> None:
        self._scroll_by(-self.line_count())

    def action_bottom(self) -> None:
        self.follow(True)

    def action_left(self) -> None:
        self.scroll_cells_by(-8)

    def action_right(self) -> None:
        self.scroll_cells_by(8)

    def action_next_match(self) -> None:
        self._go_to_match((self._match if self._match >= 0 else self.top - 1) + 1, 1)

    def action_previous_match(self) -> None:
        self._go_to_match((self._match if self._match >= 0 else self.top) - 1, -1)

    def resized(self) -> None:
        super().resized()
        if self.following:
            self.scroll_lines_to(self.last_top)

    def on_focus(self) -> None:
        self.repaint_header()

    def on_blur(self) -> None:
        self.repaint_header()

    # Drawing.

    def line_count(self) -> int:
        return len(self.buffer)

    def content_width(self) -> int:
        return max(self.size.width, GUTTER + self.buffer.longest + THUMB)

    def header_line(self) -> list[Segment]:
        glyphs = self.draw().glyphs
        count = len(self.buffer)
        title: Cell = (
            ("  OUTPUT", "accent" if self.has_focus else "title"),
            (f"  {self._counted(count)}" if count else "", "dim"),
            *self._searched(glyphs),
            ("  following" if self.following else f"  {self.draw().word('task', 'follow')} follows", "dim"),
            *((("  ", "text"), *self.status) if self.status else ()),
        )
        width = max(0, self.size.width - THUMB)
        return [
            Segment(" " * self.scroll_offset.x),
            *cell_segments(title, width, "left", self.palette(), Style.null(), glyphs.ellipsis),
        ]

    def _counted(self, count: int) -> str:
        if self.buffer.dropped:
            return f"last {count_of(count)} of {count_of(count + self.buffer.dropped)} lines"
        return f"{count_of(count)} line{'s' if count > 1 else ''}"

    def _searched(self, glyphs: Glyphs) -> Cell:
        if not self.filter_text:
            return ()
        sought = foreign(self.filter_text, "accent", glyphs)
        return (("  /", "accent"), *sought, ("  is in none of these lines" if self._missed else "", "warn"))

    def body_line(self, y: int) -> tuple[list[Segment], Style]:
        number = self.top + y
        if number >= len(self.buffer):
            return [], Style.null()
        palette, glyphs = self.palette(), self.draw().glyphs
        stream, text = self.buffer.line(number)
        base = palette.cursor_away if number == self._match else Style.null()
        if stream == NOTE:
            return [Segment(f"{' ' * GUTTER}{text}", palette.style("dim") + base)], base
        mark = glyphs.stderr if stream == STDERR else " "
        style = palette.style("warn" if stream == STDERR else "text") + base
        segments = [Segment(mark + " ", palette.style("bad") + base)]
        segments += self._marked(text, style, palette)
        return segments, base

    def _marked(self, text: str, style: Style, palette: Palette) -> list[Segment]:
        """The text with every match of the search set off."""
        needle = self.filter_text.lower()
        lowered = text.lower()
        if not needle or len(lowered) != len(text):
            return [Segment(text, style)]
        found = Style(reverse=True, bold=True)
        segments: list[Segment] = []
        at = 0
        while (start := lowered.find(needle, at)) >= 0:
            segments += [
                Segment(text[at:start], style),
                Segment(text[start : start + len(needle)], style + found),
            ]
            at = start + len(needle)
        segments.append(Segment(text[at:], style))
        return segments
