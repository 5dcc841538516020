"""Machines that wait to be let in. None can yet: a machine joins with the cluster's secret alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual import on
from textual.widget import Widget

from tui.columns.approvals import WAITING, waits
from tui.keyboard.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.base import ConsoleScreen
from tui.store.nodes import NodeRow
from tui.widgets.table import Table


def _waits(row: NodeRow) -> bool:
    return waits(row.node)


class ApprovalsScreen(ConsoleScreen):
    place = "approvals"
    BINDINGS = bindings("approvals")

    def content(self) -> Iterable[Widget]:
        yield self.table(WAITING, self.console.view.nodes, id="rows", only=_waits)

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
        self.console.open_node(message.key)
