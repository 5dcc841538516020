"""What is known of one operation, as lines. Pure."""

from __future__ import annotations

from cortex.v1 import types_pb2
from tui.columns.base import Draw
from tui.columns.operations import KIND_WORDS, STATE_WORDS, STEPS, brief, progress
from tui.details.common import long_text, pair, title
from tui.drawing.draw import Cell, Span, age, bar, clock, command_of, count_of, foreign

Operation = types_pb2.Operation


def operation_headline(row: Operation, draw: Draw) -> list[Cell]:
    """Two lines: what it is, and how far."""
    word, glyph, role = STATE_WORDS.get(row.state, ("unknown", "?", "dim"))
    first = (
        (f" {draw.glyphs.of(glyph)} {word}", role), ("  ", "text"), *foreign(brief(row), "strong", draw.glyphs),
        ("  ", "text"), *foreign(row.id, "dim", draw.glyphs),
    )  # fmt: skip
    return [first, ((" ", "text"), *progress(row, draw))]


def operation_facts(row: Operation, draw: Draw, width: int) -> list[Cell]:
    """Who asked, how it went, and what its plan is."""
    lines: list[Cell] = []
    if row.outcome:
        lines += long_text("outcome", row.outcome, "text", draw, width, most=3)
    if row.reason:
        lines += long_text("reason", row.reason, "text", draw, width, most=3)
    lines += long_text("by", row.actor or "cluster", "text", draw, width, most=1)
    lines += _counts(row, draw, width)
    lines += _plan(row, draw, width)
    lines += title("TIMES (UTC)")
    stamps = (
        ("asked", row.created_at_us),
        ("begins" if row.not_before_us > draw.now_us else "undoable to", row.not_before_us),
        ("begun", row.begun_at_us),
        ("ended", row.ended_at_us),
        ("deadline", row.deadline_us),
    )
    for label, at_us in stamps:
        if at_us:
            ahead = at_us > draw.now_us
            relative = f"in {age(at_us - draw.now_us)}" if ahead else f"{age(draw.now_us - at_us)} ago"
            lines.append(pair(label, (clock(at_us), "text"), (f"   {relative}", "dim")))
    return lines


def _counts(row: Operation, draw: Draw, width: int) -> list[Cell]:
    counts = row.counts
    if not counts.total:
        return []
    lines = title("PROGRESS")
    cells = max(10, min(40, width - 30))
    parts = (
        ("done", counts.issued, "busy"),
        ("ended well", counts.succeeded, "ok"),
        ("failed", counts.failed, "bad"),
        ("same way", counts.failed_same, "bad"),
        ("passed over", counts.passed_over, "warn"),
    )
    for name, number, role in parts:
        if number or name == "done":
            share = bar(number, counts.total, cells, role, draw.glyphs)
            lines.append(pair(name, *share, (f" {count_of(number)} of {count_of(counts.total)}", "text")))
    return lines


def _plan(row: Operation, draw: Draw, width: int) -> list[Cell]:
    lines = title("WHAT WAS ASKED FOR")
    lines.append(pair("kind", (KIND_WORDS.get(row.kind, "operation"), "text")))
    bulk = row.bulk
    if bulk.fingerprint:
        lines += long_text("cause", bulk.fingerprint, "text", draw, width, most=1)
    if bulk.canary:
        step: list[Span] = [(f"{bulk.step} of {STEPS}" if bulk.step else "not begun", "text")]
        if bulk.step:
            step.append((f"   ends at {count_of(bulk.step_end)} task{'' if bulk.step_end == 1 else 's'}", "dim"))
        lines.append(pair("step", *step))
    if row.kind == types_pb2.OPERATION_KIND_PRIORITY:
        lines.append(pair("priority", (str(bulk.priority), "text")))
    if bulk.HasField("edited_spec"):
        lines += long_text("edited to", command_of(bulk.edited_spec), "text", draw, width, most=3)
    if row.WhichOneof("plan") == "run":
        lines += long_text("command", command_of(row.run.spec), "strong", draw, width, most=3)
        lines += long_text("nodes", " ".join(row.run.nodes), "text", draw, width, most=3)
    if row.node:
        lines += long_text("node", row.node, "text", draw, width, most=1)
    return lines
