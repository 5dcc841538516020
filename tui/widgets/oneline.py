"""An input of one line that says what it did not take of a paste."""

from __future__ import annotations

from textual import events
from textual.widgets import Input

from tui.drawing.draw import count_of
from tui.messages import PasteShortened


class OneLine(Input):
    """Takes the first line of a paste that says something, as far as there is room. Posts PasteShortened."""

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        lines = [line for line in event.text.splitlines() if line.strip()]
        if not lines:
            return
        taken = lines[0]
        room = len(taken)
        if self.max_length:
            room = max(0, self.max_length - len(self.value) + len(self.selected_text))
        if self.selection.is_empty:
            self.insert_text_at_cursor(taken[:room])
        else:
            self.replace(taken[:room], *self.selection)
        said = []
        if len(lines) > 1:
            said.append(f"Only the first of {count_of(len(lines))} pasted lines was taken.")
        if room < len(taken):
            said.append(f"It was cut to {count_of(room)} of {count_of(len(taken))} characters.")
        if said:
            self.post_message(PasteShortened(" ".join(said)))
