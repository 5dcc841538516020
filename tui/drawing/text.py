"""Foreign text made safe for a terminal, and cut to cells. Pure.

Names, commands, output and errors are data: whatever in them would move the cursor, change colours, reorder or
hide text is shown as visible text instead.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

from rich.cells import cell_len, split_text

Align = Literal["left", "right"]

_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # invisible
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"  # bidi, joiners, fillers
    "\ud800-\udfff\ue000-\uf8ff"  # surrogates, private use
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff\U000f0000-\U0010ffff"
    "]"
)
WORD_LIMIT = 300
_LONG_WORD = re.compile(rf"\S{{{WORD_LIMIT + 1},}}")
_UNSAFE_OR_WIDE = re.compile(_UNSAFE.pattern + "|[^\x00-\x7f]")


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return "^" + chr(code + 0x40)
    if code == 0x7F:
        return "^?"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def clean(text: str | bytes, *, ascii_only: bool = False) -> str:
    """The text with every control and invisible character as visible text: `^[` for escape, `\\u202e` for bidi.

    Bytes are read as UTF-8; those that are none show as `\\xff`. `ascii_only` spells out all but ASCII.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="backslashreplace")
    if text.isascii() and text.isprintable():
        return text
    if ascii_only:
        return _UNSAFE_OR_WIDE.sub(_visible, text)
    text = _UNSAFE.sub(_visible, text)
    if text and unicodedata.combining(text[0]):
        text = "\u25cc" + text
    return text


def width_of(text: str) -> int:
    """Width in terminal cells of cleaned text."""
    return len(text) if text.isascii() else cell_len(text)


def wrap(text: str, width: int) -> list[str]:
    """Cleaned text in pieces of at most `width` cells; words are not minded, so that a command can be copied."""
    pieces: list[str] = []
    piece, used = "", 0
    for character in text:
        size = width_of(character)
        if used + size > max(1, width):
            pieces.append(piece)
            piece, used = "", 0
        piece += character
        used += size
    return [*pieces, piece] if piece or not pieces else pieces


@lru_cache(maxsize=16_384)
def fit(text: str, width: int, align: Align = "left", ellipsis: str = "…") -> str:
    """Cleaned text cut or padded to exactly `width` cells; what was cut is marked by the ellipsis."""
    if width <= 0:
        return ""
    room = width - width_of(text)
    if room >= 0:
        return text + " " * room if align == "left" else " " * room + text
    if width <= len(ellipsis):
        return ellipsis[:width]
    kept, _ = split_text(text, width - len(ellipsis))
    # A wide character that does not fit leaves one cell, which split_text fills with a space.
    kept = kept + " " * (width - len(ellipsis) - width_of(kept))
    return kept + ellipsis


def shorten(text: str, limit: int) -> str:
    """A message of at most about `limit` characters, whose words are not longer than one can want to read.

    What is quoted in a message may be an argument of 100 KB, before what is said about it. Of what is too long
    begin and end are left.
    """
    text = _LONG_WORD.sub(lambda match: _ends(match.group(), WORD_LIMIT), text)
    return _ends(text, limit) if len(text) > limit else text


def _ends(text: str, limit: int) -> str:
    half = limit // 2
    return f"{text[:half]}…{text[len(text) - half :]}"


def skip_cells(text: str, cells: int) -> str:
    """What is right of the first `cells` cells; a wide character cut in the middle leaves a space."""
    if cells <= 0:
        return text
    if cells >= width_of(text):
        return ""
    return split_text(text, cells)[1]
