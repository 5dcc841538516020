"""A drawing with places to stand on: the layers of a DAG. Scrolls both ways, and paints the lines that changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style

from tui.columns.base import Draw
from tui.drawing.draw import Cell
from tui.keyboard.keymap import bindings
from tui.messages import Opened, Pointed
from tui.operator.themes import Palette
from tui.widgets.segments import cell_segments
from tui.widgets.virtual import THUMB, VirtualView


@dataclass(frozen=True)
class Spot:
    """Where one can stand: cells `x` to `x + width` of line `y`, in a column of such."""

    key: str
    column: int
    x: int
    y: int
    width: int


@dataclass(frozen=True)
class Picture:
    """`line(y, left, width)` draws a part of a line."""

    width: int
    height: int
    spots: Mapping[str, Spot]
    line: Callable[[int, int, int], Cell]


EMPTY_PICTURE = Picture(0, 0, {}, lambda _y, _left, _width: ())


class DagCanvas(VirtualView):
    """The cursor is on a spot; up and down stay in its column."""

    BINDINGS = bindings("dag_layers")
    HEADER = 0

    def __init__(
        self,
        draw: Callable[[], Draw],
        palette: Callable[[], Palette],
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(draw, palette, id=id)
        self.picture = EMPTY_PICTURE
        self.cursor_key = ""
        self._drawn: dict[int, tuple[int, str, Cell]] = {}

    def show(self, picture: Picture, key: str) -> None:
        """Show another picture with the cursor on that spot, or on its first."""
        self.picture = picture
        self.scroll_to(x=0, y=0, animate=False, force=True, immediate=True)
        if key not in picture.spots:
            key = next(iter(picture.spots), "")
        self.redraw()
        self.point_at(key)

    def redraw(self) -> None:
        self._drawn.clear()
        self.resize_virtual()
        self.refresh()

    def sync(self) -> None:
        """Paint the lines that look different now."""
        self.repaint_thumb()
        for y in range(self.body_height):
            if self._drawn.get(y) != self._image(y):
                self.repaint_line(y)

    def point_at(self, key: str) -> bool:
        """Put the cursor on a spot and scroll it into view; False when there is none of that key."""
        spot = self.picture.spots.get(key)
        if spot is None:
            return False
        before, self.cursor_key = self.picture.spots.get(self.cursor_key), key
        for one in (before, spot):
            if one is not None:
                self.repaint_line(one.y - self.top)
        self.scroll_to_spot(spot)
        self.post_message(Pointed(self, key))
        return True

    def scroll_to_spot(self, spot: Spot) -> None:
        """Scroll as little as shows it; before there is a size there is nothing to scroll."""
        if not self.size:
            return
        if spot.y < self.top or spot.y >= self.top + self.body_height:
            self.scroll_lines_to(spot.y - self.body_height // 2)
        left, inner = self.scroll_offset.x, self.size.width - THUMB
        if spot.x < left or spot.x + spot.width > left + inner:
            wanted = max(0, spot.x - max(0, inner - spot.width) // 2)
            self.resize_virtual()
            self.scroll_to(x=wanted, animate=False, force=True, immediate=True)
            self.redraw()

    # Keys.

    def _column(self) -> Sequence[Spot]:
        here = self.picture.spots.get(self.cursor_key)
        if here is None:
            return ()
        return sorted((spot for spot in self.picture.spots.values() if spot.column == here.column), key=_line_of)

    def _move(self, step: int) -> None:
        column = self._column()
        at = next((at for at, spot in enumerate(column) if spot.key == self.cursor_key), None)
        if at is not None:
            self.point_at(column[max(0, min(len(column) - 1, at + step))].key)

    def action_down(self) -> None:
        self._move(1)

    def action_up(self) -> None:
        self._move(-1)

    def action_top(self) -> None:
        self._move(-len(self.picture.spots))

    def action_bottom(self) -> None:
        self._move(len(self.picture.spots))

    def action_open(self) -> None:
        if self.cursor_key:
            self.post_message(Opened(self, self.cursor_key))

    # Drawing.

    def line_count(self) -> int:
        return self.picture.height

    def content_width(self) -> int:
        return max(self.size.width, self.picture.width + THUMB)

    def resized(self) -> None:
        self._drawn.clear()
        super().resized()
        if (spot := self.picture.spots.get(self.cursor_key)) is not None:
            self.scroll_to_spot(spot)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        if round(old_value) != round(new_value):
            self._drawn.clear()
        super().watch_scroll_y(old_value, new_value)

    def on_focus(self) -> None:
        self.redraw()

    def on_blur(self) -> None:
        self.redraw()

    def _image(self, y: int) -> tuple[int, str, Cell] | None:
        number = self.top + y
        if number >= self.picture.height:
            return None
        left = self.scroll_offset.x
        spot = self.picture.spots.get(self.cursor_key)
        here = self.cursor_key if spot is not None and spot.y == number else ""
        return left, here, self.picture.line(number, left, max(0, self.size.width - THUMB))

    def body_line(self, y: int) -> tuple[list[Segment], Style]:
        image = self._image(y)
        if image is None:
            self._drawn.pop(y, None)
            return [], Style.null()
        self._drawn[y] = image
        left, here, cell = image
        palette = self.palette()
        width = max(0, self.size.width - THUMB)
        segments = cell_segments(cell, width, "left", palette, Style.null(), "")
        if here:
            spot = self.picture.spots[here]
            style = palette.cursor if self.has_focus else palette.cursor_away
            segments = _overlaid(segments, spot.x - left, spot.x + spot.width - left, style)
        return [Segment(" " * left), *segments], Style.null()


def _line_of(spot: Spot) -> int:
    return spot.y


def _overlaid(segments: Sequence[Segment], begin: int, end: int, style: Style) -> list[Segment]:
    """The segments, and a blank, with a style laid over cells `begin` to `end`."""
    total = Segment.get_line_length(list(segments))
    begin, end = max(0, begin), max(0, min(end, total))
    head, middle, tail = Segment.divide([*segments, Segment(" ")], [begin, end, total + 1])
    return [*head, *(Segment(text, (own or Style.null()) + style) for text, own, _ in middle), *tail]
