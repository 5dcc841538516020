"""The tasks of a drain: where each was to go, and where it went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cortex.v1 import types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.drawing.draw import EMPTY, Cell, foreign, task_state
from tui.lists.filter import Field
from tui.lists.rows import Rows
from tui.store.drains import beside_waits
from tui.store.view import ENDED, ClusterView

HERE, LEAVING, WAITS, LANDED, OVER, UNKNOWN = "here", "leaving", "waits", "landed", "ended", "unknown"
LEFT_PHASES = frozenset({HERE, LEAVING})
_NOT_BEGUN = frozenset(
    {types_pb2.OPERATION_STATE_SCHEDULED, types_pb2.OPERATION_STATE_UNDONE, types_pb2.OPERATION_STATE_REFUSED}
)
_ORDER = {phase: at for at, phase in enumerate((LEAVING, HERE, WAITS, LANDED, OVER, UNKNOWN))}
_ROLES = {HERE: "wait", LEAVING: "warn", WAITS: "wait", LANDED: "ok", OVER: "dim", UNKNOWN: "dim"}


@dataclass(frozen=True)
class DrainRow:
    """One task of a drain. Equal rows look the same."""

    id: str
    name: str
    forecast: str
    """Node id, or what else was foretold."""
    actual: str
    """Node id; empty while it is nowhere else."""
    phase: str
    reason: str
    planned: bool = True
    task: types_pb2.Task | None = None


def _row_text(row: DrainRow) -> str:
    return "\n".join((row.name, row.id, row.forecast, row.actual, row.phase, row.reason))


class DrainBoard:
    """The rows of one drain, kept up task by task."""

    def __init__(self) -> None:
        self.rows: Rows[DrainRow] = Rows(_row_text)
        self.phases: Counter[str] = Counter()
        self._operation = types_pb2.Operation()
        self._planned: dict[str, tuple[str, str, str]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def left(self) -> int:
        """Tasks that are on the node still."""
        return sum(self.phases[phase] for phase in LEFT_PHASES)

    def load(self, operation: types_pb2.Operation, view: ClusterView) -> None:
        """Take the whole operation, with the lists of its plan, and every task of it that is known."""
        self._operation = operation
        self._planned = {
            move.task: (move.to or WAITS, move.actual, move.reason) for move in operation.drain.moves
        } | {
            item.task: ("dead letter" if item.dead_letter else "stuck", "", item.reason)
            for item in operation.drain.stuck
        }
        for task_id in self._planned:
            self._put(task_id, view.tasks.get(task_id))
        self.follow(view.tasks.values())

    def follow(self, tasks: Iterable[types_pb2.Task]) -> None:
        """Take in tasks that may have changed; those that are neither planned nor on the node are passed over."""
        for task in tasks:
            if task.id in self._planned or task.id in self.rows or self._came_later(task):
                self._put(task.id, task)

    def _came_later(self, task: types_pb2.Task) -> bool:
        there = task.node == self._operation.node and task.state not in ENDED
        return there and self._operation.state == types_pb2.OPERATION_STATE_RUNNING

    def _put(self, task_id: str, task: types_pb2.Task | None) -> None:
        planned = task_id in self._planned
        forecast, actual, reason = self._planned.get(task_id, ("", "", "It came after the rehearsal."))
        phase, where = (UNKNOWN, "") if task is None else _phase(task, self._operation.node)
        if actual:
            phase, where = (phase if phase == OVER else LANDED), actual
        if self._operation.state in _NOT_BEGUN:
            where = ""
        name = task.name if task is not None and task.name else task_id
        row = DrainRow(task_id, name, forecast, where, phase, reason, planned, task)
        known = self.rows.get(task_id)
        if known == row:
            return
        if known is not None:
            self.phases[known.phase] -= 1
        self.phases[phase] += 1
        self.rows.put(task_id, row)


def _phase(task: types_pb2.Task, node: str) -> tuple[str, str]:
    """How far it is, and where it is if that is not `node`."""
    if task.state in ENDED:
        return OVER, "" if task.node == node else task.node
    if task.state in (types_pb2.TASK_STATE_ASSIGNED, types_pb2.TASK_STATE_RUNNING):
        if task.node != node:
            return LANDED, task.node
        return (LEAVING if task.migrate_requested else HERE), ""
    return WAITS, ""


def _draw_actual(row: DrainRow, draw: Draw, _width: int) -> Cell:
    if not row.actual:
        return ((draw.glyphs.none, "dim"),)
    foretold = row.actual == row.forecast
    return foreign(row.actual, "ok" if foretold else "warn", draw.glyphs)


def _draw_forecast(row: DrainRow, draw: Draw, _width: int) -> Cell:
    if not row.planned:
        return (("not planned", "warn"),)
    role = "bad" if row.forecast in ("stuck", "dead letter") else "text"
    return foreign(row.forecast, role, draw.glyphs)


def _draw_state(row: DrainRow, draw: Draw, _width: int) -> Cell:
    return EMPTY if row.task is None else task_state(row.task, draw.glyphs)


DRAIN: TableSpec[DrainRow] = TableSpec(
    columns=(
        Column("name", "TASK", 12, lambda row, draw, _w: foreign(row.name, "strong", draw.glyphs),
               lambda row: row.name, flex=2, most=32),
        Column("phase", "NOW", 8, lambda row, _d, _w: ((row.phase, _ROLES[row.phase]),),
               lambda row: (_ORDER[row.phase], row.id)),
        Column("forecast", "FORECAST", 11, _draw_forecast, lambda row: row.forecast, flex=1, most=20),
        Column("actual", "WENT TO", 10, _draw_actual, lambda row: row.actual, flex=1, most=20),
        Column("state", "STATE", 12, _draw_state, None, rank=4),
        Column("reason", "REASON", 20, lambda row, draw, _w: foreign(beside_waits(row.reason), "dim", draw.glyphs),
               lambda row: row.reason, flex=3, rank=3),
        Column("id", "ID", 26, lambda row, draw, _w: foreign(row.id, "dim", draw.glyphs), lambda row: row.id,
               rank=9),
    ),
    sort="phase",
    fields=(
        Field("task", lambda row: row.id),
        Field("name", lambda row: row.name),
        Field("now", lambda row: row.phase),
        Field("forecast", lambda row: row.forecast),
        Field("actual", lambda row: row.actual),
        Field("reason", lambda row: row.reason),
    ),
    empty="The node held no task.",
)  # fmt: skip
