"""The table of a DAG: `h` and `l` follow edges, and what is filtered or sorted is a plain list."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tui.columns.base import Column, Draw, TableSpec
from tui.keyboard.keymap import bindings
from tui.lists.rows import Rows
from tui.operator.themes import Palette
from tui.widgets.table import Table

R = TypeVar("R")


class DagTable(Table[R], inherit_bindings=False):
    """`as_list` is told before the rows are filtered or sorted whether they keep the order of the drawing."""

    BINDINGS = bindings("dag_rows")

    def __init__(
        self,
        spec: TableSpec[R],
        rows: Rows[R],
        draw: Callable[[], Draw],
        palette: Callable[[], Palette],
        as_list: Callable[[bool], None],
        *,
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(spec, rows, draw, palette, id=id)
        self._as_list = as_list

    @property
    def plain(self) -> bool:
        """Whether the order is not the drawing's."""
        return bool(self.filter_text) or self.sorted

    @property
    def sorted(self) -> bool:
        return self.sort_column.id != self.spec.sort or self.listing.descending

    def apply_filter(self, source: str) -> None:
        key = self.cursor_key
        self.spec.parse(source, self._rows, self.now_us)
        plain = bool(source.strip()) or self.sorted
        if plain:
            self._as_list(plain)
        super().apply_filter(source)
        self.point_at(key)
        if not plain:
            self._as_list(plain)

    def sort_by(self, column: Column[R], descending: bool) -> None:
        self._as_list(bool(self.filter_text) or descending or column.id != self.spec.sort)
        super().sort_by(column, descending)
