"""Why a task is where it is, or waits, as sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cortex.v1 import cluster_pb2
from tui.columns.verdicts import rank, verdict_rows, winner
from tui.drawing.format import rfc3339
from tui.store.score import judged_by, placed, points_text

MOST_NODES = 20


def why_lines(why: cluster_pb2.WhyReply) -> Iterator[str]:
    """The best node first; of more than MOST_NODES the rest is counted."""
    won = winner(why)
    if placed(why):
        at = rfc3339(why.task.assigned_at_us)
        yield f"Placed on {why.task.placement.node} at {at}, when it looked like this."
    elif won is None:
        yield "No node takes it."
    else:
        yield f"{won.node} would take it."
    rows = sorted(verdict_rows(why), key=rank)
    weights = judged_by(why, None, None)
    for row in rows[:MOST_NODES]:
        verdict = row.verdict
        if verdict.eligible:
            terms = f": {points_text(verdict.terms, weights)}" if row.scored else ""
            yield f"{verdict.node}, {verdict.score:.1f} points{terms}."
        else:
            yield f"{verdict.node}, no: {verdict.reason}." + (f" Unless: {verdict.flip}." if verdict.flip else "")
    if len(rows) > MOST_NODES:
        yield f"And {len(rows) - MOST_NODES} more nodes."
    if why.note:
        yield why.note
