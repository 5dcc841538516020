"""View 5: what happened, newest first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual import on
from textual.widget import Widget

from tui.columns.events import EVENTS
from tui.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.base import ConsoleScreen
from tui.widgets.table import Table


class EventsScreen(ConsoleScreen):
    place = "events"
    BINDINGS = bindings("events")

    def content(self) -> Iterable[Widget]:
        yield self.table(EVENTS, self.console.view.events, id="rows")

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
        event = self.console.view.events.get(message.key)
        if event is None:
            return
        if event.task:
            self.console.open_task(event.task)
        elif event.workflow:
            self.console.open_workflow(event.workflow)
        elif event.node:
            self.console.open_node(event.node)
