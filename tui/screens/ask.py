"""One line of text that an action needs."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events, on
from textual.widget import Widget
from textual.widgets import Input

from tui.actions.base import Question
from tui.drawing.draw import Cell, foreign
from tui.messages import PasteShortened
from tui.screens.dialog import Dialog
from tui.widgets.lines import Lines
from tui.widgets.oneline import OneLine

MAX_CHARACTERS = 4096


class AskScreen(Dialog[str | None]):
    """Returns a good answer, or None when it is given up."""

    def __init__(self, question: Question) -> None:
        super().__init__()
        self._question = question

    def content(self) -> Iterable[Widget]:
        yield self.lines("title")
        yield self.lines("consequences")
        yield OneLine(self._question.initial, compact=True, id="answer", max_length=MAX_CHARACTERS)
        yield self.lines("typed")

    def on_mount(self) -> None:
        glyphs = self.console.glyphs
        self.query_one("#title", Lines).show((((" ", "text"), *foreign(self._question.title, "accent", glyphs)),))
        about = self.query_one("#consequences", Lines)
        about.styles.height = 2
        about.show(((), ((" ", "text"), *foreign(self._question.label, "dim", glyphs))))
        self._say(self._question.hint, "dim")
        self.query_one(Input).focus()

    def _say(self, text: str, role: str) -> None:
        line: Cell = ((" ", "text"), *foreign(text, role, self.console.glyphs)) if text else ()
        self.query_one("#typed", Lines).show(((), line))

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self._say(self._question.hint, "dim")

    @on(Input.Submitted)
    def _accepted(self, event: Input.Submitted) -> None:
        event.stop()
        answer = event.value.strip()
        if wrong := self._question.check(answer):
            self._say(wrong, "warn")
        else:
            self.dismiss(answer)

    @on(PasteShortened)
    def _shortened(self, message: PasteShortened) -> None:
        message.stop()
        self._say(message.text, "warn")

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            self.dismiss(None)
