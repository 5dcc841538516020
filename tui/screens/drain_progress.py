"""How a drain goes: what has left the node, what was foretold of each task and what happened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual import on, work
from textual.widget import Widget

from cortex.v1 import types_pb2
from tui.columns.drain import DRAIN, DrainRow, drain_rows, row_text
from tui.details.drain import headline
from tui.draw import foreign
from tui.keymap import bindings
from tui.messages import Opened, Pointed
from tui.rows import Rows
from tui.screens.base import ConsoleScreen
from tui.source import SourceError
from tui.widgets.lines import Lines
from tui.widgets.table import Table


class DrainProgressScreen(ConsoleScreen):
    place = "draining"
    BINDINGS = bindings("draining")

    def __init__(self, operation: str) -> None:
        super().__init__()
        self.key = operation
        self._problem = ""
        self._rows: Rows[DrainRow] = Rows(row_text)
        self._shown: dict[str, DrainRow] = {}

    @property
    def operation(self) -> types_pb2.Operation | None:
        return self.console.view.operations.get(self.key)

    def content(self) -> Iterable[Widget]:
        yield Lines(self.palette, id="headline", ellipsis=self.console.glyphs.ellipsis)
        yield self.table(DRAIN, self._rows, id="rows")

    def on_mount(self) -> None:
        self.query_one("#rows").focus()
        self.load()

    @work(group="load", exclusive=True)
    async def load(self) -> None:
        """The operation as a whole; the stream keeps it up while it lives."""
        try:
            reply = await self.console.source.get_operation(self.key)
        except SourceError as error:
            self._problem = f"{error.message} {error.remedy}".strip()
            return
        self.console.view.put_operation(reply.operation)
        self.sync()

    def main_table(self) -> Table[Any]:
        return self.query_one("#rows", Table)

    def sync_content(self) -> None:
        operation, lines = self.operation, self.query_one("#headline", Lines)
        if operation is None:
            text, role = (self._problem, "warn") if self._problem else ("Looking for the drain.", "dim")
            lines.show((foreign(f" {text}", role, self.console.glyphs),))
        else:
            rows = drain_rows(operation, self.console.view)
            self._take(rows)
            lines.show(headline(operation, rows, self.drawing(), self.size.width))
        self.main_table().sync()

    def _take(self, rows: list[DrainRow]) -> None:
        now = {row.id: row for row in rows}
        for key in [key for key in self._shown if key not in now]:
            self._rows.remove(key)
        for key, row in now.items():
            if self._shown.get(key) != row:
                self._rows.put(key, row)
        self._shown = now

    @on(Pointed)
    def _pointed(self) -> None:
        self.sync_chrome()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        self.console.open_task(message.key)

    def action_why(self) -> None:
        if key := self.main_table().cursor_key:
            self.console.open_why(key)

    def action_node_of(self) -> None:
        if (operation := self.operation) is not None:
            self.console.open_node(operation.node)

    def action_uncordon(self) -> None:
        if (operation := self.operation) is not None:
            self.console.actions.uncordon([operation.node])
