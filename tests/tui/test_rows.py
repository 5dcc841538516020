"""A listing that is kept up change by change equals one that is made anew."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tui.lists.filter import Filter
from tui.lists.rows import Listing, Rows

Row = tuple[int, str]
KEYS = [f"k{number}" for number in range(12)]

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.integers(0, 5)),
        st.tuples(st.just("remove"), st.sampled_from(KEYS), st.just(0)),
        st.tuples(st.just("update"), st.just(""), st.just(0)),
        st.tuples(st.just("filter"), st.just(""), st.integers(0, 6)),
        st.tuples(st.just("sort"), st.just(""), st.integers(0, 3)),
    ),
    max_size=60,
)


def fresh(rows: Rows[Row], floor: int, sort: int, descending: bool) -> list[str]:
    found = [(key_of(row, sort), row[1]) for row in rows.values() if row[0] >= floor]
    return [key for _, key in sorted(found, reverse=descending)]


def key_of(row: Row, sort: int) -> object:
    return row[0] if sort % 2 == 0 else row[1]


@given(OPERATIONS)
@settings(max_examples=200)
def test_incremental_equals_fresh(operations: list[tuple[str, str, int]]) -> None:
    rows: Rows[Row] = Rows(lambda row: row[1])
    listing: Listing[Row] = Listing(rows, lambda row: key_of(row, 0))
    floor, sort, descending = 0, 0, False
    for operation, key, value in operations:
        if operation == "put":
            rows.put(key, (value, key))
        elif operation == "remove":
            rows.remove(key)
        elif operation == "filter":
            floor = value

            def matches(slot: int, floor: int = floor) -> bool:
                row = rows.rows[slot]
                return row is not None and row[0] >= floor

            listing.filter_by(Filter("", matches, lambda slots: list(filter(matches, slots))))
        elif operation == "sort":
            sort, descending = value, value >= 2
            listing.sort_by(lambda row, sort=sort: key_of(row, sort), descending)
        else:
            before = list(listing.keys())
            moved = listing.update()
            after = list(listing.keys())
            assert moved or before == after
            assert after == fresh(rows, floor, sort, descending)
    listing.update()
    keys = list(listing.keys())
    assert keys == fresh(rows, floor, sort, descending)
    assert len(listing) == len(keys)
    for position, key in enumerate(keys):
        assert listing.position(key) == position
        assert listing.key(position) == key
        assert listing.row(position)[1] == key
    assert all(listing.position(key) is None for key in KEYS if key not in keys)


def test_many_changes_at_once_rebuild() -> None:
    rows: Rows[Row] = Rows(lambda row: row[1])
    listing: Listing[Row] = Listing(rows, lambda row: row[0])
    for number in range(500):
        rows.put(f"{number:03d}", (number % 7, f"{number:03d}"))
    assert listing.update()
    assert list(listing.keys()) == fresh(rows, 0, 0, False)


def test_a_closed_listing_is_told_nothing() -> None:
    rows: Rows[Row] = Rows(lambda row: row[1])
    listing: Listing[Row] = Listing(rows, lambda row: row[0])
    listing.close()
    rows.put("a", (1, "a"))
    assert not listing.pending


def test_a_slot_is_used_again_for_another_row() -> None:
    rows: Rows[Row] = Rows(lambda row: row[1])
    listing: Listing[Row] = Listing(rows, lambda row: row[0])
    rows.put("a", (1, "a"))
    listing.update()
    rows.remove("a")
    rows.put("b", (1, "b"))
    assert listing.update()
    assert list(listing.keys()) == ["b"]
    assert rows.text(0) == "b"


def test_a_row_that_was_removed_is_none_until_the_listing_takes_it_in() -> None:
    rows: Rows[int] = Rows(str)
    for number in range(3):
        rows.put(f"k{number}", number)
    listing = Listing(rows, lambda row: row)
    rows.remove("k1")
    assert [listing.row(position) for position in range(3)] == [0, None, 2]
    rows.put("new", 7)  # takes the slot that became free
    assert [listing.row(position) for position in range(3)] == [0, None, 2]
    assert list(listing.items()) == [("k0", 0), ("k2", 2)]
    listing.update()
    assert list(listing.items()) == [("k0", 0), ("k2", 2), ("new", 7)]


def test_rows_that_went_and_came_back_in_other_slots_are_listed_once() -> None:
    rows: Rows[Row] = Rows(lambda row: row[1])
    listing: Listing[Row] = Listing(rows, lambda row: key_of(row, 0))
    for number in range(20):
        rows.put(f"k{number:02d}", (number % 3, "same"))
    listing.update()
    for number in range(20):
        rows.remove(f"k{number:02d}")
    for number in range(20):
        rows.put(f"k{number:02d}", (number % 3, "same"))
    listing.update()
    assert sorted(listing.keys()) == [f"k{number:02d}" for number in range(20)]
