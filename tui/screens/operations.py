"""Operations: the list of them, and one with its plan and its tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from textual import on, work
from textual.widget import Widget

from cortex.v1 import types_pb2
from tui.columns.operations import OPERATIONS
from tui.columns.tasks import QUEUE
from tui.details.operation import operation_facts, operation_headline
from tui.details.under import operation_under
from tui.drawing.draw import Cell
from tui.keyboard.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.pointing import PointingScreen
from tui.screens.twofold import TwofoldScreen
from tui.source import SourceError
from tui.widgets.table import Table

MAX_TASKS = 1000
TASKS = replace(QUEUE, empty="No task of it is known.")


class OperationsScreen(PointingScreen):
    """All operations that are known, those that go on first."""

    place = "operations"
    BINDINGS = bindings("operations")

    def content(self) -> Iterable[Widget]:
        yield self.table(OPERATIONS, self.console.view.operations, id="rows")
        yield self.under_lines()

    def on_mount(self) -> None:
        self.query_one("#rows").focus()
        self.load()

    @work(group="load", exclusive=True)
    async def load(self) -> None:
        """Those that ended while the stream was away."""
        try:
            reply = await self.console.source.list_operations()
        except SourceError as error:
            self.console.say(f"{error.message} {error.remedy}".strip(), "bad")
            return
        for row in reply.operations:
            self.console.view.put_operation(row)

    def main_table(self) -> Table[Any]:
        return self.query_one("#rows", Table)

    def sync_content(self) -> None:
        self.main_table().sync()

    def under(self, width: int) -> Sequence[Cell]:
        table = self.main_table()
        row = table.cursor_row
        return () if row is None else operation_under(row, table.draw())

    def undo_target(self) -> str:
        return self.main_table().cursor_key

    def action_stop(self) -> None:
        self.console.actions.stop(self.main_table().cursor_key)

    @on(Pointed)
    def _pointed(self) -> None:
        self.sync_chrome()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        self.console.open_operation(message.key)


class OperationScreen(TwofoldScreen):
    """One operation; its tasks are those that its plan names, or that it created or revived."""

    place = "operation"
    BINDINGS = bindings("operation")

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        self._whole = types_pb2.Operation()
        self._named: frozenset[str] = frozenset()
        self._problem = ""

    def facts_title(self) -> str:
        return "OPERATION"

    def members(self) -> Table[Any]:
        return self.table(TASKS, self.console.view.tasks, id="rows", only=self._is_mine)

    def _is_mine(self, task: types_pb2.Task) -> bool:
        return task.operation == self.key or task.id in self._named

    @property
    def row(self) -> types_pb2.Operation | None:
        """As it is now, with the lists of its plan where they were read."""
        known = self.console.view.operations.get(self.key)
        if known is None or known.modified_index <= self._whole.modified_index:
            return self._whole if self._whole.id else known
        return known

    def on_mount(self) -> None:
        super().on_mount()
        self.sync()
        self.load()

    @work(group="load", exclusive=True)
    async def load(self) -> None:
        """The whole row, and its tasks."""
        source, view = self.console.source, self.console.view
        try:
            self._whole = (await source.get_operation(self.key)).operation
            view.put_operation(self._whole)
            named = list(self._whole.bulk.ids)
            for task in (await source.list_tasks((), MAX_TASKS, operation=self.key)).tasks:
                view.put_task(task)
            self._named = frozenset(named)
        except SourceError as error:
            self._problem = f"{error.message} {error.remedy}".strip()
            return
        table = self.main_table()
        table.listing.rebuild()
        table.redraw()

    def sync_headline(self) -> list[Cell]:
        row = self.row
        if row is None:
            return [((f" {self._problem or 'Looking for the operation.'}", "warn" if self._problem else "dim"),)]
        return operation_headline(row, self.drawing())

    def facts(self, width: int) -> list[Cell]:
        row = self.row
        return [] if row is None else operation_facts(row, self.drawing(), width)

    def undo_target(self) -> str:
        return self.key

    def action_stop(self) -> None:
        self.console.actions.stop(self.key)

    @on(Pointed)
    def _pointed(self) -> None:
        self.sync()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        self.console.open_task(message.key)
