"""The workflows."""

from __future__ import annotations

from cortex.v1 import types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.drawing.draw import EMPTY, Cell, Glyphs, age, cell_width, count_of, foreign, span_of_time, stacked
from tui.lists.filter import Field, since, timed
from tui.store.view import ENDED_WORKFLOWS

Workflow = types_pb2.Workflow

WORKFLOW_WORDS: dict[int, tuple[str, str, str]] = {
    # state: word, name of its glyph, role
    types_pb2.WORKFLOW_STATE_PENDING: ("pending", "pending", "wait"),
    types_pb2.WORKFLOW_STATE_RUNNING: ("running", "running", "busy"),
    types_pb2.WORKFLOW_STATE_COMPLETED: ("completed", "completed", "ok"),
    types_pb2.WORKFLOW_STATE_FAILED: ("failed", "failed", "bad"),
    types_pb2.WORKFLOW_STATE_CANCELLED: ("cancelled", "cancelled", "dim"),
}
_RANK = 10**18
"""More than any time in microseconds."""
MIN_BAR = 4
FIGURES = 11
"""Cells kept for the figures, so that bars end below each other."""


def workflow_word(row: Workflow) -> str:
    """`cancelling` and `stopping` while it is being ended, else its state."""
    if row.state not in ENDED_WORKFLOWS and (row.cancel_requested or row.stopping):
        return "cancelling" if row.cancel_requested else "stopping"
    return WORKFLOW_WORDS.get(row.state, ("unknown", "?", "dim"))[0]


def workflow_state(row: Workflow, glyphs: Glyphs) -> Cell:
    """Glyph and word."""
    word = workflow_word(row)
    if word in ("cancelling", "stopping"):
        return ((f"{glyphs.of('cancelled')} {word}", "warn"),)
    _, glyph, role = WORKFLOW_WORDS.get(row.state, ("unknown", "?", "dim"))
    return ((f"{glyphs.of(glyph)} {word}", role),)


def done_of(row: Workflow) -> int:
    """Tasks that have ended."""
    return max(0, row.count - row.remaining)


def time_us(row: Workflow, now_us: int) -> int | None:
    """From its begin to its end, or until now; None while it has not begun."""
    if not row.started_at_us:
        return None
    return max(0, (row.completed_at_us or now_us) - row.started_at_us)


def why_text(row: Workflow) -> str:
    return row.reason or row.cancel_reason


def progress(row: Workflow, width: int, glyphs: Glyphs) -> Cell:
    """`12/40 2✗ ━━━──` in `width` cells; the failures are counted in figures, so that they show without colour."""
    done = done_of(row)
    failed = f" {count_of(row.failures)}{glyphs.of('failed')}" if row.failures else ""
    figures: Cell = ((f"{count_of(done)}/{count_of(row.count)}", "text"), (failed, "bad"))
    room = width - max(FIGURES, cell_width(figures)) - 1
    if room < MIN_BAR:
        return figures
    role = "dim" if row.state == types_pb2.WORKFLOW_STATE_CANCELLED else "ok"
    parts = ((float(done - min(done, row.failures)), role), (float(row.failures), "bad"))
    return (*stacked(parts, float(row.count), room, glyphs), (" ", "text"), *figures)


def _urgency(row: Workflow) -> int:
    """What goes on first, the newest on top; then what ended last."""
    if row.state in ENDED_WORKFLOWS:
        return _RANK - row.completed_at_us
    return -row.created_at_us


def _quiet(row: Workflow) -> bool:
    return row.state in (types_pb2.WORKFLOW_STATE_COMPLETED, types_pb2.WORKFLOW_STATE_CANCELLED)


def _draw_name(row: Workflow, draw: Draw, _width: int) -> Cell:
    return foreign(row.name or "workflow", "dim" if _quiet(row) else "strong", draw.glyphs)


def _draw_progress(row: Workflow, draw: Draw, width: int) -> Cell:
    return progress(row, width, draw.glyphs)


def _draw_run(row: Workflow, _draw: Draw, _width: int) -> Cell:
    return ((str(row.run), "warn" if row.run > 1 else "dim"),)


def _draw_running(row: Workflow, draw: Draw, _width: int) -> Cell:
    running = draw.view.running_in.get(row.id, 0)
    return ((count_of(running), "busy" if running else "dim"),)


def _draw_age(row: Workflow, draw: Draw, _width: int) -> Cell:
    return ((age(draw.now_us - row.created_at_us), "dim"),) if row.created_at_us else EMPTY


def _draw_time(row: Workflow, draw: Draw, _width: int) -> Cell:
    taken = time_us(row, draw.now_us)
    if taken is None:
        return EMPTY
    counting = row.state not in ENDED_WORKFLOWS
    text = age(taken) if counting and taken < 100_000_000 else span_of_time(taken)
    return ((text, "busy" if counting else "dim"),)


def _draw_why(row: Workflow, draw: Draw, _width: int) -> Cell:
    text = why_text(row)
    role = "bad" if row.state == types_pb2.WORKFLOW_STATE_FAILED else "dim"
    return foreign(text, role, draw.glyphs) if text else EMPTY


def _draw_actor(row: Workflow, draw: Draw, _width: int) -> Cell:
    return foreign(row.actor, "dim", draw.glyphs) if row.actor else EMPTY


def _draw_id(row: Workflow, draw: Draw, _width: int) -> Cell:
    return foreign(row.id, "dim", draw.glyphs)


def _seconds(row: Workflow) -> float | None:
    return (row.completed_at_us - row.started_at_us) / 1e6 if row.completed_at_us and row.started_at_us else None


_STATES = frozenset({"cancelling", "stopping", *(word for word, _, _ in WORKFLOW_WORDS.values())})

WORKFLOWS: TableSpec[Workflow] = TableSpec(
    columns=(
        Column("state", "STATE", 12, lambda row, draw, _: workflow_state(row, draw.glyphs), _urgency),
        Column("name", "NAME", 9, _draw_name, lambda row: row.name.lower(), flex=2, most=32),
        Column("progress", "PROGRESS", 17, _draw_progress, lambda row: row.remaining, True, flex=2, most=40),
        Column("running", "BUSY", 4, _draw_running, align="right"),
        Column("run", "RUN", 3, _draw_run, lambda row: row.run, True, "right"),
        Column("age", "AGE", 4, _draw_age, lambda row: -row.created_at_us, False, "right"),
        Column("time", "TIME", 6, _draw_time, lambda row: row.started_at_us, True, "right"),
        Column("why", "REASON", 10, _draw_why, why_text, flex=3, rank=5),
        Column("actor", "ACTOR", 8, _draw_actor, lambda row: row.actor, flex=1, most=20, rank=7),
        Column("id", "ID", 12, _draw_id, lambda row: row.id, flex=1, most=28, rank=8),
    ),
    sort="state",
    fields=(
        Field("id", lambda row: row.id),
        Field("name", lambda row: row.name),
        Field("state", workflow_word, words=_STATES),
        Field("actor", lambda row: row.actor),
        Field("reason", why_text),
        Field("tasks", lambda row: float(row.count), numeric=True),
        Field("left", lambda row: float(row.remaining), numeric=True),
        Field("failures", lambda row: float(row.failures), numeric=True),
        Field("run", lambda row: float(row.run), numeric=True),
        since("age", lambda row: row.created_at_us),
        timed("time", time_us, _seconds),
    ),
    empty="No workflows yet. `cortex workflow submit FILE` submits one.",
)
