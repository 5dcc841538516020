"""A list to choose from by typing a part of a name: the palette, and the column to sort by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual import events, on
from textual.widget import Widget
from textual.widgets import Input

from tui.drawing.draw import Cell
from tui.drawing.text import fit
from tui.keyboard.options import Option
from tui.messages import PasteShortened
from tui.screens.dialog import Dialog
from tui.widgets.facts import Facts
from tui.widgets.lines import Lines
from tui.widgets.oneline import OneLine

VISIBLE = 14
HOW = "   type a part of it; enter takes it, esc leaves"


class ChooseScreen(Dialog[str | None]):
    """Returns the value of the chosen option, or None."""

    def __init__(self, title: str, options: Sequence[Option], current: str = "") -> None:
        super().__init__()
        self._title = title
        self._options = options
        self._found = list(options)
        self._words: list[str] = []
        self._cut = ""
        self._at = next((at for at, option in enumerate(options) if option.value == current), 0)

    def content(self) -> Iterable[Widget]:
        yield self.lines("title")
        yield OneLine(compact=True, id="wanted")
        yield Facts(self.drawing, self.palette, id="options")

    def on_mount(self) -> None:
        self.query_one("#title").styles.height = 1
        self._show()
        self.query_one(Input).focus()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        more = (f"   {self._cut}", "warn") if self._cut else (HOW, "dim")
        self.query_one("#title", Lines).show((((f" {self._title}", "accent"), more),))
        listed = self.query_one("#options", Facts)
        height = max(1, min(VISIBLE, len(self._options), self.size.height - 6))
        listed.styles.height = height
        listed.show([self._line(at, option) for at, option in enumerate(self._found)] or [((" nothing", "dim"),)])
        listed.scroll_lines_to(max(0, self._at - height // 2))

    def _line(self, at: int, option: Option) -> Cell:
        glyphs = self.console.glyphs
        here = at == self._at
        return (
            (f"{glyphs.cursor if here else ' '} ", "accent"),
            (fit(option.hint, 8), "key"),
            (fit(option.label, 16), "strong" if here else "text"),
            (f" {option.note}", "text" if here else "dim"),
        )

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._words = event.value.lower().split()
        self._cut = ""
        self._at = 0
        self.offer(self._options)

    def offer(self, options: Sequence[Option]) -> None:
        """Other options, or the same with other notes; the cursor stays."""
        self._options = options
        self._found = [
            option
            for option in options
            if all(word in f"{option.label} {option.note} {option.hint}".lower() for word in self._words)
        ]
        self._at = max(0, min(self._at, len(self._found) - 1))
        if self.is_mounted:
            self._show()

    @on(Input.Submitted)
    def _accepted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(self._found[self._at].value if self._found else None)

    @on(PasteShortened)
    def _shortened(self, message: PasteShortened) -> None:
        message.stop()
        self._cut = message.text
        self._show()

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            self.dismiss(None)
        elif event.key in ("down", "ctrl+n", "tab"):
            event.stop()
            event.prevent_default()
            self._move(1)
        elif event.key in ("up", "ctrl+p", "shift+tab"):
            event.stop()
            event.prevent_default()
            self._move(-1)

    def _move(self, step: int) -> None:
        if self._found:
            self._at = (self._at + step) % len(self._found)
            self._show()
