"""View 3: the workflows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from textual import on
from textual.widget import Widget

from tui.columns.workflows import WORKFLOWS
from tui.details.under import workflow_under
from tui.drawing.draw import Cell
from tui.keyboard.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.pointing import PointingScreen
from tui.widgets.table import Table


class WorkflowsScreen(PointingScreen):
    place = "workflows"
    BINDINGS = bindings("workflows")

    def content(self) -> Iterable[Widget]:
        yield self.table(WORKFLOWS, self.console.view.workflows, id="rows")
        yield self.under_lines()

    def on_mount(self) -> None:
        self.query_one("#rows").focus()

    def main_table(self) -> Table[Any]:
        return self.query_one("#rows", Table)

    def sync_content(self) -> None:
        self.main_table().sync()

    def under(self, width: int) -> Sequence[Cell]:
        table = self.main_table()
        row = table.cursor_row
        return () if row is None else workflow_under(row, table.draw(), width)

    @on(Pointed)
    def _pointed(self) -> None:
        self.sync_chrome()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        self.console.open_workflow(message.key)

    def action_cancel(self) -> None:
        self.console.actions.cancel_workflows(self.main_table().chosen())

    def action_resume(self) -> None:
        self.console.actions.resume_workflows(self.main_table().chosen())
