"""The filter's tree: what is printed reads back to itself, and many rows at once are judged as each alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.lists.filter import Field, parse
from tui.lists.grammar import All, Compare, Either, FilterError, Not, Regex, Tree, Word, read, show
from tui.lists.regex import searcher, surely

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
ODD = st.sampled_from(
    ["or", "AND", "not", "!a", "a=b", "a b", '"', "\\", "/x", "(", ")", "=", "a!", "~", "a<2", " "]
)
NAMES = st.sampled_from(["state", "cpu", "gpu%"])
OPS = st.sampled_from(["=", "!=", "~", "!~", "<", "<=", ">", ">="])
BODIES = TEXT.map(lambda text: text.replace("\\", "").replace("/", r"\/"))


def _joined(parts: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    several = st.lists(parts, min_size=2, max_size=4).map(tuple)
    return st.one_of(parts.map(Not), several.map(All), several.map(Either))


LEAVES: st.SearchStrategy[Tree] = st.one_of(
    (TEXT | ODD).map(Word), BODIES.map(Regex), st.builds(Compare, NAMES, OPS, TEXT | ODD | st.just(""))
)
TREES = st.recursive(LEAVES, _joined, max_leaves=12)


@given(TREES)
@settings(max_examples=400, deadline=None)
def test_what_is_printed_reads_back(tree: Tree) -> None:
    assert read(show(tree)) == tree


@given(st.text(max_size=40) | st.text('ab=!~<>/"\\() or', max_size=24))
@settings(max_examples=400, deadline=None)
def test_any_text_is_read_or_refused_with_a_column(source: str) -> None:
    try:
        tree = read(source)
    except FilterError as error:
        tree, column = None, error.column
    else:
        column = 0
    assert 0 <= column <= len(source)
    if tree is not None:
        assert read(show(tree)) == tree


PIECES = st.sampled_from(["a", "b", "ab", "xa1", "Ab-"])
PARTS = st.sampled_from(["a", "b", "-", ".", "x*", "a+", "b?", r"\d", "(a|b)", "[^b]", "a{2}", r"\x61", "^"])
BODY = st.lists(
    st.sampled_from(["a", "b", "-", ".", "x*", "a+", "b?", r"\d", "(a|b)", "[^b]", "a{2}", r"\x61", "^"]),
    max_size=5,
)
FILTERS = st.recursive(
    st.one_of(PIECES.map(Word), BODY.map("".join).map(Regex), st.builds(Compare, st.just("length"), OPS.filter(
        lambda op: "~" not in op), st.sampled_from("0123"))),
    _joined,
    max_leaves=8,
)  # fmt: skip


@given(FILTERS, st.lists(st.text("abx1-", max_size=6), unique=True, max_size=30))
@settings(max_examples=300, deadline=None)
def test_many_at_once_are_judged_as_each_alone(tree: Tree, rows: list[str]) -> None:
    found = parse(show(tree), str.lower, {"length": Field("length", lambda row: len(row), numeric=True)})
    assert found is not None
    assert list(found.select(rows)) == [row for row in rows if found.matches(row)]


@given(BODY.map("".join), st.text("abx1-", max_size=8))
@settings(max_examples=400, deadline=None)
def test_what_is_surely_there_is_in_every_match(body: str, text: str) -> None:
    if searcher(body)(text):
        assert surely(body) in text


@pytest.mark.parametrize(
    ("body", "piece"),
    [
        (r"^encode-\d+7$", "encode-"),
        ("Web", "web"),
        ("ab*", "a"),
        ("ab+c", "ab"),
        ("a|b", ""),
        ("(?i)abc", ""),
        ("[^)abc]x", ""),
        ("a{2,3}b", ""),
        (r"x\x41", "x"),
        (r"\pNabc", ""),
    ],
)
def test_what_is_surely_there(body: str, piece: str) -> None:
    assert surely(body) == piece
