"""View 5: what happened, newest first; or only what somebody asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from textual import on, work
from textual.widget import Widget

from cortex.v1 import types_pb2
from tui.columns.events import AUDIT, EVENTS, OF_OPERATIONS
from tui.details.under import event_under
from tui.drawing.draw import Cell, count_of
from tui.keyboard.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.pointing import PointingScreen
from tui.source import SourceError
from tui.store.view import MAX_EVENTS
from tui.widgets.table import Table

PAGE = 1000
AHEAD = 100
"""Rows before the oldest one that is read, at which earlier ones are asked for."""
MAX_PAGES = 20
RETRY_AFTER_S = 2.0


def is_asked_for(event: types_pb2.Event) -> bool:
    """Whether a person or a program asked for it."""
    return bool(event.actor)


class EventsScreen(PointingScreen):
    """Earlier events are read page by page, as the cursor comes to the oldest one that is known."""

    place = "events"
    BINDINGS = bindings("events")

    def __init__(self) -> None:
        super().__init__()
        self.audit = False
        self._begin_pages()

    def _begin_pages(self) -> None:
        # By whether they are of the audit; None before the first page, empty after the last one.
        self._cursors: dict[bool, str | None] = {False: None, True: None}
        self._pages = {False: 0, True: 0}
        self._reading = False
        self._failed_s = -RETRY_AFTER_S

    def content(self) -> Iterable[Widget]:
        audit = self.table(AUDIT, self.console.view.events, id="audit", only=is_asked_for)
        audit.display = False
        yield self.table(EVENTS, self.console.view.events, id="rows")
        yield audit
        yield self.under_lines()

    def on_mount(self) -> None:
        self.main_table().focus()

    def main_table(self) -> Table[Any]:
        return self.query_one("#audit" if self.audit else "#rows", Table)

    def sync_content(self) -> None:
        table = self.main_table()
        table.sync()
        near = table.cursor + AHEAD >= len(table.listing)
        rested = self.drawing().now_s - self._failed_s >= RETRY_AFTER_S
        if near and rested and self._more and not self._reading:
            self.load_page(self.audit)

    @property
    def _full(self) -> bool:
        """Whether no more of them are kept here."""
        return self._pages[self.audit] >= MAX_PAGES or len(self.console.view.events) >= MAX_EVENTS

    @property
    def _more(self) -> bool:
        """Whether there may be earlier ones that can be read."""
        return self.console.view.ready and self._cursors[self.audit] != "" and not self._full

    @work(group="page", exclusive=True)
    async def load_page(self, audit: bool) -> None:
        """The next earlier ones."""
        self._reading = True
        view, before = self.console.view, self._cursors[audit]
        try:
            reply = await self.console.source.list_events(audit=audit, limit=PAGE, cursor=before or "")
        except SourceError as error:
            self._failed_s = self.drawing().now_s
            self.console.say(f"Earlier events cannot be read. {error.message}", "warn")
            return
        finally:
            self._reading = False
        if self._cursors[audit] == before:
            self._cursors[audit] = reply.next_cursor
            self._pages[audit] += 1
        for event in reply.events:
            view.put_event(event)
        self.sync()

    def moment_changed(self) -> None:
        self._begin_pages()

    def headline(self) -> Cell:
        parts: list[tuple[str, str]] = []
        if self._full:
            parts.append((f"the last {count_of(len(self.main_table().listing))}  ", "warn"))
        elif self._cursors[self.audit]:
            parts.append(("more below  ", "dim"))
        if self.audit:
            parts.append(("audit  ", "accent"))
        return (*parts, *super().headline())

    def action_audit(self) -> None:
        """Only what somebody asked for, or everything again; the filter goes along."""
        text = self.main_table().filter_text
        self.audit = not self.audit
        for name in ("rows", "audit"):
            self.query_one(f"#{name}").display = self.audit is (name == "audit")
        table = self.main_table()
        if table.filter_text != text:
            table.apply_filter(text)
        table.focus()
        self.sync()

    def under(self, width: int) -> Sequence[Cell]:
        table = self.main_table()
        event = table.cursor_row
        return () if event is None else event_under(event, table.draw(), width)

    @on(Pointed)
    def _pointed(self) -> None:
        self.sync()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        event = self.console.view.events.get(message.key)
        if event is None:
            return
        if event.operation and (event.type in OF_OPERATIONS or not (event.task or event.workflow or event.node)):
            self.console.open_operation(event.operation)
        elif event.task:
            self.console.open_task(event.task)
        elif event.workflow:
            self.console.open_workflow(event.workflow)
        elif event.node:
            self.console.open_node(event.node)
