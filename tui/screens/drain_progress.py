"""How a drain goes: what has left the node, what was foretold of each task and what happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from textual import on, work
from textual.widget import Widget

from cortex.v1 import types_pb2
from tui.columns.drain import DRAIN, DrainBoard
from tui.details.drain import headline
from tui.details.under import drained_under
from tui.drawing.draw import Cell, foreign
from tui.keyboard.keymap import bindings
from tui.lists.rows import Changes
from tui.messages import Opened, Pointed
from tui.screens.pointing import PointingScreen
from tui.source import SourceError
from tui.widgets.lines import Lines
from tui.widgets.table import Table


class DrainProgressScreen(PointingScreen):
    place = "draining"
    BINDINGS = bindings("draining")

    def __init__(self, operation: str) -> None:
        super().__init__()
        self.key = operation
        self._problem = ""
        self._board = DrainBoard()
        self._changes: Changes[types_pb2.Task] | None = None
        self._whole: types_pb2.Operation | None = None
        self._asked_index = 0

    @property
    def operation(self) -> types_pb2.Operation | None:
        """As the stream tells it, without the lists of its plan; what ended long ago is only known whole."""
        return self.console.view.operations.get(self.key) or self._whole

    def content(self) -> Iterable[Widget]:
        yield Lines(self.palette, id="headline", ellipsis=self.console.glyphs.ellipsis)
        yield self.table(DRAIN, self._board.rows, id="rows")
        yield self.under_lines()

    def on_mount(self) -> None:
        self.query_one("#rows").focus()
        self._changes = Changes(self.console.view.tasks)
        self.load()

    def on_unmount(self) -> None:
        if self._changes is not None:
            self._changes.close()

    @work(group="load", exclusive=True)
    async def load(self) -> None:
        """The operation as a whole; asked again whenever the stream has news of it."""
        try:
            reply = await self.console.source.get_operation(self.key)
        except SourceError as error:
            self._problem = f"{error.message} {error.remedy}".strip()
            return
        self._whole = reply.operation
        self._asked_index = max(self._asked_index, reply.operation.modified_index)
        self._board.load(reply.operation, self.console.view)
        self.sync()

    def undo_target(self) -> str:
        return self.key

    def main_table(self) -> Table[Any]:
        return self.query_one("#rows", Table)

    def sync_content(self) -> None:
        operation, lines = self.operation, self.query_one("#headline", Lines)
        if self._changes is not None:
            self._board.follow(self._changes.take())
        if operation is None:
            text, role = (self._problem, "warn") if self._problem else ("Looking for the drain.", "dim")
            lines.show((foreign(f" {text}", role, self.console.glyphs),))
        else:
            if self._whole is not None and operation.modified_index > max(
                self._asked_index, self._whole.modified_index
            ):
                self._asked_index = operation.modified_index
                self.load()
            lines.show(headline(operation, self._board, self.drawing(), self.size.width))
        self.main_table().sync()

    def under(self, width: int) -> Sequence[Cell]:
        table = self.main_table()
        row = table.cursor_row
        return () if row is None else drained_under(row, table.draw(), width)

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
