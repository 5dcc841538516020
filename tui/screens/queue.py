"""View 2: the queue; and what every table of tasks does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from textual import on
from textual.widget import Widget

from tui.columns.groups import groups
from tui.columns.tasks import QUEUE, urgency
from tui.details.under import group_under, task_under
from tui.drawing.draw import Cell
from tui.keyboard.keymap import bindings
from tui.keyboard.options import Option
from tui.lists.grouping import GROUPINGS, HEAD, Grouping, Line
from tui.messages import Opened, Pointed
from tui.screens.pointing import PointingScreen
from tui.widgets.grouptable import GroupTable
from tui.widgets.table import Table


class TasksScreen(PointingScreen):
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

    def under(self, width: int) -> Sequence[Cell]:
        table = self.main_table()
        row = table.cursor_row
        task = row.task if isinstance(row, Line) else row
        return () if task is None else task_under(task, table.draw())

    def cursor_task(self) -> str:
        """Id of the task under the cursor; empty when there is none."""
        return self.main_table().cursor_key

    def action_output_of(self) -> None:
        if key := self.cursor_task():
            self.console.open_task(key, pane="output")

    def action_events_of(self) -> None:
        if key := self.cursor_task():
            self.console.open_task(key, pane="events")

    def action_why(self) -> None:
        if key := self.cursor_task():
            self.console.open_why(key)

    def action_dag_of(self) -> None:
        task = self.console.view.tasks.get(self.cursor_task())
        if task is not None and task.workflow_id:
            self.console.open_workflow(task.workflow_id, task.id)
        elif task is not None:
            self.console.say("This task is of no workflow.", "warn")

    def action_retry(self) -> None:
        self.console.actions.retry(self.main_table().chosen())


class QueueScreen(TasksScreen):
    """One by one, or in groups: then there is a second table, and that of all tasks waits behind it."""

    place = "queue"
    BINDINGS = bindings("queue")

    def __init__(self) -> None:
        super().__init__()
        self.grouped_by = ""

    def content(self) -> Iterable[Widget]:
        yield self.table(QUEUE, self.console.view.tasks, id="rows")
        yield self.under_lines()

    def main_table(self) -> Table[Any]:
        return self.query_one("#groups" if self.grouped_by else "#rows", Table)

    def headline(self) -> Cell:
        if not self.grouped_by:
            return super().headline()
        table = self.query_one("#groups", GroupTable)
        counting = (("counting  ", "warn"),) if table.grouping.counting else ()
        return (*counting, (f"by {self.grouped_by}  ", "dim"), *super().headline())

    def action_group(self) -> None:
        options = [Option("none", "one by one"), *(Option(kind, kind) for kind in GROUPINGS)]
        self.console.choose("Group by", options, self.grouped_by or "none", self._group_by)

    def _group_by(self, kind: str) -> None:
        self.run_worker(self._regroup("" if kind == "none" else kind), group="groups", exclusive=True)

    async def _regroup(self, kind: str) -> None:
        self.grouped_by = ""
        await self.query("#groups").remove()
        self.query_one("#rows").display = not kind
        if kind:
            tasks = self.console.view.tasks
            grouping = Grouping(tasks, GROUPINGS[kind], urgency)
            table = GroupTable(groups(kind), grouping, tasks, QUEUE, self.drawing, self.palette, id="groups")
            await self.mount(table, after=self.query_one("#rows"))
        self.grouped_by = kind
        self.main_table().focus()
        self.sync()

    def under(self, width: int) -> Sequence[Cell]:
        on_group = self.main_table().cursor_key.startswith(HEAD)
        return group_under(self.drawing()) if on_group else super().under(width)

    def cursor_task(self) -> str:
        """Id of the task under the cursor; empty on a group."""
        key = self.main_table().cursor_key
        return "" if key.startswith(HEAD) else key

    def action_cancel(self) -> None:
        self.console.actions.cancel(self.main_table().chosen())

    def action_priority(self) -> None:
        self.console.actions.set_priority(self.main_table().chosen())
