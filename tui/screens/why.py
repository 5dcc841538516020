"""Why a task is placed where it is, or waits: every node with its verdict, and the one under the cursor in full."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from textual import on, work
from textual.widget import Widget

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.verdicts import VerdictRow, row_text, verdict_rows, verdicts
from tui.details.why import headline, panel
from tui.drawing.draw import foreign
from tui.keyboard.keymap import bindings
from tui.lists.rows import Rows
from tui.messages import Opened, Pointed
from tui.screens.base import ConsoleScreen
from tui.source import Moment, SourceError
from tui.store.score import placed, weights_in
from tui.widgets.lines import Lines
from tui.widgets.table import Table

AGAIN_S = 2.0
_WAITING = frozenset({types_pb2.TASK_STATE_PENDING, types_pb2.TASK_STATE_QUEUED})


class WhyScreen(ConsoleScreen):
    """Of a task that waits it is asked again every two seconds; a placement is judged once."""

    place = "why"
    BINDINGS = bindings("why")

    def __init__(self, task: str, at: Moment | None = None) -> None:
        super().__init__()
        self.key = task
        self._at = at
        self._why = cluster_pb2.WhyReply()
        self._weights: str | None = None
        self._asked: tuple[float, int, bool] | None = None
        self._problem = ""
        self._rows: Rows[VerdictRow] = Rows(row_text)
        self._shown: dict[str, VerdictRow] = {}

    def content(self) -> Iterable[Widget]:
        ellipsis = self.console.glyphs.ellipsis
        yield Lines(self.palette, id="headline", ellipsis=ellipsis)
        yield self.table(verdicts(lambda: self._why), self._rows, id="rows")
        yield Lines(self.palette, id="panel", ellipsis=ellipsis)

    def on_mount(self) -> None:
        self.query_one("#rows").focus()

    def main_table(self) -> Table[Any]:
        return self.query_one("#rows", Table)

    def sync_content(self) -> None:
        self._ask_again()
        lines = self.query_one("#headline", Lines)
        if self._why.HasField("task"):
            lines.show(headline(self._why, self.drawing()))
        else:
            text, role = (self._problem, "warn") if self._problem else ("Asking the leader.", "dim")
            lines.show((foreign(f" {text}", role, self.console.glyphs),))
        self.main_table().sync()
        self._sync_panel()

    def _ask_again(self) -> None:
        """When it was placed anew, or waits and the last answer is old."""
        task = self.console.view.tasks.get(self.key)
        waits = task is not None and task.state in _WAITING and self._at is None
        fence = task.fence if task is not None else 0
        now_s = self.drawing().now_s
        if self._asked is not None:
            asked_s, *then = self._asked
            old = waits and now_s - asked_s >= AGAIN_S
            if self._at is not None or (then == [fence, waits] and not old):
                return
        self._asked = (now_s, fence, waits)
        self.load()

    @work(group="why", exclusive=True)
    async def load(self) -> None:
        source = self.console.source
        try:
            why = await source.why(self.key, at=self._at)
        except SourceError as error:
            self._problem = f"{error.message} {error.remedy}".strip()
            if self._why.HasField("task"):
                self.console.say(self._problem, "warn")
            return
        self._why, self._weights = why, None
        now = {row.verdict.node: row for row in verdict_rows(self._why)}
        for key in [key for key in self._shown if key not in now]:
            self._rows.remove(key)
        for key, row in now.items():
            if self._shown.get(key) != row:
                self._rows.put(key, row)
        self._shown = now
        self.sync()
        if why.past and not placed(why):
            # The answer stands without them.
            with suppress(SourceError):
                then = cluster_pb2.Moment(index=why.index)
                self._weights = weights_in(await source.get_settings(at=then))
                self.sync()

    def _sync_panel(self) -> None:
        row = self.main_table().cursor_row
        lines = [] if row is None else panel(self._why, row, self.drawing(), self.size.width, self._weights)
        widget = self.query_one("#panel", Lines)
        height = max(4, len(lines))
        if widget.styles.height is None or widget.styles.height.value != height:
            widget.styles.height = height
        widget.show(lines)

    @on(Pointed)
    def _pointed(self) -> None:
        self._sync_panel()
        self.sync_chrome()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        self.console.open_node(message.key)

    def action_task_of(self) -> None:
        self.console.open_task(self.key)
