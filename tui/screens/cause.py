"""One cause of dead letters: a sample with its output and attempts, and the list of its letters."""

from __future__ import annotations

from typing import Any

from textual import on, work

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.tasks import LETTERS
from tui.details.cause import cause_facts, cause_headline
from tui.drawing.draw import Cell
from tui.keyboard.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.twofold import TwofoldScreen
from tui.source import SourceError
from tui.store.letters import NO_CAUSE
from tui.widgets.table import Table

PAGE = 1000
AHEAD = 100
"""Rows before the last one that is read, at which the next page is asked for."""


class CauseScreen(TwofoldScreen):
    """`key` is the fingerprint, or NO_CAUSE."""

    place = "cause"
    shows_causes = True
    BINDINGS = bindings("cause")

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        self._row = cluster_pb2.DeadLetterCause()
        self._sample = types_pb2.Task()
        self._problem = ""
        self._cursor = ""
        self._reading = False

    def facts_title(self) -> str:
        return "SAMPLE"

    def members(self) -> Table[Any]:
        return self.table(LETTERS, self.console.view.tasks, id="rows", only=self._is_mine)

    def _is_mine(self, task: types_pb2.Task) -> bool:
        wanted = "" if self.key == NO_CAUSE else self.key
        return task.state == types_pb2.TASK_STATE_DEAD_LETTER and task.fingerprint == wanted

    def on_mount(self) -> None:
        super().on_mount()
        self.sync()
        self.load_page()

    def moment_changed(self) -> None:
        self._row, self._sample, self._cursor = cluster_pb2.DeadLetterCause(), types_pb2.Task(), ""
        self.load_page()

    @work(group="letters", exclusive=True)
    async def load_page(self) -> None:
        """The next letters of the cause."""
        if self.key == NO_CAUSE:
            return
        self._reading = True
        states = (types_pb2.TASK_STATE_DEAD_LETTER,)
        try:
            reply = await self.console.source.list_tasks(states, PAGE, self._cursor, cause=self.key)
        except SourceError as error:
            self._problem = f"{error.message} {error.remedy}".strip()
            return
        finally:
            self._reading = False
        self._cursor = reply.next_cursor
        for task in reply.tasks:
            self.console.view.put_task(task)

    @work(group="sample", exclusive=True)
    async def load_sample(self, key: str) -> None:
        """With its output, which lists leave out."""
        try:
            reply = await self.console.source.get_task(key)
        except SourceError as error:
            self._problem = f"{error.message} {error.remedy}".strip()
            return
        if reply.task.id == self._sample.id:
            self._sample = reply.task

    def sync_content(self) -> None:
        row = self.console.view.letters.causes.get(self.key)
        if row is not None:
            self._row = row
            self._keep_sample(row.sample)
        elif self._row.count:
            gone = cluster_pb2.DeadLetterCause()
            gone.CopyFrom(self._row)
            gone.count = 0
            self._row = gone
        super().sync_content()
        table = self.main_table()
        if self._cursor and not self._reading and table.cursor + AHEAD >= len(table.listing):
            self.load_page()

    def _keep_sample(self, newest: types_pb2.Task) -> None:
        """The sample stays while it is looked at; a newer letter does not take its place. Its notes are kept up."""
        known = self.console.view.tasks.get(self._sample.id)
        if not self._sample.id:
            self._sample = newest
            self.load_sample(newest.id)
        elif known is not None and known.modified_index > self._sample.modified_index:
            self._sample = known
            self.load_sample(known.id)

    def sync_headline(self) -> list[Cell]:
        if self._problem:
            return [((f" {self._problem}", "warn"),)]
        return cause_headline(self._row, self.drawing(), about=self._about())

    def _about(self) -> str:
        if not self.at_members:
            return "the whole cause" if self._row.count != 1 else "the letter"
        marked = len(self.main_table().marks)
        return f"the {marked} marked" if marked else "the letter under the cursor"

    def facts(self, width: int) -> list[Cell]:
        return cause_facts(self._row, self._sample, self.drawing(), width)

    def headline(self) -> Cell:
        shown = super().headline()
        rest = self._row.count - len(self.main_table().listing)
        more = (("  more below", "dim"),) if self._cursor and rest > 0 and not self.main_table().filter_text else ()
        return (*shown, *more)

    def _chosen(self) -> list[str]:
        """Letters that an action concerns: the sample, or those of the list."""
        if self.at_members:
            return self.main_table().chosen()
        return [self._sample.id] if self._sample.id else []

    def _one(self) -> str:
        return self.main_table().cursor_key if self.at_members else self._sample.id

    def action_retry(self) -> None:
        if self.at_members:
            self.console.actions.retry(self._chosen())
        else:
            self.console.actions.retry_causes([self.key])

    def action_canary(self) -> None:
        self.console.actions.canary([self.key])

    def action_discard(self) -> None:
        if self.at_members:
            self.console.actions.discard(self._chosen())
        else:
            self.console.actions.discard_causes([self.key])

    def action_edit(self) -> None:
        self.console.actions.edit(self._one())

    def action_annotate(self) -> None:
        self.console.actions.annotate(self._chosen())

    def action_output_of(self) -> None:
        if key := self._one():
            self.console.open_task(key, pane="output")

    def action_events_of(self) -> None:
        if key := self._one():
            self.console.open_task(key, pane="events")

    @on(Pointed)
    def _pointed(self) -> None:
        self.sync()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        self.console.open_task(message.key)
