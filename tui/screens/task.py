"""One task: what is known of it, its events, and its output as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from textual import on, work
from textual.widget import Widget

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.columns.events import TASK_HISTORY, order
from tui.details.resources import use_line
from tui.details.task import task_facts, task_headline
from tui.drawing.draw import Cell
from tui.keyboard.keymap import bindings
from tui.lists.rows import Listing
from tui.messages import Opened, Pointed
from tui.screens.panes import PanesScreen
from tui.source import Moment, SourceError
from tui.store.output_feed import OutputFeed
from tui.widgets.facts import Facts
from tui.widgets.output import OutputPane
from tui.widgets.table import Table

WHY_EVERY_S = 2.0
USE_EVERY_S = 2.0


class TaskScreen(PanesScreen):
    place = "task"
    BINDINGS = bindings("task")
    panes = (("facts", "Details", "details"), ("events", "Events", "events"), ("output", "Output", "output"))

    def __init__(self, key: str, pane: str) -> None:
        super().__init__(key, pane)
        self._problem = ""
        self._why = cluster_pb2.WhyReply()
        self._judged_fence = 0
        self._asked_s = 0.0
        self._use: types_pb2.TaskUse | None = None
        self._use_asked_s = 0.0
        self._feed: OutputFeed | None = None
        self._double_runs: Sequence[types_pb2.DoubleRun] = ()
        self._own_events: Listing[types_pb2.Event] | None = None

    @property
    def row(self) -> types_pb2.Task | None:
        return self.console.view.tasks.get(self.key)

    def pane_widgets(self) -> list[Widget]:
        return [
            Facts(self.drawing, self.palette, "DETAILS", id="facts"),
            self.table(TASK_HISTORY, self.console.view.events, id="events", only=self._is_mine),
            OutputPane(self.drawing, self.palette, id="output"),
        ]

    def _is_mine(self, event: types_pb2.Event) -> bool:
        return event.task == self.key

    def on_mount(self) -> None:
        self._own_events = Listing(self.console.view.events, order, only=self._is_mine)
        self.load()

    def on_unmount(self) -> None:
        if self._own_events is not None:
            self._own_events.close()

    @work(group="load", exclusive=True)
    async def load(self) -> None:
        """The row and its whole history; the stream keeps both up."""
        try:
            reply = await self.console.source.get_task(self.key)
        except SourceError as error:
            self._problem = f"{error.message} {error.remedy}".strip()
            return
        self.console.view.put_task(reply.task)
        for event in reply.events:
            self.console.view.put_event(event)
        with suppress(SourceError):
            self._double_runs = (await self.console.source.list_double_runs(self.key)).double_runs

    @work(group="why", exclusive=True)
    async def load_why(self) -> None:
        try:
            self._why = await self.console.source.why(self.key)
        except SourceError:
            self._why = cluster_pb2.WhyReply()

    @work(group="use", exclusive=True)
    async def load_use(self, node: str) -> None:
        try:
            reply = await self.console.source.inspect_node(node)
        except SourceError:
            self._use = None
            return
        self._use = next((use for use in reply.tasks if use.task == self.key), None)

    @work(group="output", exclusive=True)
    async def follow_output(self, feed: OutputFeed) -> None:
        await feed.run(self.console.source)

    def sync_headline(self) -> list[Cell]:
        task = self.row
        if task is None:
            return [((f" {self._problem or 'Looking for the task.'}", "warn" if self._problem else "dim"),)]
        return task_headline(task, self.drawing())

    def sync_content(self) -> None:
        super().sync_content()
        draw, task = self.drawing(), self.row
        self.query_one("#events", Table).sync()
        pane = self.query_one("#output", OutputPane)
        if task is not None:
            self._sync_output(task, pane)
            facts = self.query_one("#facts", Facts)
            why = self._why_of(task, draw.now_s)
            width = max(20, facts.size.width - 1)
            lines = task_facts(task, self._events(), why, draw, width, self._double_runs)
            facts.show([*self._use_lines(task, draw, width), *lines])
        pane.sync()

    def _use_lines(self, task: types_pb2.Task, draw: Draw, width: int) -> list[Cell]:
        """What it uses while it runs, asked of its node anew every while."""
        if task.state != types_pb2.TASK_STATE_RUNNING:
            return []
        if draw.now_s - self._use_asked_s >= USE_EVERY_S:
            self._use_asked_s = draw.now_s
            self.load_use(task.node)
        use = self._use
        return use_line(use, draw, width) if use is not None and use.fence == task.fence else []

    def _why_of(self, task: types_pb2.Task, now_s: float) -> cluster_pb2.WhyReply:
        """What is to be shown of why: of what waits as it is now, of what was placed as it was then."""
        waits = task.state in (types_pb2.TASK_STATE_PENDING, types_pb2.TASK_STATE_QUEUED)
        if waits:
            if now_s - self._asked_s >= WHY_EVERY_S:
                self._asked_s = now_s
                self.load_why()
        elif task.fence != self._judged_fence:
            self._judged_fence = task.fence
            self.load_why()
        return self._why if waits or self._why.past else cluster_pb2.WhyReply()

    def _events(self) -> list[types_pb2.Event]:
        listing = self._own_events
        if listing is None:
            return []
        listing.update()
        return [row for position in range(len(listing)) if (row := listing.row(position)) is not None]

    def _sync_output(self, task: types_pb2.Task, pane: OutputPane) -> None:
        feed = self._feed
        if feed is None or feed.outdated_by(task):
            self._feed = feed = OutputFeed(task, pane.buffer)
            if feed.worth_asking:
                self.follow_output(feed)
        feed.task = task
        pane.status = feed.status()

    def action_follow(self) -> None:
        pane = self.query_one("#output", OutputPane)
        pane.follow(not pane.following)

    def action_why(self) -> None:
        """Of the placement that the cursor is on in the events, else of the last one or of now."""
        event = self.console.view.events.get(self.query_one("#events", Table).cursor_key)
        placed = self.pane == "events" and event is not None and event.type == types_pb2.EVENT_TYPE_ASSIGNED
        task = self.row
        if placed and event is not None and task is not None and event.index != task.fence:
            # As it stood just before: what it took itself is not in its way.
            self.console.open_why(self.key, Moment(index=event.index - 1))
        else:
            self.console.open_why(self.key)

    def action_dag_of(self) -> None:
        task = self.row
        if task is not None and task.workflow_id:
            self.console.open_workflow(task.workflow_id, task.id)
        elif task is not None:
            self.console.say("This task is of no workflow.", "warn")

    def action_cancel(self) -> None:
        self.console.actions.cancel([self.key])

    def action_retry(self) -> None:
        self.console.actions.retry([self.key])

    @on(Pointed)
    def _pointed(self) -> None:
        self.sync_chrome()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        """From an event to the node that it happened on."""
        message.stop()
        event = self.console.view.events.get(message.key)
        if event is not None and event.node:
            self.console.open_node(event.node)
