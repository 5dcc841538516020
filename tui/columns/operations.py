"""Operations: what they are about, how far they are, and their table."""

from __future__ import annotations

from collections.abc import Callable

from cortex.v1 import types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.drawing.draw import EMPTY, Cell, Span, age, bar, count_of, foreign
from tui.drawing.format import duration
from tui.lists.filter import Field, since
from tui.store.operations import LIVE, settled

Operation = types_pb2.Operation

STATE_WORDS: dict[int, tuple[str, str, str]] = {
    # state: word, name of its glyph, role
    types_pb2.OPERATION_STATE_SCHEDULED: ("scheduled", "queued", "wait"),
    types_pb2.OPERATION_STATE_RUNNING: ("running", "running", "busy"),
    types_pb2.OPERATION_STATE_DONE: ("done", "completed", "ok"),
    types_pb2.OPERATION_STATE_STOPPED: ("stopped", "failed", "bad"),
    types_pb2.OPERATION_STATE_UNDONE: ("undone", "skipped", "dim"),
    types_pb2.OPERATION_STATE_REFUSED: ("refused", "failed", "bad"),
}
KIND_WORDS: dict[int, str] = {
    types_pb2.OPERATION_KIND_DRAIN: "drain",
    types_pb2.OPERATION_KIND_RETRY: "retry",
    types_pb2.OPERATION_KIND_DISCARD: "discard",
    types_pb2.OPERATION_KIND_RUN: "run",
    types_pb2.OPERATION_KIND_PRIORITY: "priority",
}
STEPS = 3
SHORT_CAUSE = 8


def kind_word(row: Operation) -> str:
    if row.kind == types_pb2.OPERATION_KIND_RETRY and row.bulk.canary:
        return "canary"
    return KIND_WORDS.get(row.kind, "operation")


def state_word(row: Operation) -> str:
    return STATE_WORDS.get(row.state, ("unknown", "", ""))[0]


def about(row: Operation) -> str:
    """What it is done to: a node, a cause, or so many tasks."""
    if row.node:
        return row.node
    if row.bulk.fingerprint:
        return f"cause {row.bulk.fingerprint[:SHORT_CAUSE]}"
    total = row.counts.total or len(row.bulk.ids) or len(row.run.nodes)
    noun = "node" if row.WhichOneof("plan") == "run" else "task"
    return f"1 {noun}" if total == 1 else f"{count_of(total)} {noun}s"


def brief(row: Operation) -> str:
    """Kind and object in a few words."""
    if row.kind == types_pb2.OPERATION_KIND_PRIORITY:
        return f"priority {row.bulk.priority} of {about(row)}"
    return f"{kind_word(row)} of {about(row)}"


def begins_s(row: Operation, draw: Draw) -> int | None:
    """Whole seconds until it begins, by leader time; None when it is not waiting to."""
    if row.state != types_pb2.OPERATION_STATE_SCHEDULED:
        return None
    return max(0, -(-(row.not_before_us - draw.now_us) // 1_000_000))


def progress(row: Operation, draw: Draw, *, short: bool = False) -> Cell:
    """How far it is, or how it ended, in one line; `short` leaves out the sentence of why it was stopped."""
    counts = row.counts
    left_s = begins_s(row, draw)
    if left_s is not None:
        return ((f"{kind_word(row)} begins in {left_s}s" if left_s else f"{kind_word(row)} begins now", "wait"),)
    ended = counts.succeeded + counts.failed
    spans: list[Span] = []
    if row.state == types_pb2.OPERATION_STATE_RUNNING:
        step = f" {row.bulk.step}/{STEPS}" if row.bulk.canary and row.bulk.step else ""
        spans.append((f"{kind_word(row)}{step}: {count_of(counts.issued)} of {count_of(counts.total)}", "busy"))
    elif row.state == types_pb2.OPERATION_STATE_DONE:
        over = settled(row)
        role = "bad" if counts.failed else "ok" if over else "busy"
        spans.append((f"{kind_word(row)}: {count_of(counts.issued)} of {count_of(counts.total)}", role))
    else:
        word, _, role = STATE_WORDS.get(row.state, ("unknown", "?", "dim"))
        said = f"{kind_word(row)} {word}"
        if short:
            failed = f", {count_of(counts.failed)} failed" if counts.failed else ""
            return ((said + failed, role),)
        return ((said, role), *_why_ended(row, role, draw))
    if row.kind == types_pb2.OPERATION_KIND_DRAIN and row.state == types_pb2.OPERATION_STATE_DONE:
        return ((drained(row), spans[-1][1]),)
    if ended or row.kind in (types_pb2.OPERATION_KIND_RETRY, types_pb2.OPERATION_KIND_RUN):
        spans.append((f", {count_of(counts.succeeded)} ok", "ok" if counts.succeeded else "dim"))
    if counts.failed:
        spans.append((f", {count_of(counts.failed)} failed", "bad"))
    return tuple(spans)


def drained(row: Operation) -> str:
    """What a drain that is done did, beside what was foretold."""
    counts, plan = row.counts, row.drain
    moved = f"{count_of(counts.issued)} of {count_of(counts.total)} tasks moved, " if counts.total else ""
    foretold = f", foretold {duration(plan.eta_ms * 1000)}" if plan.eta_ms else ""
    return f"drained: {moved}empty after {duration(plan.took_ms * 1000)}{foretold}"


def _why_ended(row: Operation, role: str, draw: Draw) -> Cell:
    """Behind how it ended; who ended it is no sentence of its own."""
    outcome = foreign(row.outcome, role, draw.glyphs)
    if not row.outcome:
        return EMPTY
    return ((" ", role), *outcome) if row.outcome.startswith("by ") else ((": ", role), *outcome)


def _draw_state(row: Operation, draw: Draw, _width: int) -> Cell:
    word, glyph, role = STATE_WORDS.get(row.state, ("unknown", "?", "dim"))
    left_s = begins_s(row, draw)
    return ((f"{draw.glyphs.of(glyph)} {word if left_s is None else f'in {left_s}s'}", role),)


def _draw_bar(row: Operation, draw: Draw, width: int) -> Cell:
    counts = row.counts
    role = "bad" if counts.failed else "busy" if row.state in LIVE else "ok"
    return bar(counts.issued, counts.total, width, role, draw.glyphs) if counts.total else EMPTY


def _draw_outcome(row: Operation, draw: Draw, _width: int) -> Cell:
    done = row.state == types_pb2.OPERATION_STATE_DONE
    text = (
        row.outcome or row.reason or (drained(row) if done and row.kind == types_pb2.OPERATION_KIND_DRAIN else "")
    )
    if not text:
        return EMPTY
    bad = row.state in (types_pb2.OPERATION_STATE_STOPPED, types_pb2.OPERATION_STATE_REFUSED)
    return foreign(text, "bad" if bad else "dim", draw.glyphs)


def _number(name: str, title: str, role: str, get: Callable[[Operation], int]) -> Column[Operation]:
    def draw(row: Operation, _draw: Draw, _width: int) -> Cell:
        value = get(row)
        if not row.counts.total and row.state == types_pb2.OPERATION_STATE_SCHEDULED:
            return EMPTY  # it is counted when it begins
        return ((count_of(value), role if value else "dim"),)

    return Column(name, title, max(5, len(title)), draw, get, True, "right")


def _text(get: Callable[[Operation], str], role: str = "text") -> Callable[[Operation, Draw, int], Cell]:
    def draw(row: Operation, draw: Draw, _width: int) -> Cell:
        value = get(row)
        return foreign(value, role, draw.glyphs) if value else EMPTY

    return draw


def order(row: Operation) -> tuple[bool, int]:
    """Those that go on first, the newest first."""
    return (row.state not in LIVE, -row.created_index)


OPERATIONS: TableSpec[Operation] = TableSpec(
    columns=(
        Column("state", "STATE", 11, _draw_state, order),
        Column("kind", "KIND", 8, _text(kind_word, "strong"), kind_word),
        Column("about", "ABOUT", 14, _text(about), about, flex=1, most=24),
        Column("bar", "", 8, _draw_bar, rank=4, flex=1, most=20),
        _number("total", "TASKS", "text", lambda row: row.counts.total),
        _number("ok", "OK", "ok", lambda row: row.counts.succeeded),
        _number("bad", "FAILED", "bad", lambda row: row.counts.failed),
        Column("age", "AGE", 4, lambda row, draw, _w: ((age(draw.now_us - row.created_at_us), "dim"),),
               lambda row: -row.created_index, False, "right"),
        Column("actor", "BY", 8, _text(lambda row: row.actor, "dim"), lambda row: row.actor, rank=6, flex=1,
               most=18),
        Column("outcome", "OUTCOME", 16, _draw_outcome, lambda row: row.outcome or row.reason, rank=2, flex=4),
        Column("id", "ID", 12, _text(lambda row: row.id, "dim"), lambda row: row.id, rank=8, flex=1, most=28),
    ),
    sort="state",
    fields=(
        Field("id", lambda row: row.id),
        Field("kind", kind_word, words={"canary", *KIND_WORDS.values()}),
        Field("state", state_word, words={word for word, _, _ in STATE_WORDS.values()}),
        Field("about", about),
        Field("node", lambda row: row.node),
        Field("cause", lambda row: row.bulk.fingerprint),
        Field("actor", lambda row: row.actor),
        Field("tasks", lambda row: float(row.counts.total), numeric=True),
        Field("failed", lambda row: float(row.counts.failed), numeric=True),
        since("age", lambda row: row.created_at_us),
    ),
    empty="No operations yet: retries, discards, priorities and drains are listed here.",
)  # fmt: skip
