"""The escape key: a key that is typed right after it is one of its own, not one with alt. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from textual import constants, events

ESCAPE = "\x1b"
BEGINS = frozenset("[O]P_^X")
"""What follows an escape in what terminals send of themselves, and of keys that have a sequence."""


class Escapes:
    """Keeps an escape at the end of a read until it is known whether it was the key.

    A sequence, as one of alt and another key, comes in one read; two keys that one types come in two.
    """

    def __init__(self) -> None:
        self._until_s: float | None = None

    def split(self, text: str, now_s: float) -> Iterator[str | events.Key]:
        """`now_s` is monotonic."""
        if self._until_s is not None and text:
            self._until_s = None
            if text[0] in BEGINS and len(text) > 1:
                text = ESCAPE + text
            else:
                yield _key()
        plain = text.rstrip(ESCAPE)
        if plain:
            yield plain
        for _ in range(len(text) - len(plain) - 1):
            yield _key()
        if plain != text:
            self._until_s = now_s + constants.ESCAPE_DELAY

    def due(self, now_s: float) -> Iterator[events.Key]:
        """The key, once nothing came after it for so long."""
        if self._until_s is not None and now_s >= self._until_s:
            self._until_s = None
            yield _key()


def _key() -> events.Key:
    return events.Key("escape", ESCAPE)
