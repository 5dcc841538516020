"""The tasks of a drain: where each was to go, and where it went."""

from __future__ import annotations

from dataclasses import dataclass

from cortex.v1 import types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.draw import EMPTY, Cell, foreign, task_state
from tui.filter import Field
from tui.view import ENDED, ClusterView

HERE, LEAVING, WAITS, LANDED, OVER, UNKNOWN = "here", "leaving", "waits", "landed", "ended", "unknown"
LEFT_PHASES = frozenset({HERE, LEAVING})
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


def drain_rows(operation: types_pb2.Operation, view: ClusterView) -> list[DrainRow]:
    """Of the plan, and of what is on the node beside it."""
    plan = operation.drain
    rows = [_row(operation, view, move.task, move.to or "waits", move.actual, move.reason) for move in plan.moves]
    for item in plan.stuck:
        fate = "dead letter" if item.dead_letter else "stuck"
        rows.append(_row(operation, view, item.task, fate, "", item.reason))
    if operation.state == types_pb2.OPERATION_STATE_RUNNING:
        known = {row.id for row in rows}
        for task in view.tasks.values():
            if task.node == operation.node and task.state not in ENDED and task.id not in known:
                row = _row(operation, view, task.id, "", "", "It came after the rehearsal.", planned=False)
                if row.phase in LEFT_PHASES:
                    rows.append(row)
    return rows


def _row(
    operation: types_pb2.Operation,
    view: ClusterView,
    task_id: str,
    forecast: str,
    actual: str,
    reason: str,
    *,
    planned: bool = True,
) -> DrainRow:
    task = view.tasks.get(task_id)
    name = task.name if task is not None and task.name else task_id
    begun = operation.state not in (
        types_pb2.OPERATION_STATE_SCHEDULED,
        types_pb2.OPERATION_STATE_UNDONE,
        types_pb2.OPERATION_STATE_REFUSED,
    )
    phase, where = _phase(task, operation.node) if task is not None else (UNKNOWN, "")
    if actual:
        phase, where = LANDED if phase in (UNKNOWN, WAITS, *LEFT_PHASES) else phase, actual
    if not begun:
        where = ""
    return DrainRow(task_id, name, forecast, where, phase, reason, planned, task)


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
        Column("reason", "REASON", 20, lambda row, draw, _w: foreign(row.reason, "dim", draw.glyphs),
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


def row_text(row: DrainRow) -> str:
    """What a filter looks at."""
    return "\n".join((row.name, row.id, row.forecast, row.actual, row.phase, row.reason))
