"""Two lines on the row under the cursor of a view: what its columns have no room for. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.columns.causes import error_of, operation_line
from tui.columns.drain import DrainRow
from tui.columns.events import word
from tui.columns.operations import progress
from tui.columns.tasks import FAILED_STATES, UNDER_WAY, endpoints_text, why_text
from tui.columns.workflows import why_text as workflow_why
from tui.drawing.draw import EMPTY, Cell, Span, command_label, command_of, foreign
from tui.drawing.text import clean, width_of, wrap
from tui.store.waiting import wait_reason

LINES = 2
MAX_CHARACTERS = 1000
"""Of a text, before it is broken into lines."""


def task_under(task: types_pb2.Task, draw: Draw) -> list[Cell]:
    """Its command, and why it waits or failed."""
    why = wait_reason(task, draw.view.waiting, draw.now_us) or why_text(task)
    if why and task.state in UNDER_WAY and why != endpoints_text(task):
        why = f"Before this attempt: {why}"
    second = (
        _text(why, "bad" if task.state in FAILED_STATES else "text", draw)
        if why
        else _facts(draw, ("", task.id), ("by", task.actor), ("of workflow", task.workflow_id))
    )
    command = command_of(task.spec)[:MAX_CHARACTERS]
    label = command_label(task.spec)
    lead = "$" if label == "command" else label
    return [((f" {lead} ", "dim"), *foreign(command, "text", draw.glyphs)), second]


def group_under(draw: Draw) -> list[Cell]:
    """What may be done with all of them."""
    word = draw.word
    what = f"{word('queue', 'cancel')} cancels, {word('queue', 'retry')} retries, {word('queue', 'priority')} moves"
    return [((f" {word('table', 'open')} opens the group; {what} all of its tasks.", "dim"),)]


def cause_under(row: cluster_pb2.DeadLetterCause, draw: Draw) -> list[Cell]:
    """What its letters said, and how the last operation on it went."""
    went = operation_line(row.fingerprint, draw)
    nodes = " ".join(sorted(row.nodes))
    second = (
        ((" ", "text"), *went) if went else _facts(draw, ("cause", row.fingerprint), ("on", nodes[:MAX_CHARACTERS]))
    )
    return [((" ", "text"), *error_of(row, draw)), second]


def event_under(event: types_pb2.Event, draw: Draw, width: int) -> list[Cell]:
    """All of its detail, and who asked for it."""
    named = clean(event.detail[:MAX_CHARACTERS], ascii_only=draw.glyphs.ascii_only) or word(event)
    about = event.task or event.workflow or event.node
    facts = _facts(
        draw,
        ("", about),
        ("by", event.actor or "the cluster"),
        ("operation", event.operation),
        ("index", f"{event.index:,}"),
    )
    return [*_broken(named, "text", width), facts][:LINES]


def workflow_under(row: types_pb2.Workflow, draw: Draw, width: int) -> list[Cell]:
    """Why it ended, and whose it is."""
    facts = _facts(draw, ("", row.id), ("by", row.actor))
    why = workflow_why(row)
    if not why:
        return [facts]
    role = "bad" if row.state == types_pb2.WORKFLOW_STATE_FAILED else "text"
    return [*_broken(clean(why[:MAX_CHARACTERS], ascii_only=draw.glyphs.ascii_only), role, width), facts][:LINES]


def operation_under(row: types_pb2.Operation, draw: Draw) -> list[Cell]:
    """How far it is or why it ended, who asked and why."""
    return [
        ((" ", "text"), *progress(row, draw)),
        _facts(draw, ("", row.id), ("by", row.actor or "the cluster"), ("because", row.reason)),
    ]


def drained_under(row: DrainRow, draw: Draw, width: int) -> list[Cell]:
    """Why it goes where the plan says."""
    return _broken(clean(row.reason, ascii_only=draw.glyphs.ascii_only), "text", width)


def _text(text: str, role: str, draw: Draw) -> Cell:
    return ((" ", "text"), *foreign(text[:MAX_CHARACTERS], role, draw.glyphs))


def _facts(draw: Draw, *facts: tuple[str, str]) -> Cell:
    """Labels with their values; those without a value are left out."""
    spans: list[Span] = []
    for label, value in facts:
        if value:
            gap = "  " if spans else " "
            spans += [
                (f"{gap}{label} " if label else gap, "dim"),
                *foreign(value, "text" if label else "dim", draw.glyphs),
            ]
    return tuple(spans) if spans else EMPTY


def _broken(text: str, role: str, width: int) -> list[Cell]:
    """Cleaned text in at most LINES lines, broken between words where these are narrow."""
    room = max(1, width - 2)
    lines: Sequence[str] = textwrap.wrap(text, room)
    if any(width_of(line) > room for line in lines):
        lines = wrap(text, room)
    kept = list(lines[:LINES])
    if len(lines) > LINES:
        # Longer than the line: it is drawn with an ellipsis.
        kept[-1] = f"{kept[-1]} {lines[LINES]}"
    return [((" ", "text"), (line, role)) for line in kept]
