"""Regular expressions of users, matched in time linear in the text: RE2 never backtracks. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import re2

MAX_STATES = 1000  # of the compiled expression: what each character of a text may cost
_MEMORY_BYTES = 1 << 20
_LITERAL = "-_ /:,;@#=<>&%'\"~"


class RegexError(Exception):
    """Why this is no regular expression, in a few words."""


def searcher(body: str) -> Callable[[str], bool]:
    """Tells whether a text contains what `body` says, not minding case. Raises RegexError."""
    options: Any = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES
    try:
        compiled: Any = re2.compile(_bytes(body), options)
    except re2.error as error:
        raise RegexError(_words(error.args[0])) from None
    if compiled.programsize > MAX_STATES:
        raise RegexError("it repeats too much")
    search = compiled.search
    return lambda text: search(_bytes(text)) is not None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _words(said: bytes | str) -> str:
    words = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return "it repeats too much" if words.startswith(("pattern too large", "invalid repetition size")) else words


def surely(body: str) -> str:
    """A piece of text, in lower case, that every match of `body` contains; empty where none is seen at once.

    Only what stands before the first group, class or count is looked at.
    """
    if "|" in body or not body.isascii():
        return ""
    pieces, piece, at = [], "", 0
    while at < len(body) and body[at] not in "([{":
        char, after = body[at], body[at + 1 : at + 2]
        if char == "\\" and after.isalnum() and after not in "dDwWsSbB":
            break
        if (char.isalnum() or char in _LITERAL) and after not in ("*", "?", "{"):
            piece += char
        else:
            pieces.append(piece)
            piece = ""
        at += 2 if char == "\\" else 1
    return max([*pieces, piece], key=len).lower()
