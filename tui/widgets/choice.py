"""A button that shows its label as plain text, brackets when it has the focus."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.drawing.text import width_of
from tui.keyboard.keymap import Rebound, bindings
from tui.operator.themes import Palette


class Choice(Rebound, Widget, can_focus=True):
    """Enter, space or a click press it."""

    ALLOW_SELECT = False
    BINDINGS = bindings("choice")

    class Pressed(Message):
        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

    def __init__(self, label: str, palette: Callable[[], Palette], *, role: str = "text", id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._palette = palette
        self._role = role
        self.label = label
        self.styles.width = width_of(label) + 4
        self.styles.height = 1

    def relabel(self, label: str, role: str) -> None:
        self.label, self._role = label, role
        self.styles.width = width_of(label) + 4
        self.refresh()

    def action_press(self) -> None:
        self.post_message(self.Pressed(self))

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.action_press()

    def render_line(self, y: int) -> Strip:
        palette = self._palette()
        edges = ("[ ", " ]") if self.has_focus else ("  ", "  ")
        style = palette.style(self._role)
        if self.has_focus:
            style = style + palette.cursor
        strip = Strip([Segment(f"{edges[0]}{self.label}{edges[1]}", style)])
        return strip.adjust_cell_length(self.size.width).apply_style(self.rich_style)
