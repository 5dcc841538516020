"""Regular expressions of users, matched in time linear in the text: RE2 never backtracks. Pure."""

from __future__ import annotations

from typing import Any

import re2

from node.payloads.reading import BadPayload

PATTERN_CHARS = 500
STATES_LIMIT = 1000  # of the compiled expression: what each byte of a text may cost
_MEMORY_BYTES = 1 << 20


def compiled(field: str, pattern: str, *, case_sensitive: bool = True, of_lines: bool = False) -> Any:
    """An expression for bytes, used as one of `re`; `of_lines`: ^ and $ are the ends of each line of a text.

    Raises BadPayload, which names `field`.
    """
    if len(pattern) > PATTERN_CHARS:
        raise BadPayload(f"{field} has {len(pattern)} characters, the limit is {PATTERN_CHARS}.")
    options: Any = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES
    options.case_sensitive = case_sensitive
    try:
        found: Any = re2.compile((b"(?m)" if of_lines else b"") + pattern.encode("utf-8", "replace"), options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise BadPayload(f"{field} is no regular expression: {words}.") from None
    if found.programsize > STATES_LIMIT:
        raise BadPayload(f"{field} repeats too much.")
    return found


def names(expression: Any) -> list[str]:
    """Its named groups, sorted."""
    return sorted(name.decode() for name in expression.groupindex)
