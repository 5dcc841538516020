"""Lines as they are sent, made once. Textual lays the widget's styles and its filters over each line of each paint.

This stands in for a private part of Textual, which is why its version is pinned. A widget with a border or anything
else that is drawn around or over its lines is left to Textual; a test compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

from rich.segment import Segment
from rich.style import Style
from textual._styles_cache import StylesCache
from textual.color import Color
from textual.filter import LineFilter
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.tty.frontbuffer import Finished, Part

MOST_STYLES = 4096


class Looks:
    """What a widget lays over its lines, and how styles come out of it."""

    def __init__(self, widget: Widget, filters: Sequence[LineFilter]) -> None:
        self.plain = _plain(widget)
        self._base = widget.rich_style
        self._filters = filters
        self._background: Color = widget.background_colors[1]
        self._styles: dict[int, tuple[Style | None, Style | None]] = {}
        """By the identity of a style, which is kept for that: Rich's own hashes and comparisons take longer."""

    def finish(self, strip: Strip) -> Finished:
        """The line as it is sent; the same one as the last time where it is the same strip."""
        kept = getattr(strip, "finished", None)
        if kept is not None and kept[0] is self:
            return cast(Finished, kept[1])
        done = Finished(self.finished(strip), strip.cell_length)
        if isinstance(strip, Finished):
            strip.finished = (self, done)
        return done

    def finished(self, segments: Iterable[Segment]) -> list[Segment]:
        styles = self._styles
        done: list[Segment] = []
        for text, style, control in segments:
            found = styles.get(id(style))
            done.append(Segment(text, found[1] if found is not None else self._add(style), control))
        return done

    def joined(self, parts: Sequence[Part], cell_length: int) -> Finished:
        """A line of parts that are finished."""
        line = Finished([segment for part in parts for segment in part.segments], cell_length, parts)
        line.finished = (self, line)
        return line

    def _add(self, style: Style | None) -> Style | None:
        if len(self._styles) >= MOST_STYLES:
            self._styles.clear()
        found = [Segment(" ", self._base if style is None else self._base + style)]
        for one in self._filters:
            found = one.apply(found, self._background)
        self._styles[id(style)] = (style, found[0].style)
        return found[0].style


class FinishedLines(StylesCache):
    """In the place of a widget's own cache of lines; `line` gives one without what the widget lays over it."""

    def __init__(self, line: Callable[[int], Strip]) -> None:
        super().__init__()
        self._line = line
        self.looks: Looks | None = None
        """Those of the paint that is under way, and between paints of the last one."""
        self._looks_key: object = None

    def render_widget(self, widget: Widget, crop: Region) -> list[Strip]:
        looks = self._looks_of(widget)
        size = widget.region.size
        if not looks.plain:
            return super().render_widget(widget, crop)
        if size.width != self._width:
            self.clear()
            self._width = size.width
        cache, dirty = self._cache, self._dirty_lines
        strips: list[Strip] = []
        for y in crop.line_range:
            strip = None if y in dirty else cache.get(y)
            if strip is None:
                strip = self._line(y)
                if strip.cell_length != self._width:
                    strip = strip.adjust_cell_length(self._width)
                strip = cache[y] = looks.finish(strip)
            strips.append(strip)
        dirty.difference_update(crop.line_range)
        x1, x2 = crop.column_span
        return strips if (x1, x2) == (0, self._width) else [strip.crop(x1, x2) for strip in strips]

    def _looks_of(self, widget: Widget) -> Looks:
        filters = tuple(widget.get_line_filters())
        # The counters of styles only grow; ancestors lend background and colour.
        key = (filters, *(node.styles._cache_key for node in widget.ancestors_with_self))
        if self.looks is None or key != self._looks_key:
            self.clear()
            self.looks, self._looks_key = Looks(widget, filters), key
        return self.looks


def _plain(widget: Widget) -> bool:
    """Whether nothing is drawn around the lines, nor over them."""
    styles = widget.styles
    return (
        not any(styles.gutter)
        and not any(edge for edge, _ in styles.outline)
        and not styles.tint.a
        and styles.text_opacity == 1.0
        and widget.opacity == 1.0
        and not (styles.has_rule("hatch") and styles.hatch != "none")
    )
