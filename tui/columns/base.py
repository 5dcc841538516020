"""Columns as data, and how they share a width. Pure."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tui.drawing.draw import Cell, Glyphs
from tui.drawing.text import Align
from tui.keyboard.wording import KeyWord, shipped
from tui.lists.filter import Field, Filter, no_time_given, parse
from tui.lists.rows import Rows, SortKey
from tui.store.view import ClusterView

R = TypeVar("R")
_FULL_WIDTH = 60


@dataclass(frozen=True)
class Draw:
    """What drawing needs beside the row. `now_us` is leader time, `now_s` the local monotonic clock."""

    now_us: int
    now_s: float
    glyphs: Glyphs
    view: ClusterView
    word: KeyWord = shipped
    """What an action's key is called where this is read."""


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column. When the table is too narrow the highest rank leaves first; rank 0 always stays."""

    id: str
    title: str
    width: int
    """Least cells."""
    draw: Callable[[R, Draw, int], Cell]
    sort: SortKey[R] | None = None
    descending: bool = False
    """Which way it sorts first."""
    align: Align = "left"
    flex: int = 0
    """Share of the cells left over."""
    most: int = 0
    """Most cells that flex gives; 0 = no bound."""
    rank: int = 0
    picture: bool = False
    """Nothing but a drawing: left out where there is only text."""
    heading: Callable[[Draw], str] | None = None
    """The title where it depends on what is known; None = `title`."""

    def titled(self, draw: Draw) -> str:
        return self.title if self.heading is None else self.heading(draw)

    def named(self, draw: Draw) -> str:
        """As a list of columns calls it; empty where there is nothing by that title now."""
        title = self.titled(draw).strip()
        return title or ("" if self.title.strip() else self.id)


@dataclass(frozen=True)
class Placed(Generic[R]):
    """A column at its place: `x` cells from the left of the table's content."""

    column: Column[R]
    x: int
    width: int


def everything(draw: Draw) -> object:
    """All of the cluster, and the second."""
    return draw.view.version, int(draw.now_s)


def no_time(_row: object, _draw: Draw) -> object:
    return 0


@dataclass(frozen=True)
class TableSpec(Generic[R]):
    """All that makes a table of one kind of row."""

    columns: Sequence[Column[R]]
    sort: str
    fields: Sequence[Field[R]]
    empty: str
    """Shown when there is no row at all."""
    around: Callable[[Draw], object] = everything
    """What beside a row decides how it looks: rows are drawn anew when it is another."""
    ageing: Callable[[R, Draw], object] = no_time
    """How time shows in a row, where `around` leaves that out."""

    def column(self, name: str) -> Column[R]:
        return next(column for column in self.columns if column.id == name)

    @property
    def sortable(self) -> Sequence[Column[R]]:
        return [column for column in self.columns if column.sort is not None]

    def parse(self, source: str, rows: Rows[R], now_us: Callable[[], int] = no_time_given) -> Filter[int] | None:
        """A filter over the slots of `rows`; ages are those at `now_us` when it is used. Raises FilterError."""
        return parse(source, rows.text, _over_slots(self.fields, rows), now_us)


def _over_slots(fields: Sequence[Field[R]], rows: Rows[R]) -> Mapping[str, Field[int]]:
    def at_slot(get: Callable[[R], str | float | None]) -> Callable[[int], str | float | None]:
        def value(slot: int) -> str | float | None:
            row = rows.rows[slot]
            return None if row is None else get(row)

        return value

    def timed_slot(get: Callable[[R, int], float | None]) -> Callable[[int, int], float | None]:
        def value(slot: int, now_us: int) -> float | None:
            row = rows.rows[slot]
            return None if row is None else get(row, now_us)

        return value

    return {
        field.name: Field(
            field.name,
            at_slot(field.get),
            field.numeric,
            field.words,
            None if field.at is None else timed_slot(field.at),
        )
        for field in fields
    }


def place(
    columns: Sequence[Column[R]],
    width: int,
    *,
    every: bool = False,
    gap: int = 1,
    pinned: Container[str] = (),
) -> list[Placed[R]]:
    """Where each column goes within `width` cells. `every` keeps all of them, however wide that becomes, and
    cuts no text that is not very long; `pinned` ones stay as if their rank were 0.
    """
    kept = list(columns)
    while not every and len(kept) > 1 and _least(kept, gap) > width:
        ranks = [0 if column.id in pinned else column.rank for column in kept]
        worst = max(range(len(kept)), key=lambda at: (ranks[at], at))
        if ranks[worst] == 0:
            break
        del kept[worst]
    widths = _shared(kept, max(0, width - _least(kept, gap)))
    if every:
        full = [column.most or _FULL_WIDTH if column.flex else column.width for column in kept]
        widths = [max(pair) for pair in zip(widths, full, strict=True)]
    placed: list[Placed[R]] = []
    x = 0
    for column, cells in zip(kept, widths, strict=True):
        placed.append(Placed(column, x, cells))
        x += cells + gap
    return placed


def _least(columns: Sequence[Column[R]], gap: int) -> int:
    return sum(column.width for column in columns) + gap * (len(columns) - 1)


def _shared(columns: Sequence[Column[R]], spare: int) -> list[int]:
    """Hand out the spare cells by flex, never beyond a column's most."""
    widths = [column.width for column in columns]
    while spare > 0:
        growing = [
            at for at, column in enumerate(columns) if column.flex and (not column.most or widths[at] < column.most)
        ]
        if not growing:
            break
        total = sum(columns[at].flex for at in growing)
        given = 0
        for at in growing:
            column = columns[at]
            share = max(1, spare * column.flex // total)
            share = min(share, spare - given, column.most - widths[at] if column.most else share)
            widths[at] += share
            given += share
        spare -= given
    return widths
