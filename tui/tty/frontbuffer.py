"""Sends only the cells that changed. Textual keeps no picture of the terminal and sends every dirty cell again.

This reads private parts of Textual's compositor, which is why its version is pinned. A test compares the result
with a full paint; whatever goes wrong here falls back to what Textual would have sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import compress
from operator import ne, or_
from typing import cast

from rich.console import Console, RenderableType
from rich.segment import Segment
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

from tui.drawing.text import width_of
from tui.tty.pen import Pen, Run

JUMP_BYTES = 4
"""What it takes to jump over some cells."""

LEAST_SCROLLED = 4
"""Lines that stand elsewhere, from which on the terminal moves them."""

RUN_BYTES = 8
"""About what it takes to go to a run and to change the style for it."""

Piece = tuple[int, int, Iterable[Segment]]
"""Line, first cell, and what stands from there on."""

Cells = tuple[list[str], list[str], str]
"""One entry per cell: its character ("" for the second half of a wide one) and its SGR code; then what belongs to
the cell before them. Never changed."""


class Part:
    """Segments that many lines have, with their cells as they were made last."""

    __slots__ = ("cells", "segments")

    def __init__(self, segments: list[Segment]) -> None:
        self.segments = segments
        self.cells: tuple[object, Cells] | None = None
        """For which colours of the terminal, and its cells."""


class Finished(Strip):
    """A line that is kept from paint to paint, with what was made of it."""

    __slots__ = ["cells", "finished", "parts"]

    def __init__(
        self, segments: Iterable[Segment], cell_length: int | None = None, parts: Sequence[Part] = ()
    ) -> None:
        """`parts`: the same segments, where they are known in parts."""
        super().__init__(segments, cell_length)
        self.parts = parts
        self.cells: tuple[object, Cells] | None = None
        """For which colours of the terminal, and its cells."""
        self.finished: tuple[object, Finished] | None = None
        """For which looks of the widget, and how it looks with them."""


class FrontBuffer:
    """What the terminal shows, as far as this process has written it."""

    def __init__(self, *, vertical_tabs: bool = True) -> None:
        """`vertical_tabs`: whether the terminal takes a vertical tab as a step down."""
        self._characters: list[list[str]] = []
        self._codes: list[list[str]] = []
        self._width = 0
        self._pen = Pen(vertical_tabs=vertical_tabs)
        self.broken = False
        self.budget_bytes = 0
        """Most that one update sends, give or take a line; 0 = no bound."""
        self.cut = False
        """Whether the last update left lines out, which differ until they are written again."""
        self._next_line = 0

    def forget(self) -> None:
        """The terminal may show anything: send every cell with the next update."""
        self._characters = []
        self._codes = []

    def fit(self, width: int, height: int) -> None:
        if (width, height) != (self._width, len(self._characters)):
            self._width = width
            self._characters = [[""] * width for _ in range(height)]
            self._codes = [["?"] * width for _ in range(height)]

    def write(self, pieces: Iterable[Piece], console: Console) -> str:
        """Take the pieces over; returns what brings the terminal from the former picture to this one."""
        runs: list[Run] = []
        size_bytes = 0
        self.cut = False
        pieces = self._from_where_it_was_cut(pieces) if self.budget_bytes else list(pieces)
        scrolled = self._scrolled(pieces, console)
        for y, x, segments in pieces:
            if self.cut or not 0 <= y < len(self._characters):
                continue
            size_bytes += self._line(y, x, segments, console, runs)
            if self.budget_bytes and size_bytes > self.budget_bytes:
                self.cut, self._next_line = True, y + 1
        return scrolled + self._pen.draw(runs, self._width)

    def _scrolled(self, pieces: list[Piece], console: Console) -> str:
        """Lets the terminal move lines that only stand elsewhere now; what is sent for that.

        They are told by identity, as kept lines keep their cells. Only whole lines move, and no other between them.
        """
        if len(pieces) < LEAST_SCROLLED:
            return ""
        new = {
            y: _cells_of(line, console)[0]
            for y, x, line in pieces
            if x == 0 and isinstance(line, Finished) and line.cell_length == self._width
        }
        old = {id(characters): y for y, characters in enumerate(self._characters)}
        moved = [(y, old[id(line)] - y) for y, line in new.items() if old.get(id(line), y) != y]
        if len(moved) < LEAST_SCROLLED:
            return ""
        step, count = Counter(step for _, step in moved).most_common(1)[0]
        places = [at for y, one in moved if one == step for at in (y, y + step)]
        top, bottom = min(places), max(places)
        if count < LEAST_SCROLLED or any(y not in new for y in range(top, bottom + 1)):
            return ""
        blank = [([""] * self._width, ["?"] * self._width) for _ in range(abs(step))]
        for lines, kind in ((self._characters, 0), (self._codes, 1)):
            unknown = [pair[kind] for pair in blank]
            part = lines[top : bottom + 1]
            lines[top : bottom + 1] = part[step:] + unknown if step > 0 else unknown + part[:step]
        return f"\x1b[{top + 1};{bottom + 1}r\x1b[{top + 1}H\x1b[{abs(step)}{'M' if step > 0 else 'L'}\x1b[r"

    def _from_where_it_was_cut(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Every line gets its turn, however often those above it change."""
        first = self._next_line
        return sorted(pieces, key=lambda piece: (piece[0] < first, piece[0]))

    def _line(self, y: int, x: int, segments: Iterable[Segment], console: Console, runs: list[Run]) -> int:
        """Adds what to send of a line; returns about how many bytes that takes."""
        characters, codes, _ = _cells_of(segments, console)
        if x < 0:
            characters, codes, x = characters[-x:], codes[-x:], 0
        if x >= self._width:
            return 0
        if x + len(characters) > self._width:
            characters, codes = characters[: self._width - x], codes[: self._width - x]
        end = x + len(characters)
        old_characters, old_codes = self._characters[y], self._codes[y]
        if x or end < self._width:
            # Lines may be those that are kept elsewhere, too.
            characters = [*old_characters[:x], *characters, *old_characters[end:]]
            codes = [*old_codes[:x], *codes, *old_codes[end:]]
        if characters == old_characters and codes == old_codes:
            return 0
        differs = map(or_, map(ne, characters, old_characters), map(ne, codes, old_codes))
        changed = list(compress(range(self._width), differs))
        self._characters[y], self._codes[y] = old_characters, old_codes = characters, codes
        size_bytes = 0
        for first, last in _stretches(changed, old_characters, old_codes):
            # The second half of a wide character is sent with its first.
            while first > x and old_characters[first] == "":
                first -= 1
            start = first
            for at in range(first + 1, last + 2):
                if at > last or old_codes[at] != old_codes[start]:
                    text = "".join(old_characters[start:at])
                    runs.append(Run(old_codes[start], y, start, at, text))
                    size_bytes += len(text) + RUN_BYTES
                    start = at
        return size_bytes


def prepare(line: Strip, console: Console) -> None:
    """Make the cells of a line that is kept, before it is painted."""
    _cells_of(line, console)


def _cells_of(segments: Iterable[Segment], console: Console) -> Cells:
    """Made once of a line that is kept."""
    if not isinstance(segments, Finished):
        return _cells(segments, console)
    if segments.cells is None or segments.cells[0] is not console._color_system:
        made = _joined(segments.parts, console) if segments.parts else _cells(segments, console)
        segments.cells = (console._color_system, made)
    return segments.cells[1]


def _joined(parts: Iterable[Part], console: Console) -> Cells:
    characters: list[str] = []
    codes: list[str] = []
    before, color_system = "", console._color_system
    for part in parts:
        if part.cells is None or part.cells[0] is not color_system:
            part.cells = (color_system, _cells(part.segments, console))
        more, styles, first = part.cells[1]
        if first and characters:
            characters[-1] += first
        elif first:
            before += first
        characters += more
        codes += styles
    return characters, codes, before


def _cells(segments: Iterable[Segment], console: Console) -> Cells:
    characters: list[str] = []
    codes: list[str] = []
    begin, color_system = "", console._color_system
    for text, style, control in segments:
        if control:
            continue
        code = ""
        if style is not None and color_system is not None:
            code = style._ansi if style._ansi is not None else Strip.render_ansi(style, color_system)
        before = len(characters)
        if text.isascii():
            characters.extend(text)
        else:
            first, rest = _characters(text)
            if first and characters:
                characters[-1] += first
            elif first:
                begin += first
            characters.extend(rest)
        codes.extend([code] * (len(characters) - before))
    return characters, codes, begin


@lru_cache(maxsize=4096)
def _characters(text: str) -> tuple[str, tuple[str, ...]]:
    """What of a text belongs to the cell before it, and its cells."""
    first = ""
    cells: list[str] = []
    for character in text:
        width = width_of(character)
        if width == 0:
            if cells:
                cells[-1 if cells[-1] else -2] += character
            else:
                first += character
            continue
        cells.extend([character, ""][:width])
    return first, tuple(cells)


def _stretches(changed: list[int], characters: list[str], codes: list[str]) -> Iterator[tuple[int, int]]:
    """First and last cell of each stretch to send."""
    first = last = changed[0]
    for at in changed[1:]:
        if at - last > 1 and not _cheaper_again(characters[last + 1 : at], codes[last : at + 1]):
            yield first, last
            first = at
        last = at
    yield first, last


def _cheaper_again(between: list[str], codes: list[str]) -> bool:
    """Whether equal cells are cheaper to send again than to jump over."""
    return (
        len(between) <= JUMP_BYTES
        and codes.count(codes[0]) == len(codes)
        and len("".join(between).encode()) <= JUMP_BYTES
    )


class ChangedCells(CompositorUpdate):
    """An update of Textual's, sent through the front buffer."""

    def __init__(self, update: LayoutUpdate | ChopsUpdate, front: FrontBuffer) -> None:
        self._update = update
        self._front = front

    def render_segments(self, console: Console) -> str:
        if self._front.broken:
            return self._update.render_segments(console)
        try:
            return self._front.write(_pieces(self._update), console)
        except Exception:
            # Never leave the operator without a picture for the sake of fewer bytes.
            self._front.broken = True
            return self._update.render_segments(console)


def through(renderable: RenderableType | None, front: FrontBuffer) -> RenderableType | None:
    """The same update, sent as changed cells only."""
    if isinstance(renderable, LayoutUpdate | ChopsUpdate) and not front.broken:
        return cast(RenderableType, ChangedCells(renderable, front))
    return renderable


def _pieces(update: LayoutUpdate | ChopsUpdate) -> Iterator[Piece]:
    if isinstance(update, LayoutUpdate):
        for y, line in enumerate(update.strips, update.region.y):
            yield y, update.region.x, (segment for strip in line for segment in strip)
        return
    row, given = -1, set[int]()
    for y, x1, x2 in update.spans:
        if y != row:
            row, given = y, set()
        # Whole, for what is shown already is not sent: cutting it out would cost more.
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is not None and x < x2 and end > x1 and x not in given:
                given.add(x)
                yield y, x, strip
