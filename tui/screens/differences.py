"""What is not the same at two moments, or at one of them and now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual import on, work
from textual.widget import Widget

from tui.columns.differences import DIFFERENCES, Difference, difference_text, differences
from tui.drawing.draw import Cell, count_of, foreign
from tui.keyboard.keymap import bindings
from tui.lists.rows import Rows
from tui.messages import Opened, Pointed
from tui.past.moments import Moment, clock_of
from tui.screens.base import ConsoleScreen
from tui.source import SourceError
from tui.widgets.lines import Lines
from tui.widgets.table import Table

MAX_ROWS = 1000


class DifferencesScreen(ConsoleScreen):
    """From `begin` to `end`; None: to now."""

    place = "differences"
    BINDINGS = bindings("differences")

    def __init__(self, begin: Moment, end: Moment | None) -> None:
        super().__init__()
        self._begin, self._end = begin, end
        self._rows: Rows[Difference] = Rows(difference_text)
        self._said = "Asking what differs."
        self._role = "dim"

    def content(self) -> Iterable[Widget]:
        yield Lines(self.palette, id="headline", ellipsis=self.console.glyphs.ellipsis)
        yield self.table(DIFFERENCES, self._rows, id="rows")

    def on_mount(self) -> None:
        self.query_one("#rows").focus()
        self.load()

    def main_table(self) -> Table[Any]:
        return self.query_one("#rows", Table)

    def moment_changed(self) -> None:
        """It is between the two that it was opened for."""

    @work(group="load", exclusive=True)
    async def load(self) -> None:
        begin = Moment(index=self._begin.index)
        end = None if self._end is None else Moment(index=self._end.index)
        try:
            reply = await self.console.source.diff(begin, end, MAX_ROWS)
        except SourceError as error:
            self._said, self._role = f"{error.message} {error.remedy}".strip(), "warn"
            return
        rows = differences(reply)
        for row in rows:
            self._rows.put(row.key, row)
        objects = len(reply.rows)
        self._said = (
            f"{count_of(objects)} {'differs' if objects == 1 else 'differ'} in {count_of(len(rows))} fields."
        )
        self._role = "text"
        if reply.truncated:
            self._said += f" There are more: take moments that are nearer, or `{self.command()}`."
            self._role = "warn"
        self.sync()

    def command(self) -> str:
        """The same on the command line."""
        end = "" if self._end is None else f" --to {self._end.index}"
        return f"cortex diff --from {self._begin.index}{end}"

    def sync_content(self) -> None:
        glyphs = self.console.glyphs
        self.query_one("#headline", Lines).show(
            (
                (
                    (" WAS ", "dim"), *_moment(self._begin), ("   IS ", "dim"),
                    *(_moment(self._end) if self._end is not None else (("now", "strong"),)),
                    ("   ", "text"), *foreign(self._said, self._role, glyphs),
                ),
                ((" $ ", "dim"), (self.command(), "accent")),
            )
        )  # fmt: skip
        self.main_table().sync()

    @on(Pointed)
    def _pointed(self) -> None:
        self.sync_chrome()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        row = self._rows.get(message.key)
        if row is None:
            return
        if row.kind == "task":
            self.console.open_task(row.id)
        elif row.kind == "node":
            self.console.open_node(row.id)
        elif row.kind == "workflow":
            self.console.open_workflow(row.id)


def _moment(moment: Moment) -> Cell:
    return ((clock_of(moment.at_us), "strong"), (f" index {count_of(moment.index)}", "dim"))
