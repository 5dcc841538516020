"""Why a task is on its node: the headline over the verdicts, and one of them beside the one that won. Pure."""

from __future__ import annotations

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Draw
from tui.columns.verdicts import VerdictRow, signed, winner
from tui.details.common import LABEL, pair, sentence
from tui.drawing.draw import Cell, Span, cell_width, clock, count_of, foreign, task_state
from tui.store.score import (
    TERMS,
    judged_by,
    most_points,
    penalty_of,
    placed,
    points_of,
    terms_in,
    weights_of,
)


def headline(why: cluster_pb2.WhyReply, draw: Draw) -> list[Cell]:
    """Two lines: the task, and what was judged when."""
    glyphs, task = draw.glyphs, why.task
    first: list[Span] = [(" ", "text"), *task_state(task, glyphs), ("  ", "text")]
    first += [*foreign(task.name or "task", "strong", glyphs), ("  ", "text"), *foreign(task.id, "dim", glyphs)]
    won = winner(why)
    second: list[Span] = [(" ", "text")]
    if why.past:
        when = f"Placed {clock(task.assigned_at_us)}" if placed(why) else "Judged as of then"
        second.append((f"{when}, index {count_of(why.index)}: ", "dim"))
    else:
        second.append(("Judged now: ", "dim"))
    if won is None:
        second.append(("no node takes it.", "warn"))
    else:
        second += [*foreign(won.node, "strong", glyphs), (f" with {won.score:.1f} points", "text")]
        able = sum(verdict.eligible for verdict in why.nodes)
        second.append((f", of {able} that {'takes' if able == 1 else 'take'} it", "dim"))
    return [tuple(first), tuple(second)]


def panel(why: cluster_pb2.WhyReply, row: VerdictRow, draw: Draw, width: int, weights: str | None) -> list[Cell]:
    """The node under the cursor in full: why not, what would change that, and its points beside the winner's.

    `weights`: of the moment, where it was judged as of one; else they are known.
    """
    verdict, won = row.verdict, winner(why)
    lines: list[Cell] = [()]
    if verdict.reason:
        lines += sentence("why not", verdict.reason, "bad", draw, width, most=2)
    if verdict.flip:
        lines += sentence("unless", verdict.flip, "accent", draw, width, most=2)
    if row.scored:
        best = won.terms if won is not None and won.HasField("terms") and won.node != verdict.node else None
        parts = _points(verdict.terms, best, judged_by(why, _live(draw), weights))
        half = len(parts) // 2 if sum(map(cell_width, parts)) + LABEL + 1 > width else len(parts)
        for label, some in (("points", parts[:half]), ("", parts[half:])):
            if some:
                lines.append(pair(label, *(span for part in some for span in part)))
    if why.note:
        lines += sentence("note", why.note, "dim", draw, width, most=2)
    return lines


def _live(draw: Draw) -> str | None:
    return weights_of(row.view for row in draw.view.nodes.values() if row.view is not None)


def _points(terms: types_pb2.ScoreTerms, best: types_pb2.ScoreTerms | None, weights: str | None) -> list[Cell]:
    """Every term of the most that it can have; with how far it is from the winner's."""
    parts: list[Cell] = []
    for (name, title, usual), (role, _, _) in zip(terms_in(terms), TERMS, strict=False):
        value = float(getattr(terms, name))
        most = "" if weights is None else f"/{points_of(most_points(name, usual, weights))}"
        behind = "" if best is None else f" ({signed(value - float(getattr(best, name)))})"
        parts.append(((f"{title.lower()} ", "dim"), (f"{value:.1f}", f"term-{role}"), (f"{most}{behind}  ", "dim")))
    taken = penalty_of(terms)
    behind = "" if best is None else f" ({taken - penalty_of(best):+.0f})"
    return [*parts, ((f"taken off {taken:.0f}", "warn" if taken < 0 else "dim"), (behind, "dim"))]
