"""One workflow: its tasks as a DAG, kept up by the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from textual import on, work
from textual.widget import Widget

from tui.columns.base import Draw
from tui.columns.dag import dag_glyphs, dag_spec, layer_labels, left_edge
from tui.dag import walk
from tui.dag.graph import Graph
from tui.dag.layered import Layered, too_large
from tui.details.dag import dag_headline, dag_panel
from tui.details.dag_estimate import Finish, finish, slots_at_once
from tui.drawing.draw import Cell, foreign
from tui.keyboard.keymap import bindings
from tui.keyboard.wording import filled
from tui.messages import Opened, Pointed
from tui.screens.base import ConsoleScreen
from tui.source import SourceError
from tui.store.dag_model import DagModel, DagRow, Mode, resume_key
from tui.store.workflow_members import Members
from tui.widgets.dag_canvas import DagCanvas, Picture, Spot
from tui.widgets.dag_table import DagTable
from tui.widgets.lines import Lines

ESTIMATE_EVERY_S = 1.0
"""For each thousand tasks or part of it, since it costs what there is of them."""
ASK_AGAIN_AFTER_S = 2.0


class DagScreen(ConsoleScreen):
    """`key` is the workflow's id, `task` the id of the task that the cursor begins at."""

    place = "dag"
    BINDINGS = bindings("dag")

    def __init__(self, key: str, task: str = "") -> None:
        super().__init__()
        self.key = key
        self._wanted = task
        self._wants_failed = False
        """Whether the next failure was asked for before the tasks were there."""
        self._problem = ""
        self._snapshot = -1
        """Of the stream, after which the tasks were asked for."""
        self._asked_s = 0.0
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
        yield DagCanvas(self.drawing, self.palette, id="layers")
        yield Lines(self.palette, id="panel", ellipsis=ellipsis)

    def on_mount(self) -> None:
        self._canvas.display = False
        self._table.focus()
        self._ask()

    def on_screen_resume(self) -> None:
        # While it was covered more may have changed than the console keeps.
        if self._members is not None and self._members.loaded:
            self._ask()

    def on_unmount(self) -> None:
        if self._members is not None:
            self._members.close()

    def _ask(self) -> None:
        self._snapshot, self._asked_s = self.console.view.snapshots, self.drawing().now_s
        self.load()

    @work(group="load", exclusive=True)
    async def load(self) -> None:
        """All its tasks; the stream keeps them up from then on."""
        try:
            reply = await self.console.source.get_workflow(self.key)
        except SourceError as error:
            self._problem = f"{error.message} {error.remedy}".strip()
            self._snapshot = -1
            self._wants_failed = False
            return
        self._problem = ""
        if self._members is not None:
            self._members.load(reply)

    @property
    def _table(self) -> DagTable[DagRow]:
        return self.query_one("#rows", DagTable)

    @property
    def _canvas(self) -> DagCanvas:
        return self.query_one("#layers", DagCanvas)

    @property
    def _layered(self) -> bool:
        return self.model.mode is Mode.LAYERED

    def main_table(self) -> DagTable[DagRow] | None:
        return None if self._layered else self._table

    @property
    def _key(self) -> str:
        """Key of the row under the cursor; empty when there is none."""
        return self._canvas.cursor_key if self._layered else self._table.cursor_key

    @property
    def _row(self) -> DagRow | None:
        return self.model.rows.get(self._key)

    def sync_content(self) -> None:
        # What changed between two streams may have passed unseen; and what failed is tried again.
        waited_s = self.drawing().now_s - self._asked_s
        if self._snapshot != self.console.view.snapshots and (self._snapshot >= 0 or waited_s >= ASK_AGAIN_AFTER_S):
            self._ask()
        model = self.model
        if model.sync():
            self._arranged(self._key, lambda: None)
        if self._wanted and model.keys:
            wanted = [model.keys[task.member] for task in model.members.tasks.values() if task.id == self._wanted]
            self._wanted = ""
            if wanted:
                self._go_to(wanted[0])
        if self._wants_failed and self._row is not None:
            self._wants_failed = False
            self.action_next_failed()
        self._estimate()
        if self._layered:
            self._canvas.sync()
        else:
            self._scroll_lanes()
            self._table.sync()
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
        return dag_headline(row, self.model, self._finish, draw, self.size.width)

    def _estimate(self) -> None:
        """Judge the critical path anew when something changed, but not too often."""
        version, at_s = self._estimated
        draw = self.drawing()
        every_s = ESTIMATE_EVERY_S * (1 + len(self.model.tasks) // 1000)
        if self._finish is None or version == self.model.version or draw.now_s - at_s < every_s:
            return
        before = self._finish.keys
        self._judge(draw)
        if self._finish.keys != before:
            self._arranged(self._key, lambda: None)

    def _judge(self, draw: Draw) -> None:
        self._finish = finish(self.model, draw.now_us, slots_at_once(self.model, draw.view))
        self._estimated = (self.model.version, draw.now_s)

    def _mark_critical(self) -> None:
        keys = self._finish.keys if self._finish is not None else ()
        self.model.critical = frozenset(self.model.shown_as(key) for key in keys)

    def _first_cell(self, width: int) -> int:
        self._lanes_width = width
        return self._left

    def _scroll_lanes(self) -> None:
        """Keep the lane of the cursor's row in sight."""
        table = self._table
        left = left_edge(self.model, table.cursor_key, self._left, self._lanes_width)
        if left != self._left:
            self._left = left
            table.redraw()

    def _as_list(self, plain: bool) -> None:
        """What is filtered or sorted is every task; the cursor stays on its task."""
        self._arranged(self._key, lambda: self.model.show(self.model.mode, flat=plain))

    def _arranged(self, key: str, change: Callable[[], bool | None]) -> bool:
        """Change what is folded or how it is drawn, with the cursor on the row that shows `key` then."""
        if change() is False:
            return False
        self._mark_critical()
        shown = self.model.shown_as(key)
        if self._layered and (large := too_large(self.model.view.graph)):
            self.console.say(large, "warn")
            self._show_mode(Mode.RAIL)
        elif self._layered:
            self._canvas.show(self._picture(), shown)
        else:
            table = self._table
            table.listing.update()
            table.point_at(shown)
            self._scroll_lanes()
            table.redraw()
        self._sync_lines()
        return True

    def _picture(self) -> Picture:
        glyphs, tally = self.console.glyphs, self.model.tally
        drawn = dag_glyphs(glyphs)
        layered = Layered(self.model.view.graph, layer_labels(self.model, glyphs))
        spots = {
            key: Spot(key, place.layer, place.x, place.y, place.width) for key, place in layered.places.items()
        }

        def line(y: int, left: int, width: int) -> Cell:
            return layered.cell(y, tally.state, drawn, left=left, width=width)

        return Picture(layered.width, layered.height, spots, line)

    def _show_mode(self, mode: Mode) -> None:
        key, table, canvas = self._key, self._table, self._canvas
        layered = mode is Mode.LAYERED
        canvas.display, table.display = layered, not layered
        self.set_focus(canvas if layered else table, scroll_visible=False)
        self._arranged(key, lambda: self.model.show(mode, flat=not layered and table.plain))
        self.sync_chrome()

    def _say(self, text: str, role: str) -> None:
        self.console.say(filled(text, self.drawing().word), role)

    def _point_at(self, key: str) -> bool:
        return self._canvas.point_at(key) if self._layered else self._table.point_at(key)

    def _go_to(self, key: str) -> None:
        """Put the cursor on a task, out of its fold if it is in one."""
        self._arranged(self._key, lambda: self.model.reveal(key))
        if not self._point_at(key):
            self._say("The filter hides it; {app.step_back} clears the filter.", "warn")

    def open_filter(self) -> None:
        if self._layered:
            self._show_mode(Mode.RAIL)
        super().open_filter()

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
        spots = self._canvas.picture.spots
        shown = sorted(spots, key=lambda name: spots[name].y) if self._layered else self.model.shown
        key = way(self.model.view.graph, shown, row.key)
        if key == row.key:
            self.console.say(end, "dim")
        elif not self._point_at(key):
            self._say("The filter hides it; {app.step_back} clears the filter.", "warn")

    def action_parent(self) -> None:
        self._along(walk.parent, "It depends on nothing.")

    def action_child(self) -> None:
        self._along(walk.child, "Nothing depends on it.")

    def _fold(self, change: Callable[[str], bool], otherwise: str) -> None:
        key = self._key
        if self.model.listed:
            said = "A list folds nothing: {app.step_back} clears the filter, {dag.mode} goes to the rail."
            self._say(said, "dim")
        elif key and not self._arranged(key, lambda: change(key)):
            self.console.say(otherwise, "dim")

    def action_open_fold(self) -> None:
        self._fold(self.model.open_fold, "Nothing is folded into this row.")

    def action_close_fold(self) -> None:
        self._fold(self.model.close_fold, "There is nothing around this row to fold it into.")

    def action_fold_all(self) -> None:
        self._fold(lambda _key: self.model.fold_all(), "There is nothing to fold in this workflow.")

    def action_mode(self) -> None:
        """Rail, layered, list; what is too large for layers goes past them."""
        modes = list(Mode)
        mode = modes[(modes.index(self.model.mode) + 1) % len(modes)]
        if mode is Mode.LAYERED and (large := too_large(self.model.view.graph)):
            self.console.say(large, "warn")
            mode = Mode.LIST
        self._show_mode(mode)

    def action_next_failed(self) -> None:
        row = self._row
        key = walk.next_failed(self.model.folds, self.model.tally.state, row.key) if row is not None else ""
        if key:
            self._go_to(key)
        elif self.model.members.loaded:
            self.console.say("Nothing has failed.", "dim")
        else:
            self._wants_failed = True
            self.console.say("Its tasks are still being read.", "dim")

    def action_critical(self) -> None:
        """Show or hide the critical path."""
        if self._finish is None:
            self._judge(self.drawing())
        else:
            self._finish = None
        self._arranged(self._key, lambda: None)

    def action_rerun(self) -> None:
        row = self._row
        if row is None:
            return
        if not self._layered and len(self._table.marks) > 1:
            self._say("It runs again from one task on: {table.unmark} unmarks all, then {dag.rerun}.", "warn")
        elif key := resume_key(self.model, row.key):
            self.console.actions.resume_workflows([self.key], key)
        else:
            self._say("It runs again from one task on: {dag.open_fold} opens this row.", "warn")

    def action_cancel(self) -> None:
        model = self.model
        shown = [self._key] if self._layered and self._key else self._table.chosen()
        chosen = [model.task(task) for key in shown for task in model.view.tasks(key)]
        for task in chosen:
            # Those that ended long ago are known here alone.
            self.console.view.put_task(task)
        self.console.actions.cancel([task.id for task in chosen])

    def action_output_of(self) -> None:
        self._open("output")

    def action_events_of(self) -> None:
        self._open("events")

    def action_why(self) -> None:
        if (row := self._row) is not None and row.task is not None:
            self.console.open_why(row.task.id)

    def _open(self, pane: str) -> None:
        row = self._row
        if row is not None and row.task is not None:
            self.console.open_task(row.task.id, pane=pane)
        elif row is not None:
            self.console.say("+ opens this row; a task of it has events and output.", "dim")
