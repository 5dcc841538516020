"""View 2: the queue; and what every table of tasks does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual import on
from textual.widget import Widget

from tui.columns.tasks import QUEUE
from tui.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.base import ConsoleScreen
from tui.widgets.table import Table


class TasksScreen(ConsoleScreen):
    """A table of tasks with the actions on them."""

    def on_mount(self) -> None:
        self.query_one("#rows").focus()

    def main_table(self) -> Table[Any]:
        return self.query_one("#rows", Table)

    def sync_content(self) -> None:
        self.main_table().sync()

    @on(Pointed)
    def _pointed(self) -> None:
        self.sync_chrome()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        self.console.open_task(message.key)

    def action_output_of(self) -> None:
        if key := self.main_table().cursor_key:
            self.console.open_task(key, pane="output")

    def action_events_of(self) -> None:
        if key := self.main_table().cursor_key:
            self.console.open_task(key, pane="events")

    def action_why(self) -> None:
        if key := self.main_table().cursor_key:
            self.console.open_why(key)

    def action_retry(self) -> None:
        self.console.actions.retry(self.main_table().chosen())


class QueueScreen(TasksScreen):
    place = "queue"
    BINDINGS = bindings("queue")

    def content(self) -> Iterable[Widget]:
        yield self.table(QUEUE, self.console.view.tasks, id="rows")

    def action_cancel(self) -> None:
        self.console.actions.cancel(self.main_table().chosen())

    def action_dag_of(self) -> None:
        task = self.main_table().cursor_row
        if task is not None and task.workflow_id:
            self.console.open_workflow(task.workflow_id, task.id)
        elif task is not None:
            self.console.say("This task is of no workflow.", "warn")
