"""Marked rows of a table: one by one, all, or a range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui.lists.rows import Listing
from tui.messages import Pointed
from tui.widgets.virtual import VirtualView


class Marking(VirtualView):
    """Under a table; a mark belongs to a row, wherever it goes."""

    listing: Listing[Any]
    marks: set[str]

    def begin_marking(self) -> None:
        self.marks = set()
        self._range_from = ""
        self._before_range: set[str] = set()

    # What the table has.

    @property
    def cursor(self) -> int:
        raise NotImplementedError

    @property
    def cursor_key(self) -> str:
        raise NotImplementedError

    def move_to(self, position: int, *, follow: bool = False) -> None:
        raise NotImplementedError

    def redraw(self) -> None:
        raise NotImplementedError

    def chosen(self) -> list[str]:
        """Keys that an action concerns: the marked rows in listed order, else the one under the cursor."""
        if self.marks:
            return [key for key in self.listing.keys() if key in self.marks]  # noqa: SIM118
        return [self.cursor_key] if self.cursor_key else []

    def keep_marks(self, known: Callable[[str], bool]) -> None:
        """Forget marks of rows that are not known any more."""
        if self.marks:
            self.marks = {key for key in self.marks if known(key)}

    def clear_marks(self) -> bool:
        """Unmark all and end a range; False when there was neither."""
        if not self.marks and not self._range_from:
            return False
        self.marks.clear()
        self._range_from = ""
        self.redraw()
        return True

    @property
    def in_range(self) -> bool:
        """Whether moving the cursor marks rows."""
        return bool(self._range_from)

    def extend_range(self) -> None:
        """Mark from where the range began to the cursor."""
        if not self._range_from:
            return
        begin = self.listing.position(self._range_from)
        if begin is None:
            self._range_from = ""
            return
        first, last = sorted((begin, self.cursor))
        self.marks = self._before_range | {self.listing.key(at) for at in range(first, last + 1)}
        self.redraw()

    def action_mark(self) -> None:
        key = self.cursor_key
        if key:
            self._range_from = ""
            self.marks ^= {key}
            self.repaint_line(self.cursor - self.top)
            self.move_to(self.cursor + 1)

    def action_mark_all(self) -> None:
        self._range_from = ""
        self.marks = set(self.listing.keys())
        self._marked()

    def action_unmark(self) -> None:
        self.clear_marks()
        self._marked()

    def action_range(self) -> None:
        """Begin a range at the cursor, or end it and keep its marks."""
        if self._range_from:
            self._range_from = ""
        elif self.cursor_key:
            self._range_from = self.cursor_key
            self._before_range = set(self.marks)
            self.extend_range()
        self._marked()

    def _marked(self) -> None:
        self.redraw()
        self.post_message(Pointed(self, self.cursor_key))
