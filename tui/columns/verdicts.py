"""Why a task is on its node and on no other: a verdict for each node, with the points that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.columns.nodes import UNKNOWN
from tui.drawing.draw import EMPTY, Cell, foreign
from tui.lists.filter import Field
from tui.store.score import OTHER_TERMS, TERMS, penalty_of, placed, terms_in

PLACED, BEST, ELIGIBLE, NOT = "placed", "best", "eligible", "no"
_LOOKS = {
    PLACED: ("completed", "ok"),
    BEST: ("completed", "ok"),
    ELIGIBLE: ("active", "text"),
    NOT: ("failed", "bad"),
}
_ORDER = {word: at for at, word in enumerate((PLACED, BEST, ELIGIBLE, NOT))}


@dataclass(frozen=True)
class VerdictRow:
    """A node's verdict on one task."""

    verdict: cluster_pb2.NodeVerdict
    word: str
    behind: float | None = None
    """Points that it lacks to the one that won; None where there is none to compare with."""

    @property
    def scored(self) -> bool:
        return self.verdict.HasField("terms")


def verdict_rows(why: cluster_pb2.WhyReply) -> list[VerdictRow]:
    """Of a placement, the node that it went to won; of now, the eligible one with most points would."""
    won = winner(why)
    rows = []
    for verdict in why.nodes:
        word = ELIGIBLE if verdict.eligible else NOT
        if won is not None and verdict.node == won.node:
            word = PLACED if placed(why) else BEST
        scored = verdict.HasField("terms") and won is not None and won.HasField("terms")
        behind = won.score - verdict.score if scored and won is not None else None
        rows.append(VerdictRow(verdict, word, behind))
    return rows


def winner(why: cluster_pb2.WhyReply) -> cluster_pb2.NodeVerdict | None:
    """Whom the task went to, or would go to; None when nobody takes it."""
    if placed(why):
        return next((verdict for verdict in why.nodes if verdict.node == why.task.placement.node), None)
    able = [verdict for verdict in why.nodes if verdict.eligible]
    return min(able, key=lambda verdict: (-verdict.score, verdict.node)) if able else None


def rank(row: VerdictRow) -> tuple[int, float, str]:
    """The winner first, then by points, then what takes it not."""
    return (_ORDER[row.word], -row.verdict.score, row.verdict.node)


def signed(points: float) -> str:
    """With one decimal place; what rounds to nothing is `0.0`, not below it."""
    return f"{points:+.1f}" if abs(points) >= 0.05 else "0.0"


def _draw_word(row: VerdictRow, draw: Draw, _width: int) -> Cell:
    glyph, role = _LOOKS[row.word]
    return ((f"{draw.glyphs.of(glyph)} {row.word}", role),)


def _draw_score(row: VerdictRow, draw: Draw, _width: int) -> Cell:
    return ((f"{row.verdict.score:.1f}", "strong"),) if row.scored else ((draw.glyphs.none, "dim"),)


def _draw_behind(row: VerdictRow, draw: Draw, _width: int) -> Cell:
    if row.behind is None or row.word in (PLACED, BEST):
        return ((draw.glyphs.none, "dim"),)
    return ((signed(-row.behind), "dim"),)


def _term_value(row: VerdictRow, at: int) -> float | None:
    """Of the term of that number, of those that the score is made of."""
    named = terms_in(row.verdict.terms)
    return float(getattr(row.verdict.terms, named[at][0])) if row.scored and at < len(named) else None


def _term(at: int) -> Callable[[VerdictRow, Draw, int], Cell]:
    def draw(row: VerdictRow, draw: Draw, _width: int) -> Cell:
        value = _term_value(row, at)
        if value is not None:
            return ((f"{value:.1f}", "text"),)
        return EMPTY if row.scored else ((draw.glyphs.none, "dim"),)

    return draw


def _points(get: Callable[[types_pb2.ScoreTerms], float]) -> Callable[[VerdictRow], float]:
    return lambda row: get(row.verdict.terms) if row.scored else UNKNOWN


def _draw_penalty(row: VerdictRow, draw: Draw, _width: int) -> Cell:
    if not row.scored:
        return ((draw.glyphs.none, "dim"),)
    taken = penalty_of(row.verdict.terms)
    return ((f"{taken:.0f}", "warn" if taken < 0 else "dim"),)


def _draw_reason(row: VerdictRow, draw: Draw, _width: int) -> Cell:
    return foreign(row.verdict.reason, "text", draw.glyphs) if row.verdict.reason else EMPTY


def _draw_flip(row: VerdictRow, draw: Draw, _width: int) -> Cell:
    return foreign(row.verdict.flip, "accent", draw.glyphs) if row.verdict.flip else EMPTY


def _term_column(at: int, name: str, title: str, judged: Callable[[], cluster_pb2.WhyReply]) -> Column[VerdictRow]:
    def points(row: VerdictRow) -> float:
        value = _term_value(row, at)
        return UNKNOWN if value is None else value

    def heading(_draw: Draw) -> str:
        named = next((terms_in(verdict.terms) for verdict in judged().nodes if verdict.HasField("terms")), TERMS)
        return named[at][1] if at < len(named) else ""

    return Column(name, title, 5, _term(at), points, True, "right", rank=6 + at, heading=heading)


def _columns(judged: Callable[[], cluster_pb2.WhyReply]) -> Sequence[Column[VerdictRow]]:
    terms = [_term_column(at, name, title, judged) for at, (name, title, _) in enumerate(TERMS)]
    return (
        Column("node", "NODE", 10, lambda row, draw, _w: foreign(row.verdict.node, "strong", draw.glyphs),
               lambda row: row.verdict.node, flex=1, most=26),
        Column("verdict", "VERDICT", 10, _draw_word, rank),
        Column("score", "SCORE", 6, _draw_score, lambda row: row.verdict.score if row.scored else UNKNOWN, True,
               "right"),
        Column("behind", "TO BEST", 7, _draw_behind, lambda row: UNKNOWN if row.behind is None else row.behind,
               False, "right", rank=3),
        *terms,
        Column("penalty", "PEN", 4, _draw_penalty, _points(penalty_of), False, "right", rank=5),
        Column("reason", "WHY NOT", 16, _draw_reason, lambda row: row.verdict.reason, flex=2),
        Column("flip", "UNLESS", 16, _draw_flip, lambda row: row.verdict.flip, flex=2),
    )  # fmt: skip


def _term_field(name: str) -> Field[VerdictRow]:
    return Field(name, lambda row: getattr(row.verdict.terms, name) if row.scored else None, numeric=True)


def verdicts(judged: Callable[[], cluster_pb2.WhyReply]) -> TableSpec[VerdictRow]:
    """The table of an answer, which comes later; its titles are the terms of the profile that scored."""
    return TableSpec(
        columns=_columns(judged),
        sort="verdict",
        fields=(
            Field("node", lambda row: row.verdict.node),
            Field("verdict", lambda row: row.word),
            Field("reason", lambda row: row.verdict.reason),
            Field("unless", lambda row: row.verdict.flip),
            Field("score", lambda row: row.verdict.score if row.scored else None, numeric=True),
            *(_term_field(name) for name, _, _ in (*TERMS, *OTHER_TERMS)),
        ),
        empty="No node was judged.",
    )


def row_text(row: VerdictRow) -> str:
    """What a filter looks at."""
    return "\n".join((row.verdict.node, row.word, row.verdict.reason, row.verdict.flip))
