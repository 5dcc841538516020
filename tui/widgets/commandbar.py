"""The command line `:`: tab completes, up and down go through what was said before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.events import Key
from textual.widgets import Input, Label

from tui.keyboard.cmdline import MAX_CHARACTERS, History, longer
from tui.messages import CommandClosed, CommandGiven, CommandTyped, PasteShortened
from tui.widgets.oneline import OneLine


class CommandBar(Horizontal):
    """Hidden until opened. Posts CommandGiven, CommandTyped and CommandClosed."""

    def __init__(self, history: History, complete: Callable[[str], Sequence[str]], *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._history = history
        self._complete = complete
        self._offered: Sequence[str] = ()
        self._offer = -1

    def compose(self) -> ComposeResult:
        yield Label(":")
        yield OneLine(compact=True, select_on_focus=False, max_length=MAX_CHARACTERS)

    @property
    def input(self) -> Input:
        return self.query_one(Input)

    def open(self, text: str = "") -> None:
        self.display = True
        self._history.leave()
        self._offered = ()
        self._put(text)
        # At once, not after other messages: what is typed ahead is for this line.
        self.screen.set_focus(self.input)

    def close(self) -> None:
        self.display = False

    def _put(self, text: str) -> None:
        self.input.value = text
        self.input.cursor_position = len(text)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if event.value not in self._offered:
            self._offered = ()
        if self.display:
            self.post_message(CommandTyped(event.value))

    @on(Input.Submitted)
    def _accepted(self, event: Input.Submitted) -> None:
        event.stop()
        self._history.add(event.value.strip())
        self.post_message(CommandGiven(event.value))

    @on(PasteShortened)
    def _shortened(self, message: PasteShortened) -> None:
        # Once more through this queue: behind what the pasted text is about.
        if not message.relayed:
            message.stop()
            self.post_message(PasteShortened(message.text, relayed=True))

    def on_key(self, event: Key) -> None:
        steps = {"up": -1, "ctrl+p": -1, "down": 1, "ctrl+n": 1}
        if event.key == "escape" or (event.key == "backspace" and not self.input.value):
            self.post_message(CommandClosed())
        elif event.key in steps:
            self._put(self._history.step(steps[event.key], self.input.value))
        elif event.key in ("tab", "shift+tab"):
            self._fill(-1 if event.key == "shift+tab" else 1)
        else:
            return
        event.stop()
        event.prevent_default()

    def _fill(self, step: int) -> None:
        """As far as what is offered agrees; then from one to the next."""
        if self._offered:
            self._offer = (self._offer + step) % len(self._offered)
            self._put(self._offered[self._offer])
            return
        shown = self.input.value
        offered = self._complete(shown)
        if len(offered) == 1:
            self._put(f"{offered[0]} " if " " not in offered[0] else offered[0])
            return
        if (further := longer(shown, offered)) != shown:
            self._put(further)
        elif offered:
            self._offered, self._offer = offered, 0 if step > 0 else len(offered) - 1
            self._put(self._offered[self._offer])
