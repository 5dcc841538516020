"""Dead letters by cause."""

from __future__ import annotations

from collections.abc import Callable

from cortex.v1 import cluster_pb2, types_pb2
from tui.columns.base import Column, Draw, TableSpec
from tui.columns.operations import progress
from tui.columns.tasks import exit_text, why_text
from tui.drawing.draw import EMPTY, Cell, age, bar, command_of, count_of, foreign
from tui.lists.filter import Field, since
from tui.store.ends import type_name
from tui.store.operations import LIVE, settled

Cause = cluster_pb2.DeadLetterCause

BLAME_WORDS: dict[int, tuple[str, str]] = {
    # blame: word, role
    types_pb2.BLAME_TASK: ("task", "bad"),
    types_pb2.BLAME_NODE: ("node", "warn"),
    types_pb2.BLAME_INPUT: ("input", "busy"),
}
KEEPS_US = 120_000_000
"""How long a cause shows how the last operation on it ended."""


def blame_word(row: Cause) -> str:
    return BLAME_WORDS.get(row.sample.blame, ("", ""))[0]


def exit_word(row: Cause) -> str:
    """Exit code or signal, which all letters of a cause have in common."""
    return exit_text(row.sample)


def operation_line(key: str, draw: Draw, *, short: bool = False) -> Cell:
    """How the last operation on a cause goes, while it is news."""
    operation = draw.view.letters.operation(key)
    if operation is None:
        return EMPTY
    old = operation.state not in LIVE and settled(operation)
    if old and draw.now_us - operation.ended_at_us > KEEPS_US:
        return EMPTY
    return progress(operation, draw, short=short)


def error_of(row: Cause, draw: Draw) -> Cell:
    """What its letters said, else how they ended."""
    text = draw.view.letters.words.get(row.fingerprint) or why_text(row.sample)
    return foreign(text or "no error was kept", "bad", draw.glyphs)


def _draw_error(row: Cause, draw: Draw, _width: int) -> Cell:
    news = operation_line(row.fingerprint, draw, short=True) if row.fingerprint else EMPTY
    error = error_of(row, draw)
    return (*news, ("  ", "text"), *error) if news else error


def _draw_share(row: Cause, draw: Draw, width: int) -> Cell:
    return bar(row.count, draw.view.letters.count, width, "bad", draw.glyphs)


def _draw_blame(row: Cause, draw: Draw, _width: int) -> Cell:
    word, role = BLAME_WORDS.get(row.sample.blame, (draw.glyphs.none, "dim"))
    return ((word, role),)


def _draw_nodes(row: Cause, draw: Draw, _width: int) -> Cell:
    return foreign(" ".join(row.nodes), "text", draw.glyphs) if row.nodes else EMPTY


def _since(get: Callable[[Cause], int]) -> Callable[[Cause, Draw, int], Cell]:
    def draw(row: Cause, draw: Draw, _width: int) -> Cell:
        return ((age(draw.now_us - get(row)), "dim"),) if get(row) else EMPTY

    return draw


def _draw_sample(row: Cause, draw: Draw, _width: int) -> Cell:
    name = row.sample.name or command_of(row.sample.spec).split(b" ", 1)[0]
    return foreign(name, "strong", draw.glyphs)


def _draw_count(row: Cause, _draw: Draw, _width: int) -> Cell:
    return ((count_of(row.count), "strong"),)


def _exit_code(row: Cause) -> float | None:
    result = row.sample.result
    return float(result.exit_code) if result.HasField("exit_code") else None


CAUSES: TableSpec[Cause] = TableSpec(
    columns=(
        Column("count", "LETTERS", 8, _draw_count, lambda row: -row.count, False, "right"),
        Column("share", "SHARE", 8, _draw_share, flex=1, most=20),
        Column("last", "LAST", 4, _since(lambda row: row.last_at_us), lambda row: -row.last_at_us, False, "right"),
        Column("first", "FIRST", 5, _since(lambda row: row.first_at_us), lambda row: row.first_at_us, align="right",
               rank=5),
        Column("exit", "EXIT", 5, lambda row, _d, _w: ((exit_word(row), "bad"),), exit_word, align="right"),
        Column("blame", "BLAME", 5, _draw_blame, blame_word),
        Column("error", "ERROR", 34, _draw_error, lambda row: why_text(row.sample), flex=6),
        Column("sample", "SAMPLE", 9, _draw_sample, lambda row: row.sample.name.lower(), rank=4, flex=1, most=20),
        Column("nodes", "NODES", 10, _draw_nodes, lambda row: " ".join(row.nodes), rank=6, flex=2, most=40),
        Column("fingerprint", "CAUSE", 8, lambda row, draw, _w: foreign(row.fingerprint or "-", "dim", draw.glyphs),
               lambda row: row.fingerprint, rank=7, flex=1, most=16),
    ),
    sort="count",
    fields=(
        Field("cause", lambda row: row.fingerprint),
        Field("count", lambda row: float(row.count), numeric=True),
        Field("error", lambda row: row.sample.error),
        Field("exit", _exit_code, numeric=True),
        Field("blame", blame_word),
        Field("type", lambda row: type_name(row.sample.cause)),
        Field("node", lambda row: " ".join(row.nodes)),
        Field("name", lambda row: row.sample.name),
        since("last", lambda row: row.last_at_us),
        since("first", lambda row: row.first_at_us),
    ),
    empty="No dead letters: everything ended well, or was retried.",
)  # fmt: skip
