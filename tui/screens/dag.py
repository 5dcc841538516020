"""One workflow: its tasks as the rows of a DAG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from textual import on, work
from textual.widget import Widget

from cortex.v1 import types_pb2
from tui import workflow_view
from tui.columns.dag import DAG
from tui.columns.workflows import progress, workflow_state
from tui.dag_rows import DagRows, Placed
from tui.draw import Cell, foreign
from tui.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.base import ConsoleScreen
from tui.source import SourceError
from tui.widgets.dag_table import DagTable
from tui.widgets.lines import Lines
from tui.widgets.table import Table
from tui.workflow_members import Members

PROGRESS_CELLS = 30


def listed(tasks: Mapping[int, types_pb2.Task]) -> Sequence[Placed]:
    """Every task after what it depends on."""
    return [Placed(task.id, (task.member,)) for _, task in workflow_view.topological(tasks.values())]


class DagScreen(ConsoleScreen):
    place = "dag"
    BINDINGS = bindings("dag")

    def __init__(self, key: str, task: str = "") -> None:
        super().__init__()
        self.key = key
        self._wanted = task
        self._problem = ""
        self._snapshot = 0
        self._members = Members(key, self.console.view)
        self._dag = DagRows(self._members, listed)

    def content(self) -> Iterable[Widget]:
        yield Lines(self.palette, id="headline", ellipsis=self.console.glyphs.ellipsis)
        yield DagTable(DAG, self._dag.rows, self.drawing, self.palette, id="rows")

    def on_mount(self) -> None:
        self.query_one("#rows").focus()
        self.load()

    def on_unmount(self) -> None:
        self._members.close()

    @work(group="load", exclusive=True)
    async def load(self) -> None:
        """All its tasks; the stream keeps them up from then on."""
        self._snapshot = self.console.view.snapshots
        try:
            reply = await self.console.source.get_workflow(self.key)
        except SourceError as error:
            self._problem = f"{error.message} {error.remedy}".strip()
            return
        self._problem = ""
        self._members.load(reply)

    def main_table(self) -> Table[Any]:
        return self.query_one("#rows", Table)

    def sync_content(self) -> None:
        if self._snapshot != self.console.view.snapshots:
            self.load()
        self._dag.sync()
        table = self.main_table()
        table.sync()
        if self._wanted and table.point_at(self._wanted):
            self._wanted = ""
        self.query_one("#headline", Lines).show(self._headline())

    def _headline(self) -> Sequence[Cell]:
        row, glyphs = self.console.view.workflows.get(self.key), self.console.glyphs
        if row is None:
            return (foreign(f" {self._problem or 'Looking for the workflow.'}", "warn", glyphs),)
        return (
            (
                (" ", "text"),
                *foreign(row.name or "workflow", "strong", glyphs),
                ("  ", "text"),
                *workflow_state(row, glyphs),
                ("  ", "text"),
                *progress(row, PROGRESS_CELLS, glyphs),
                (f"  run {row.run}", "dim"),
            ),
        )

    @on(Pointed)
    def _pointed(self) -> None:
        self.sync_chrome()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        row = self._dag.rows.get(message.key)
        if row is not None and row.task is not None:
            self.console.open_task(row.task.id)
