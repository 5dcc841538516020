"""Searching a stream: what a plain loop over its lines would find, however it is cut into blocks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.payloads.reading import BadPayload
from node.worker import output_search
from node.worker.output_search import Line, Query, Search


def search(data: bytes, query: Query, block: int = output_search.BLOCK_BYTES) -> list[Line]:
    made = Search(query, lambda offset, limit: data[offset : offset + min(limit, block)])
    found: list[Line] = []
    while not made.done:
        found += made.step()
    return found


def plain(data: bytes, query: Query) -> list[tuple[int, int, bytes, bool]]:
    """The same by the simplest means."""
    flags = re.IGNORECASE if query.ignore_case else 0
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    expression = re.compile(query.pattern.encode(), flags)
    hits = {at for at, line in enumerate(lines) if expression.search(line.removesuffix(b"\r"))}
    shown = {at + step for at in hits for step in range(-query.context, query.context + 1)}
    offset, found = 0, []
    for at, line in enumerate(lines):
        if at in shown:
            found.append((at + 1, offset, line.removesuffix(b"\r"), at in hits))
        offset += len(line) + 1
    return found


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"A", b"\xff", b"x a\r"]), max_size=20),
    st.sampled_from(["a", "^a$", "b$", "^", "$", "^$", "a|b", "a\\s", "[^x]", "(?i)A", "zz"]),
    st.integers(0, 3),
    st.integers(1, 9),
    st.booleans(),
)
def test_finds_what_a_plain_loop_finds(
    lines: list[bytes], pattern: str, context: int, block: int, end: bool
) -> None:
    data = b"\n".join(lines) + (b"\n" if end else b"")
    query = Query(pattern, context=context)
    found = [(line.number, line.offset, line.text, line.matches) for line in search(data, query, block)]
    assert found == plain(data, query)


def test_case_may_be_ignored() -> None:
    assert [line.text for line in search(b"Error\nok\nERROR\n", Query("error", ignore_case=True))] == [
        b"Error",
        b"ERROR",
    ]


def test_a_line_without_end_is_searched_in_pieces_and_shown_in_part() -> None:
    data = b"x" * 700_000 + b"needle" + b"x" * 700_000 + b"\nneedle\n"
    found = search(data, Query("needle"))
    assert [line.text for line in found][-1] == b"needle"
    assert all(len(line.text) <= output_search.TEXT_BYTES for line in found)


@pytest.mark.parametrize(("pattern", "said"), [("(", "no regular expression"), ("x" * 501, "501 characters")])
def test_what_is_no_expression_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(BadPayload, match=said):
        Search(Query(pattern), lambda offset, limit: b"")
