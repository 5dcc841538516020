"""View 1: the nodes, and below them the score terms of the one under the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from textual import on
from textual.widget import Widget

from tui.columns.base import Draw
from tui.columns.nodes import NODES, OLD_SAMPLE_US, sample_age_us
from tui.columns.shades import NODE_SHADES
from tui.details.panels import score_panel
from tui.drawing.draw import age
from tui.keyboard.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.approvals import ApprovalsScreen
from tui.screens.base import ConsoleScreen
from tui.store.nodes import NodeRow
from tui.widgets.heatfield import HeatField
from tui.widgets.lines import Lines
from tui.widgets.table import Table

PANEL_LINES = 4
MOST_GPU_LINES = 4
TALL = 36
"""Lines of a screen from which on a node's GPUs have a line each."""


class NodesScreen(ConsoleScreen):
    place = "nodes"
    BINDINGS = bindings("nodes")

    def __init__(self) -> None:
        super().__init__()
        self._panel_lines = PANEL_LINES
        self._panel_age = ""
        self._panel_told: object = None
        """What the panel was made of."""
        self._shade: int | None = None
        """Which of the shades the heatmap shows; None while the table is shown."""

    def content(self) -> Iterable[Widget]:
        table = self.table(NODES, self.console.view.nodes, id="rows")
        heat = HeatField(table, NODE_SHADES[0], self.drawing, self.palette, id="heat")
        heat.display = False
        yield table
        yield heat
        yield Lines(self.palette, id="panel", ellipsis=self.console.glyphs.ellipsis)

    def on_mount(self) -> None:
        self.query_one("#rows").focus()

    def main_table(self) -> Table[Any]:
        return self.query_one("#rows", Table)

    def preparing(self) -> Iterator[None]:
        # Samples may come before its widgets are there, and while they go.
        shown = self.children and not self._pruning and self._shade is None and self.past is None
        return self.main_table().preparing() if shown else iter(())

    def sync_content(self) -> None:
        self.main_table().sync()
        if self._shade is not None:
            self.heat.sync()
        self.sync_panel()

    def stands_still(self) -> bool:
        # A row that no sample came of for long tells its age as soon as that is another.
        return self._shade is None and self.past is None and not self._panel_age

    def sync_panel(self) -> None:
        # Of a table that stands still, as it was then.
        table = self.main_table()
        row, draw = table.cursor_row, table.draw()
        width, height = self.size
        self._panel_age = "" if row is None else _age(row, draw)
        told = (row, draw.glyphs, width, height, self._panel_age)
        if told == self._panel_told:
            return
        self._panel_told = told
        room = MOST_GPU_LINES if height >= TALL else 1
        lines = [] if row is None else score_panel(row, draw, width, room)
        panel = self.query_one("#panel", Lines)
        if len(lines) > self._panel_lines:
            # Never lower again: rows do not jump while the cursor goes over nodes with and without GPUs.
            self._panel_lines = len(lines)
            panel.styles.height = len(lines)
        panel.show(lines)

    @on(Pointed)
    def _pointed(self) -> None:
        if self._shade is not None:
            self.heat.sync()
        self.sync_panel()
        self.sync_chrome()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        self.console.open_node(message.key)

    def action_events_of(self) -> None:
        if key := self.main_table().cursor_key:
            self.console.open_node(key, pane="events")

    @property
    def heat(self) -> HeatField:
        return self.query_one("#heat", HeatField)

    def action_heatmap(self) -> None:
        """From the table to each of the shades in turn, and back to the table."""
        wanted = 0 if self._shade is None else self._shade + 1
        self._show_shade(wanted if wanted < len(NODE_SHADES) else None)

    def _show_shade(self, number: int | None) -> None:
        self._shade = number
        self.main_table().display = number is None
        self.heat.display = number is not None
        self.focus_rows()
        if number is not None:
            self.heat.show(NODE_SHADES[number])

    def focus_rows(self) -> None:
        if self._shade is None:
            super().focus_rows()
        else:
            self.heat.focus()

    def step_back(self) -> bool:
        if super().step_back():
            return True
        if self._shade is None:
            return False
        self._show_shade(None)
        return True

    def action_tasks_of(self) -> None:
        if key := self.main_table().cursor_key:
            self.console.open_node(key, pane="tasks")

    def action_approvals(self) -> None:
        self.console.open_screen(ApprovalsScreen())

    def action_drain(self) -> None:
        self.console.actions.drain(self.main_table().chosen())

    def action_remove(self) -> None:
        self.console.actions.remove(self.main_table().chosen())

    def action_cordon(self) -> None:
        self.console.actions.cordon(self.main_table().chosen())

    def action_uncordon(self) -> None:
        self.console.actions.uncordon(self.main_table().chosen())


def _age(row: NodeRow, draw: Draw) -> str:
    """What the panel says of time; empty while that is nothing."""
    old = sample_age_us(row, draw.now_s)
    scored = row.view is not None and row.view.scored
    return "" if old is None or (scored and old < OLD_SAMPLE_US) else age(old)
