"""Rows in slots, and listings of them that are filtered, sorted and kept up change by change. Pure.

100,000 rows are sorted or filtered in tens of milliseconds; a change moves one entry by bisection.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from tui.filter import Filter

R = TypeVar("R")
SortKey = Callable[[R], Any]


class Rows(Generic[R]):
    """Rows of one kind by key, in slots that are used again. Every change is told to the attached listings."""

    def __init__(self, text: Callable[[R], str]) -> None:
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._listings: list[Listing[R]] = []
        self._make_text = text
        self._texts: list[str | None] = []
        self.keys: list[str] = []
        self.rows: list[R | None] = []

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: str) -> bool:
        return key in self._slots

    def get(self, key: str) -> R | None:
        slot = self._slots.get(key)
        return None if slot is None else self.rows[slot]

    def values(self) -> Iterator[R]:
        return (row for row in self.rows if row is not None)

    def slots(self) -> Iterable[int]:
        return self._slots.values()

    def slot(self, key: str) -> int | None:
        return self._slots.get(key)

    def text(self, slot: int) -> str:
        """Searchable text of a row in lower case; made when it is first asked for."""
        text = self._texts[slot]
        if text is None:
            row = self.rows[slot]
            text = "" if row is None else self._make_text(row).lower()
            self._texts[slot] = text
        return text

    def put(self, key: str, row: R) -> None:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._take(key)
        self.rows[slot] = row
        self._texts[slot] = None
        self._tell(slot)

    def remove(self, key: str) -> R | None:
        slot = self._slots.pop(key, None)
        if slot is None:
            return None
        row = self.rows[slot]
        self.rows[slot] = None
        self._texts[slot] = None
        self._free.append(slot)
        self._tell(slot)
        return row

    def attach(self, listing: Listing[R]) -> None:
        self._listings.append(listing)

    def detach(self, listing: Listing[R]) -> None:
        if listing in self._listings:
            self._listings.remove(listing)

    def _take(self, key: str) -> int:
        if self._free:
            slot = self._free.pop()
            self.keys[slot] = key
        else:
            slot = len(self.rows)
            self.rows.append(None)
            self._texts.append(None)
            self.keys.append(key)
        self._slots[key] = slot
        return slot

    def _tell(self, slot: int) -> None:
        for listing in self._listings:
            listing.pending.add(slot)


Entry = tuple[Any, str, int]


class Listing(Generic[R]):
    """An order of the rows that pass the filter, kept up change by change. Positions count from 0 at the top.

    Ties are broken by key, so that the order depends on the rows alone and not on how they came.
    """

    def __init__(
        self, rows: Rows[R], sort: SortKey[R], *, descending: bool = False, only: Callable[[R], bool] | None = None
    ) -> None:
        self._rows = rows
        self._sort = sort
        self._only = only
        self._order: list[Entry] = []
        self._entries: dict[int, Entry] = {}
        self.descending = descending
        self.filter: Filter[int] | None = None
        self.pending: set[int] = set()
        rows.attach(self)
        self.rebuild()

    def close(self) -> None:
        self._rows.detach(self)

    def __len__(self) -> int:
        return len(self._order)

    @property
    def unfiltered(self) -> int:
        """How many rows there are before the filter; counts when a filter is set, so ask seldom."""
        if self.filter is None:
            return len(self._order)
        if self._only is None:
            return len(self._rows)
        return sum(1 for row in self._rows.values() if self._only(row))

    def key(self, position: int) -> str:
        return self._entry(position)[1]

    def row(self, position: int) -> R:
        row = self._rows.rows[self._entry(position)[2]]
        assert row is not None
        return row

    def get(self, key: str) -> R | None:
        return self._rows.get(key)

    def position(self, key: str) -> int | None:
        """Where a row stands; None when it is not listed."""
        slot = self._rows.slot(key)
        entry = None if slot is None else self._entries.get(slot)
        if entry is None:
            return None
        at = bisect_left(self._order, entry)
        return len(self._order) - 1 - at if self.descending else at

    def keys(self) -> Iterator[str]:
        order: Iterable[Entry] = reversed(self._order) if self.descending else self._order
        return (entry[1] for entry in order)

    def sort_by(self, sort: SortKey[R], descending: bool) -> None:
        self._sort = sort
        self.descending = descending
        self.rebuild()

    def filter_by(self, wanted: Filter[int] | None) -> None:
        """Keep only rows whose slot the filter matches; None keeps all."""
        self.filter = wanted
        self.rebuild()

    def rebuild(self) -> None:
        self.pending.clear()
        rows, keys, sort, only = self._rows.rows, self._rows.keys, self._sort, self._only
        matches = None if self.filter is None else self.filter.matches
        order: list[Entry] = []
        for slot in self._rows.slots():
            row = rows[slot]
            if row is None or (only is not None and not only(row)) or (matches is not None and not matches(slot)):
                continue
            order.append((sort(row), keys[slot], slot))
        order.sort()
        self._order = order
        self._entries = {entry[2]: entry for entry in order}

    def update(self) -> tuple[bool, set[str]]:
        """Take in what changed since the last call. Returns whether any position changed, and the changed keys."""
        if not self.pending:
            return False, set()
        pending, self.pending = self.pending, set()
        changed = {self._rows.keys[slot] for slot in pending}
        if len(pending) > 64 and len(pending) * 8 > len(self._order):
            before = [entry[1] for entry in self._order]
            self.rebuild()
            return before != [entry[1] for entry in self._order], changed
        moved = False
        for slot in pending:
            moved |= self._replace(slot)
        return moved, changed

    def _replace(self, slot: int) -> bool:
        old = self._entries.get(slot)
        new = self._wanted(slot)
        if old == new:
            return False
        at = -1
        if old is not None:
            at = bisect_left(self._order, old)
            del self._order[at]
            del self._entries[slot]
        if new is None:
            return True
        to = bisect_left(self._order, new)
        self._order.insert(to, new)
        self._entries[slot] = new
        return to != at or old is None or old[1] != new[1]

    def _wanted(self, slot: int) -> Entry | None:
        row = self._rows.rows[slot]
        if row is None or (self._only is not None and not self._only(row)):
            return None
        if self.filter is not None and not self.filter.matches(slot):
            return None
        return (self._sort(row), self._rows.keys[slot], slot)

    def _entry(self, position: int) -> Entry:
        return self._order[len(self._order) - 1 - position if self.descending else position]
