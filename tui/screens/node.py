"""One node: what is known of it, its events, and the tasks on it."""

from __future__ import annotations

from textual import on, work
from textual.widget import Widget

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.events import NODE_HISTORY
from tui.columns.tasks import QUEUE
from tui.details.node import node_facts, node_headline
from tui.details.resources import SPAN_WORDS, SPANS_US, history_points
from tui.drawing.draw import Cell
from tui.keyboard.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.panes import PanesScreen
from tui.source import SourceError
from tui.store.nodes import NodeRow
from tui.widgets.facts import Facts
from tui.widgets.table import Table

INSPECT_EVERY_S = 5.0


class NodeScreen(PanesScreen):
    place = "node"
    BINDINGS = bindings("node")
    panes = (("facts", "Details", "details"), ("events", "Events", "events"), ("tasks", "Tasks", "tasks"))

    def __init__(self, key: str, pane: str) -> None:
        super().__init__(key, pane)
        self._problem = ""
        self._inspected: cluster_pb2.InspectNodeReply | None = None
        self._span = 0
        self._asked_s = -INSPECT_EVERY_S

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

    @work(group="inspect", exclusive=True)
    async def inspect(self, points: int) -> None:
        span = self._span
        try:
            reply = await self.console.source.inspect_node(self.key, span_us=SPANS_US[span], points=points)
        except SourceError:
            self._inspected = None
        else:
            self._inspected = reply if span == self._span else self._inspected
        self.sync()

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
            facts, draw = self.query_one("#facts", Facts), self.drawing()
            width = max(20, facts.size.width - 1)
            if row.node.online and draw.now_s - self._asked_s >= INSPECT_EVERY_S:
                self._asked_s = draw.now_s
                self.inspect(history_points(width))
            facts.show(node_facts(row, draw, width, self._inspected, self._span))

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

    def action_history_span(self) -> None:
        self._span = (self._span + 1) % len(SPANS_US)
        self._asked_s = -INSPECT_EVERY_S
        # Where the details are longer than the screen it changes below.
        self.console.say(f"What it measured in {SPAN_WORDS[self._span].lower()} stands among the details.")
        self.sync()

    def action_drain(self) -> None:
        self.console.actions.drain([self.key])

    def action_remove(self) -> None:
        self.console.actions.remove([self.key])

    def action_cordon(self) -> None:
        self.console.actions.cordon([self.key])

    def action_uncordon(self) -> None:
        self.console.actions.uncordon([self.key])
