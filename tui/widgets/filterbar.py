"""The filter line: applied as it is typed, enter keeps it, escape clears it."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.events import Key
from textual.widgets import Input

from tui.messages import FilterChanged, PasteShortened
from tui.widgets.oneline import OneLine


class FilterBar(Horizontal):
    """Hidden until opened."""

    def compose(self) -> ComposeResult:
        yield OneLine(compact=True, select_on_focus=False)

    @property
    def input(self) -> Input:
        return self.query_one(Input)

    def open(self, text: str) -> None:
        """With the filter that holds: what is typed takes its place, the arrows begin to edit it."""
        self.display = True
        self.input.value = text
        self.input.select_all()
        # At once: what is typed in the same moment belongs to the filter, and is no key of the view.
        self.screen.set_focus(self.input, scroll_visible=False)

    def close(self) -> None:
        self.display = False

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self.display:
            self.post_message(FilterChanged(event.value))

    @on(Input.Submitted)
    def _accepted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(FilterChanged(event.value, done=True))

    @on(PasteShortened)
    def _shortened(self, message: PasteShortened) -> None:
        # Once more through this queue: behind what the pasted text is about.
        if not message.relayed:
            message.stop()
            self.post_message(PasteShortened(message.text, relayed=True))

    def on_key(self, event: Key) -> None:
        if event.key == "escape":
            event.stop()
            self.post_message(FilterChanged("", cleared=True))
        elif event.key in ("tab", "shift+tab"):
            event.stop()
            event.prevent_default()
