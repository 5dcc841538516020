"""The form for a new task. It submits nothing itself: it ends in a preview."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events, on
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input

from tui.actions.base import Review
from tui.drawing.draw import Cell, foreign
from tui.messages import PasteShortened
from tui.plans.submit import submit_command
from tui.screens.dialog import Dialog
from tui.widgets.lines import Lines
from tui.widgets.oneline import OneLine
from tui.written.taskspec import BadField, task_request

FIELDS: tuple[tuple[str, str, str], ...] = (
    # key of the field, label, what it means when it is empty
    ("command", "command", "run by sh -c"),
    ("name", "name", "the command's first word"),
    ("priority", "priority", "0; up to 10, higher runs first"),
    ("on", "on node", "wherever it fits best"),
    ("retries", "retries", "3"),
    ("timeout", "timeout", "none; as 30s, 5m, 1h30m"),
    ("cwd", "directory", "one of its own"),
    ("key", "submit key", "none; the same key submits once"),
)


class SubmitScreen(Dialog[None]):
    """Enter checks the form and hands the request on; the form stays below until the task is submitted."""

    def __init__(self, review: Review) -> None:
        super().__init__()
        self._review = review

    def content(self) -> Iterable[Widget]:
        yield self.lines("title")
        for name, _label, empty in FIELDS:
            yield Horizontal(
                self.lines(f"label-{name}"),
                OneLine(
                    placeholder=empty, compact=True, select_on_focus=False, id=f"field-{name}", max_length=4096
                ),
                classes="field",
            )
        yield self.lines("command")
        yield self.lines("typed")
        yield self.lines("keys")

    def on_mount(self) -> None:
        self.query_one("#title", Lines).show((((" Submit a task", "accent"),),))
        for name, label, _empty in FIELDS:
            self.query_one(f"#label-{name}", Lines).show((((f" {label}", "dim"),),))
        self.query_one("#keys", Lines).show(
            (((" enter", "key"), (" review   ", "dim"), ("tab", "key"), (" next field   ", "dim"),
              ("esc", "key"), (" close", "dim")),)
        )  # fmt: skip
        self._show_command()
        self.query_one("#field-command").focus()

    def values(self) -> dict[str, str]:
        """What was filled in, by field."""
        found = {name: self.query_one(f"#field-{name}", Input).value.strip() for name, _, _ in FIELDS}
        return {name: value for name, value in found.items() if value}

    def _show_command(self) -> None:
        line = submit_command(self.values())
        self.query_one("#command", Lines).show(((), ((" $ ", "dim"), *foreign(line, "text", self.console.glyphs))))

    def say(self, text: str, role: str = "warn") -> None:
        line: Cell = ((" ", "text"), *foreign(text, role, self.console.glyphs)) if text else ()
        self.query_one("#typed", Lines).show((line,))

    def close(self) -> None:
        self.dismiss(None)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        self.say("")
        self._show_command()

    @on(Input.Submitted)
    def _enter(self, event: Input.Submitted) -> None:
        event.stop()
        values = self.values()
        try:
            request = task_request(values)
        except BadField as error:
            self.say(f"{error.field.replace('_', ' ')}: {error.problem}.")
            if error.field in {name for name, _, _ in FIELDS}:
                self.query_one(f"#field-{error.field}").focus()
            return
        self._review(request, submit_command(values))

    @on(PasteShortened)
    def _shortened(self, message: PasteShortened) -> None:
        message.stop()
        self.say(message.text)

    def on_key(self, event: events.Key) -> None:
        moves = {"down": 1, "up": -1}
        if event.key == "escape":
            event.stop()
            self.dismiss(None)
        elif event.key in moves:
            event.stop()
            self.focus_next(Input) if moves[event.key] > 0 else self.focus_previous(Input)
