"""Rows of a table as text for other programs: what is shown, without its drawings. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tui.columns.base import Column, Draw, TableSpec
from tui.drawing.draw import UNICODE, Cell
from tui.drawing.text import clean
from tui.lists.filter import Field, Value, no_value

FORMATS = ("csv", "json", "svg")
_WIDTH = 200
_PICTURES = frozenset(UNICODE.bar_full + UNICODE.bar_half + UNICODE.bar_rest + UNICODE.sparks)


@dataclass(frozen=True)
class Sheet:
    """What is exported: the columns, and how to read a row in each of them."""

    spec: TableSpec[Any]
    columns: Sequence[Column[Any]]
    draw: Draw

    @property
    def titles(self) -> list[str]:
        return [column.titled(self.draw).strip() or column.id for column in self._texts]

    def cells(self, row: Any) -> list[str]:
        """Of a row, what each column says. No control characters: it may end in a terminal."""
        return [self._text(column, row) for column in self._texts]

    def record(self, key: str, row: Any) -> dict[str, Any]:
        """Every field by its name, and what further columns say."""
        document: dict[str, Any] = {"id": key}
        document |= {name: _number(field.get(row)) for name, field in self._fields.items()}
        for column in self._texts:
            document.setdefault(column.id, self._text(column, row))
        return document

    @property
    def _texts(self) -> list[Column[Any]]:
        return [column for column in self.columns if not column.picture]

    @property
    def _fields(self) -> dict[str, Field[Any]]:
        # What a duration is just now the columns say, as they show it.
        return {field.name: field for field in self.spec.fields if field.get is not no_value}

    def _text(self, column: Column[Any], row: Any) -> str:
        field = self._fields.get(column.id)
        if field is not None:
            value = _number(field.get(row))
            return "" if value is None else clean(value) if isinstance(value, str) else f"{value:.10g}"
        return legible(column.draw(row, replace(self.draw, glyphs=UNICODE), _WIDTH))


def legible(cell: Cell) -> str:
    """The words of a cell, without bars and sparklines."""
    return "".join(text for text, _ in cell if not set(text) <= _PICTURES).strip()


def tab_separated(sheet: Sheet, rows: Sequence[Any]) -> str:
    """A line of titles and one a row."""
    lines = [sheet.titles, *(sheet.cells(row) for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def json_line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def _number(value: Value) -> Value:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
