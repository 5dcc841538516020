"""Foreign text shows as text, and fills exactly the cells that it is given."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.drawing.text import clean, fit, skip_cells, width_of


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("a\x1b[31mb", "a^[[31mb"),
        ("a\tb\nc\rd", "a^Ib^Jc^Md"),
        ("\x00\x7f", "^@^?"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edcb", "abc\\u202edcb"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("half\ud800", "half\\ud800"),
        ("日本語", "日本語"),
        ("\u0301x", "\u25cc\u0301x"),
        (b"caf\xc3\xa9 \xff", "café \\xff"),
    ],
)
def test_controls_become_visible(raw: str | bytes, shown: str) -> None:
    assert clean(raw) == shown


def test_ascii_only_spells_out_the_rest() -> None:
    assert clean("café 日本 \U0001f600", ascii_only=True) == "caf\\xe9 \\u65e5\\u672c \\U0001f600"


@given(st.text(max_size=40))
@settings(max_examples=200)
def test_nothing_that_moves_or_hides_is_left(text: str) -> None:
    shown = clean(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not any(
        unicodedata.bidirectional(character) in ("RLO", "LRO", "RLE", "LRE", "PDF") for character in shown
    )
    assert clean(text, ascii_only=True).isascii()


@given(
    st.text(max_size=30), st.integers(0, 40), st.sampled_from(["left", "right"]), st.sampled_from(["…", "~", ""])
)
@settings(max_examples=200)
def test_fit_is_exact(text: str, width: int, align: str, ellipsis: str) -> None:
    fitted = fit(clean(text), width, "left" if align == "left" else "right", ellipsis)
    assert cell_len(fitted) == width


@given(st.text(max_size=30), st.integers(0, 40))
@settings(max_examples=100)
def test_skipping_cells_leaves_the_rest(text: str, cells: int) -> None:
    shown = clean(text)
    assert width_of(skip_cells(shown, cells)) == max(0, width_of(shown) - cells)


def test_cut_says_so() -> None:
    assert fit("a long name", 6) == "a lon…"
    assert fit("日本語の名前", 6) == "日本 …"
