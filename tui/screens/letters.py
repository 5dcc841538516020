"""View 4: dead letters, by cause or one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from textual import on
from textual.widget import Widget

from cortex.v1 import types_pb2
from tui.columns.causes import CAUSES
from tui.columns.tasks import LETTERS
from tui.details.under import cause_under
from tui.drawing.draw import Cell
from tui.keyboard.keymap import bindings
from tui.messages import Opened
from tui.screens.cause import CauseScreen
from tui.screens.queue import TasksScreen
from tui.widgets.table import Table

GROUPED_ABOVE = 20
"""More letters than this are shown by cause, unless `t` said otherwise."""


def is_letter(task: types_pb2.Task) -> bool:
    return task.state == types_pb2.TASK_STATE_DEAD_LETTER


class LettersScreen(TasksScreen):
    """Which way to show them is judged when it is opened, as soon as they are counted; `t` overrules that."""

    place = "letters"
    shows_causes = True
    BINDINGS = bindings("letters")

    def __init__(self) -> None:
        super().__init__()
        self.grouped = False
        self._chosen = False
        self._judged = False

    def content(self) -> Iterable[Widget]:
        yield self.table(CAUSES, self.console.view.letters.causes, id="causes")
        yield self.table(LETTERS, self.console.view.tasks, id="rows", only=is_letter)
        yield self.under_lines()

    def on_mount(self) -> None:
        self._arrange()

    def on_screen_suspend(self) -> None:
        """Judged again after another view, not after a dialog: nothing changes under the operator's hands."""
        if self.console.view_name != self.place:
            self._judged = False

    def main_table(self) -> Table[Any]:
        return self.query_one("#causes" if self.grouped else "#rows", Table)

    def sync_content(self) -> None:
        if not self._judged and not self._chosen:
            letters = self.console.view.letters
            self._judged = letters.index >= 0
            grouped = letters.count > GROUPED_ABOVE
            if grouped != self.grouped:
                self.grouped = grouped
                self._arrange()
        super().sync_content()

    def _arrange(self) -> None:
        self.query_one("#causes").display = self.grouped
        self.query_one("#rows").display = not self.grouped
        self.main_table().focus()

    def headline(self) -> Cell:
        way = "by cause  " if self.grouped else ""
        return ((way, "dim"), *super().headline())

    def action_group(self) -> None:
        self.grouped = not self.grouped
        self._chosen = True
        self._arrange()
        self.sync()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        # Before that of TasksScreen, which takes every row for a task.
        if self.grouped:
            message.prevent_default()
            self.console.open_screen(CauseScreen(message.key))

    def under(self, width: int) -> Sequence[Cell]:
        table = self.main_table()
        row = table.cursor_row
        return super().under(width) if not self.grouped or row is None else cause_under(row, table.draw())

    def cursor_task(self) -> str:
        """Id of the letter under the cursor, or of the sample of that cause."""
        row = self.main_table().cursor_row
        if row is None:
            return ""
        return str(row.sample.id if self.grouped else row.id)

    def _causes(self) -> list[str]:
        """Causes that an action concerns."""
        table = self.main_table()
        if self.grouped:
            return table.chosen()
        row = table.cursor_row
        return [row.fingerprint] if row is not None and row.fingerprint else []

    def action_retry(self) -> None:
        if self.grouped:
            self.console.actions.retry_causes(self._causes())
        else:
            super().action_retry()

    def action_canary(self) -> None:
        self.console.actions.canary(self._causes())

    def action_discard(self) -> None:
        if self.grouped:
            self.console.actions.discard_causes(self._causes())
        else:
            self.console.actions.discard(self.main_table().chosen())

    def action_edit(self) -> None:
        self.console.actions.edit(self.cursor_task())

    def action_annotate(self) -> None:
        chosen = [self.cursor_task()] if self.grouped else self.main_table().chosen()
        self.console.actions.annotate([key for key in chosen if key])
