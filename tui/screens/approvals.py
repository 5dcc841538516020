"""Machines that wait to be let in. None can yet: a machine joins with the cluster's secret alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from textual import on
from textual.widget import Widget

from cortex.v1 import types_pb2
from tui.columns.nodes import NODES
from tui.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.base import ConsoleScreen
from tui.view import NodeRow
from tui.widgets.table import Table

NONE_YET = "No machine waits: whoever has the cluster's secret joins at once, and approval is not asked yet."
WAITING = replace(NODES, empty=NONE_YET)


def waits(row: NodeRow) -> bool:
    return row.node.state == types_pb2.NODE_STATE_PENDING_APPROVAL


class ApprovalsScreen(ConsoleScreen):
    place = "approvals"
    BINDINGS = bindings("approvals")

    def content(self) -> Iterable[Widget]:
        yield self.table(WAITING, self.console.view.nodes, id="rows", only=waits)

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
