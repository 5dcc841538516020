"""How a table is arranged by its operator: which columns, in which order, moving or standing still."""

from __future__ import annotations

from typing import Any

from tui.columns.base import Column, TableSpec
from tui.lists.grammar import FilterError
from tui.operator.arrange import Arrangement, Columns
from tui.widgets.marking import Marking


class Arranging(Marking):
    """Under a table."""

    spec: TableSpec[Any]
    sort_column: Column[Any]
    filter_text: str
    every_column: bool
    columns: Columns

    # What the table has.

    def apply_filter(self, source: str) -> None:
        raise NotImplementedError

    def sort_by(self, column: Column[Any], descending: bool) -> None:
        raise NotImplementedError

    def show_every_column(self, every: bool) -> None:
        raise NotImplementedError

    def sync(self) -> None:
        raise NotImplementedError

    # Columns.

    def shown_columns(self) -> list[Column[Any]]:
        """Columns that are not hidden, whether or not there is room for them."""
        shown = [column for column in self.spec.columns if column.id not in self.columns.hidden]
        return shown or list(self.spec.columns)

    def show_columns(self, columns: Columns) -> None:
        self.columns = columns
        self.redraw()

    # The whole.

    def arrangement(self) -> Arrangement:
        """What `rearrange` brings back."""
        sorted_so = self.sort_column.id, self.listing.descending
        usual = self.spec.sort, self.spec.column(self.spec.sort).descending
        sort, descending = ("", False) if sorted_so == usual else sorted_so
        return Arrangement(self.filter_text, sort, descending, self.every_column, self.columns)

    def rearrange(self, wanted: Arrangement) -> str:
        """Arrange it so, as far as it can be; returns what cannot, empty when all can."""
        known = {column.id: column for column in self.spec.columns}
        self.columns = Columns(wanted.columns.hidden & known.keys(), wanted.columns.pinned & known.keys())
        usual = known[self.spec.sort]
        column = known.get(wanted.sort)
        if column is None or column.sort is None:
            self.sort_by(usual, usual.descending)
        else:
            self.sort_by(column, wanted.descending)
        self.show_every_column(wanted.wide)
        try:
            self.apply_filter(wanted.filter)
        except FilterError as error:
            return f"The filter that was kept is left out: {error}"
        return ""

    # Standing still.

    @property
    def paused(self) -> bool:
        return self.listing.paused

    def pause(self, paused: bool) -> None:
        """Stand still while the rows go on changing, or take in all that changed meanwhile.

        What is sorted or filtered meanwhile is taken as it is then.
        """
        if paused == self.paused:
            return
        if paused:
            # What the rows have by now and the order has not would show as rows in wrong places.
            self.sync()
            self.listing.pause()
            still, self._moving = self.draw(), self.draw
            self.draw = lambda: still
        else:
            self.listing.go_on()
            self.draw = self._moving
            self.sync()
            self.redraw()
