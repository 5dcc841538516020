"""Lists as the console shows them: the same columns, filters and order, as a table, wide, or CSV."""

from __future__ import annotations

import csv
import io
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tui.drawing.text import clean
from tui.errors import usage
from tui.verbs.base import now_us, say, say_table, settings

if TYPE_CHECKING:
    from tui.columns.base import Column, TableSpec
    from tui.lists.rows import Rows
    from tui.store.view import ClusterView

F = TypeVar("F", bound=Callable[..., Any])
DRAWN = ("wide", "csv")
"""Forms that are always those of the console's columns."""


@dataclass(frozen=True)
class Shape:
    """What was asked of a list's rows and columns; empty where nothing was."""

    expression: str = ""
    sort: str = ""
    columns: tuple[str, ...] = ()

    @property
    def picks(self) -> bool:
        """Whether rows are left out or in another order."""
        return bool(self.expression or self.sort)

    @property
    def drawn(self) -> bool:
        """Whether the console's columns are asked for."""
        return settings().form in DRAWN or bool(self.columns or self.picks)

    @property
    def asked(self) -> bool:
        return self.drawn or self.picks


def shape_options(*, own_filter: bool = False) -> Callable[[F], F]:
    """Decorator: adds --sort and --columns, and --filter unless the verb has its own; they come as `shape`."""

    def decorate(function: F) -> F:
        @wraps(function)
        def collected(*args: Any, sort: str, columns: str, expression: str = "", **options: Any) -> Any:
            names = tuple(name.strip() for name in columns.split(",") if name.strip())
            if names and settings().json:
                raise usage("--columns is for tables and CSV.", "Leave it out: JSON has every field.")
            return function(*args, shape=Shape(expression, sort, names), **options)

        added = [
            click.option("--sort", metavar="COLUMN[:desc]", default="", help="Sort by this column."),
            click.option("--columns", metavar="A,B", default="", help="Show these columns, in this order."),
        ]
        if not own_filter:
            text = "Only rows that match this filter expression."
            added.append(click.option("--filter", "expression", metavar="EXPR", default="", help=text))
        decorated: Any = collected
        for option in added:
            decorated = option(decorated)
        decorated.lists = True
        return decorated  # type: ignore[no-any-return]

    return decorate


def chosen_keys(
    spec: TableSpec[Any], rows: Rows[Any], keys: Sequence[str], shape: Shape, moment_us: int = 0
) -> list[str]:
    """Those of the keys whose rows match, in the order that was asked for. Raises ClusterError.

    Ages are those at `moment_us`, 0 for now.
    """
    from tui.lists.grammar import FilterError

    found = list(keys)
    if shape.expression:
        try:
            wanted = spec.parse(shape.expression, rows, lambda: moment_us or now_us())
        except FilterError as error:
            raise usage(f"--filter: {error}.", "Write words, as web, or comparisons, as state=running.") from None
        if wanted is None:
            raise usage("--filter is blank.", "Leave it out, or write what to look for.")
        found = [key for key in found if (slot := rows.slot(key)) is not None and wanted.matches(slot)]
    if shape.sort:
        value, descending = _order(spec, shape.sort)
        known = {key: value(rows.get(key)) for key in found}
        # What has no value comes last, whichever way it is sorted.
        some = [key for key in found if not _absent(known[key])]
        none = [key for key in found if _absent(known[key])]
        found = sorted(some, key=lambda key: known[key], reverse=descending) + none
    return found


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _order(spec: TableSpec[Any], asked: str) -> tuple[Callable[[Any], Any], bool]:
    from tui.lists.filter import no_value

    name, _, way = asked.partition(":")
    by_field = {one.name: one for one in spec.fields if one.get is not no_value}
    by_column = {column.id: column for column in spec.columns if column.sort is not None}
    if way not in ("", "asc", "desc"):
        raise usage(f"--sort: {clean(way)!r} is not a sort order.", "Write COLUMN, COLUMN:asc or COLUMN:desc.")
    if name in by_field:
        return by_field[name].get, way == "desc"
    sort = by_column[name].sort if name in by_column else None
    if sort is None:
        known = ", ".join(sorted({*by_field, *by_column}))
        raise usage(f"--sort: there is no column {clean(name)!r} to sort by.", f"There are {known}.")
    return sort, way == "desc"


@dataclass
class Shown:
    """A list that is to be printed. `moment_us` is the leader's time of it, 0 for now."""

    spec: TableSpec[Any]
    view: ClusterView
    rows: Rows[Any]
    moment_us: int = 0
    now_s: float = field(default_factory=time.monotonic)

    def say(self, keys: Sequence[str], shape: Shape) -> None:
        """Prints the rows of these keys in the form that was asked for. Raises ClusterError."""
        from tui.columns.base import Draw
        from tui.drawing.draw import ASCII, UNICODE

        utf8 = sys.stdout is not None and sys.stdout.encoding.lower().replace("-", "") == "utf8"
        draw = Draw(self.moment_us or now_us(), self.now_s, UNICODE if utf8 else ASCII, self.view)
        rows = [row for key in keys if (row := self.rows.get(key)) is not None]
        if settings().form == "csv":
            _say_csv(self.spec, self._columns(shape), rows, draw)
        else:
            _say_text(self._columns(shape), rows, draw)

    def _columns(self, shape: Shape) -> list[Column[Any]]:
        columns = [column for column in self.spec.columns if not column.picture]
        if shape.columns:
            by_id: Mapping[str, Column[Any]] = {column.id: column for column in columns}
            for name in shape.columns:
                if name not in by_id:
                    raise usage(f"--columns: there is no column {clean(name)!r}.", f"There are {', '.join(by_id)}.")
            return [by_id[name] for name in shape.columns]
        if settings().form in DRAWN or not _on_terminal():
            return columns
        from tui.columns.base import place

        return [placed.column for placed in place(columns, shutil.get_terminal_size().columns, gap=2)]


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _say_csv(spec: TableSpec[Any], columns: Sequence[Column[Any]], rows: Sequence[Any], draw: Any) -> None:
    """RFC 4180: a header of the columns' names, CRLF."""
    from tui.columns.export import Sheet

    sheet = Sheet(spec, columns, draw)
    for cells in ([column.id for column in columns], *map(sheet.cells, rows)):
        line = io.StringIO()
        csv.writer(line, lineterminator="\r").writerow(cells)
        say(line.getvalue())


def _say_text(columns: Sequence[Column[Any]], rows: Sequence[Any], draw: Any) -> None:
    from tui.columns.export import legible
    from tui.drawing import format as text

    wide = settings().form == "wide"
    heads = [
        text.Column(
            (column.titled(draw).strip() or column.id).upper(), column.align, bool(column.flex) and not wide
        )
        for column in columns
    ]
    lines = [[legible(column.draw(row, draw, 1000)) for column in columns] for row in rows]
    say_table(heads, lines, whole=wide)
