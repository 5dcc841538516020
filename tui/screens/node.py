"""One node: what is known of it, its events, and the tasks on it."""

from __future__ import annotations

from textual import on, work
from textual.widget import Widget

from cortex.v1 import types_pb2
from tui.columns.events import NODE_HISTORY
from tui.columns.tasks import QUEUE
from tui.details.node import node_facts, node_headline
from tui.draw import Cell
from tui.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.panes import PanesScreen
from tui.source import SourceError
from tui.view import NodeRow
from tui.widgets.facts import Facts
from tui.widgets.table import Table


class NodeScreen(PanesScreen):
    place = "node"
    BINDINGS = bindings("node")
    panes = (("facts", "Details", "details"), ("events", "Events", "events"), ("tasks", "Tasks", "tasks"))

    def __init__(self, key: str, pane: str) -> None:
        super().__init__(key, pane)
        self._problem = ""

    @property
    def row(self) -> NodeRow | None:
        return self.console.view.nodes.get(self.key)

    def pane_widgets(self) -> list[Widget]:
        return [
            Facts(self.drawing, self.palette, "DETAILS", id="facts"),
            self.table(NODE_HISTORY, self.console.view.events, id="events", only=self._concerns),
            self.table(QUEUE, self.console.view.tasks, id="tasks", only=self._is_here),
        ]

    def _concerns(self, event: types_pb2.Event) -> bool:
        return event.node == self.key

    def _is_here(self, task: types_pb2.Task) -> bool:
        return task.node == self.key

    def on_mount(self) -> None:
        self.load()

    @work(group="load", exclusive=True)
    async def load(self) -> None:
        try:
            reply = await self.console.source.list_events(node=self.key)
        except SourceError as error:
            self._problem = error.message
            return
        for event in reply.events:
            self.console.view.put_event(event)

    def sync_headline(self) -> list[Cell]:
        row = self.row
        if row is None:
            return [((" This node is no longer in the cluster.", "warn"),)]
        return node_headline(row, self.drawing())

    def sync_content(self) -> None:
        super().sync_content()
        self.query_one("#events", Table).sync()
        self.query_one("#tasks", Table).sync()
        row = self.row
        if row is not None:
            facts = self.query_one("#facts", Facts)
            facts.show(node_facts(row, self.drawing(), max(20, facts.size.width - 1)))

    @on(Pointed)
    def _pointed(self) -> None:
        self.sync_chrome()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        message.stop()
        if message.table.id == "tasks":
            self.console.open_task(message.key)
            return
        event = self.console.view.events.get(message.key)
        if event is not None and event.task:
            self.console.open_task(event.task)

    def action_drain(self) -> None:
        self.console.actions.drain([self.key])

    def action_remove(self) -> None:
        self.console.actions.remove([self.key])

    def action_cordon(self) -> None:
        self.console.actions.cordon([self.key])

    def action_uncordon(self) -> None:
        self.console.actions.uncordon([self.key])
