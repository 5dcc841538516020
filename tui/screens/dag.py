"""One workflow: its tasks as a DAG, kept up by the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from textual import on, work
from textual.widget import Widget

from tui.columns.base import Draw
from tui.columns.dag import dag_spec, left_edge
from tui.dag import walk
from tui.dag.graph import Graph
from tui.dag.layered import too_large
from tui.dag_estimate import Finish, finish
from tui.dag_model import DagModel, DagRow, Mode, resume_key
from tui.details.dag import dag_headline, dag_panel
from tui.draw import Cell, foreign
from tui.keymap import bindings
from tui.messages import Opened, Pointed
from tui.screens.base import ConsoleScreen
from tui.source import SourceError
from tui.widgets.dag_table import DagTable
from tui.widgets.lines import Lines
from tui.workflow_members import Members

ESTIMATE_EVERY_S = 1.0


class DagScreen(ConsoleScreen):
    """`key` is the workflow's id, `task` the id of the task that the cursor begins at."""

    place = "dag"
    BINDINGS = bindings("dag")

    def __init__(self, key: str, task: str = "") -> None:
        super().__init__()
        self.key = key
        self._wanted = task
        self._problem = ""
        self._snapshot = -1
        self._left = self._lanes_width = 0
        """Which cells of the rail are shown."""
        self._members: Members | None = None
        self._finish: Finish | None = None
        self._estimated = (0, 0.0)
        """Version of the model and time of the estimate that is shown."""

    def content(self) -> Iterable[Widget]:
        self._members = Members(self.key, self.console.view)
        self.model = DagModel(self._members)
        ellipsis = self.console.glyphs.ellipsis
        yield Lines(self.palette, id="headline", ellipsis=ellipsis)
        spec = dag_spec(self.model, self._first_cell)
        yield DagTable(spec, self.model.rows, self.drawing, self.palette, self._as_list, id="rows")
        yield Lines(self.palette, id="panel", ellipsis=ellipsis)

    def on_mount(self) -> None:
        self.main_table().focus()
        self._snapshot = self.console.view.snapshots
        self.load()

    def on_unmount(self) -> None:
        if self._members is not None:
            self._members.close()

    @work(group="load", exclusive=True)
    async def load(self) -> None:
        """All its tasks; the stream keeps them up from then on."""
        try:
            reply = await self.console.source.get_workflow(self.key)
        except SourceError as error:
            self._problem = f"{error.message} {error.remedy}".strip()
            return
        self._problem = ""
        if self._members is not None:
            self._members.load(reply)

    def main_table(self) -> DagTable[DagRow]:
        return self.query_one("#rows", DagTable)

    @property
    def _row(self) -> DagRow | None:
        return self.main_table().cursor_row

    def sync_content(self) -> None:
        if self._snapshot != self.console.view.snapshots:
            # What changed between two streams may have passed unseen.
            self._snapshot = self.console.view.snapshots
            self.load()
        model, table = self.model, self.main_table()
        model.sync()
        if self._wanted and len(model.keys):
            wanted = [model.keys[task.member] for task in model.members.tasks.values() if task.id == self._wanted]
            self._wanted = ""
            if wanted:
                model.reveal(wanted[0])
                table.listing.update()
                table.point_at(wanted[0])
        self._estimate()
        self._scroll_lanes()
        table.sync()
        self._sync_lines()

    def _sync_lines(self) -> None:
        draw = self.drawing()
        self.query_one("#headline", Lines).show(self._headline(draw))
        panel, row = self.query_one("#panel", Lines), self._row
        height = max(1, panel.size.height)
        panel.show(dag_panel(self.model, row, draw, self.size.width, height) if row is not None else ())

    def _headline(self, draw: Draw) -> Sequence[Cell]:
        row = self.console.view.workflows.get(self.key)
        if row is None or not self.model.members.loaded:
            said = self._problem or "Asking for the tasks of the workflow."
            return (foreign(f" {said}", "warn" if self._problem else "dim", draw.glyphs),)
        return dag_headline(row, self.model, self._finish, draw)

    def _estimate(self) -> None:
        """Judge the critical path anew when something changed, once a second at most."""
        version, at_s = self._estimated
        draw = self.drawing()
        if self._finish is None or version == self.model.version or draw.now_s - at_s < ESTIMATE_EVERY_S:
            return
        self._judge(draw)

    def _judge(self, draw: Draw) -> None:
        self._finish = finish(self.model, draw.now_us)
        self._estimated = (self.model.version, draw.now_s)
        self._mark_critical()

    def _mark_critical(self) -> None:
        keys = self._finish.keys if self._finish is not None else ()
        self.model.critical = frozenset(self.model.shown_as(key) for key in keys)

    def _first_cell(self, width: int) -> int:
        self._lanes_width = width
        return self._left

    def _scroll_lanes(self) -> None:
        """Keep the lane of the cursor's row in sight."""
        table = self.main_table()
        left = left_edge(self.model, table.cursor_key, self._left, self._lanes_width)
        if left != self._left:
            self._left = left
            table.redraw()

    def _as_list(self, plain: bool) -> None:
        """What is filtered or sorted is every task; the cursor stays on its task."""
        table = self.main_table()
        self._arranged(table.cursor_key, lambda: self.model.show(self.model.mode, flat=plain))

    def _arranged(self, key: str, change: Callable[[], bool | None]) -> bool:
        """Change what is folded or how it is drawn, with the cursor on the row that shows `key` then."""
        table = self.main_table()
        if change() is False:
            return False
        self._mark_critical()
        table.listing.update()
        if shown := self.model.shown_as(key):
            table.point_at(shown)
        self._scroll_lanes()
        table.redraw()
        self._sync_lines()
        return True

    def _go_to(self, key: str) -> None:
        """Put the cursor on a task, out of its fold if it is in one."""
        self._arranged(key, lambda: self.model.reveal(key))
        if not self.main_table().point_at(key):
            self.console.say("The filter hides it; esc clears the filter.", "warn")

    @on(Pointed)
    def _pointed(self) -> None:
        self._scroll_lanes()
        self._sync_lines()
        self.sync_chrome()

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        row = self.model.rows.get(message.key)
        if row is not None and row.task is not None:
            self.console.open_task(row.task.id)
        elif row is not None:
            self.action_open_fold()

    # Keys.

    def _along(self, way: Callable[[Graph, Sequence[str], str], str], end: str) -> None:
        row = self._row
        if row is None:
            return
        key = way(self.model.view.graph, self.model.shown, row.key)
        if key == row.key:
            self.console.say(end, "dim")
        else:
            self._go_to(key)

    def action_parent(self) -> None:
        self._along(walk.parent, "It depends on nothing.")

    def action_child(self) -> None:
        self._along(walk.child, "Nothing depends on it.")

    def action_open_fold(self) -> None:
        row = self._row
        if row is not None and not self._arranged(row.key, lambda: self.model.open_fold(row.key)):
            self.console.say("Nothing is folded into this row.", "dim")

    def action_close_fold(self) -> None:
        row = self._row
        if row is not None and not self._arranged(row.key, lambda: self.model.close_fold(row.key)):
            self.console.say("There is nothing around this row to fold it into.", "dim")

    def action_fold_all(self) -> None:
        row = self._row
        if row is not None and not self._arranged(row.key, self.model.fold_all):
            self.console.say("There is nothing to fold in this workflow.", "dim")

    def action_mode(self) -> None:
        """Rail, layered, list; what is too large for layers goes past them."""
        row, model = self._row, self.model
        modes = list(Mode)
        mode = modes[(modes.index(model.mode) + 1) % len(modes)]
        if mode is Mode.LAYERED:
            self.console.say(too_large(model.view.graph) or "Layers.", "dim")
            mode = Mode.LIST
        if row is not None:
            self._arranged(row.key, lambda: model.show(mode, flat=self.main_table().plain))

    def action_next_failed(self) -> None:
        row = self._row
        key = walk.next_failed(self.model.folds, self.model.tally.state, row.key) if row is not None else ""
        if key:
            self._go_to(key)
        else:
            self.console.say("Nothing has failed.", "dim")

    def action_critical(self) -> None:
        """Show or hide the critical path."""
        if self._finish is None:
            self._judge(self.drawing())
        else:
            self._finish = None
            self._mark_critical()
        self.main_table().redraw()
        self._sync_lines()

    def action_rerun(self) -> None:
        row, table = self._row, self.main_table()
        if row is None:
            return
        if len(table.marks) > 1:
            self.console.say("It runs again from one task on: U unmarks all, then r.", "warn")
        elif key := resume_key(self.model, row.key):
            self.console.actions.resume_workflows([self.key], key)
        else:
            self.console.say("It runs again from one task on: + opens this row.", "warn")

    def action_cancel(self) -> None:
        model = self.model
        shown = self.main_table().chosen()
        ids = [model.task(task).id for key in shown for task in model.view.tasks(key)]
        self.console.actions.cancel(ids)

    def action_output_of(self) -> None:
        self._open("output")

    def action_events_of(self) -> None:
        self._open("events")

    def _open(self, pane: str) -> None:
        row = self._row
        if row is not None and row.task is not None:
            self.console.open_task(row.task.id, pane=pane)
        elif row is not None:
            self.console.say("+ opens this row; a task of it has events and output.", "dim")
