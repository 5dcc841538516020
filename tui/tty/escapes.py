"""The escape key: a key that is typed right after it is one of its own, not one with alt. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from textual import constants, events

ESCAPE = "\x1b"
BEGINS = frozenset("[O]P_^X")
"""What follows an escape in what terminals send of themselves, and of keys that have a sequence."""


class Escapes:
    """Keeps an escape at the end of a read until it is known whether it was the key.

    A sequence, as one of alt and another key, comes in one read, or byte by byte over a serial line; two keys that
    one types come in two reads.
    """

    def __init__(self) -> None:
        self._held = ""
        self._until_s = 0.0

    def split(self, text: str, now_s: float) -> Iterator[str | events.Key]:
        """`now_s` is monotonic."""
        if not text:
            return
        held, self._held = self._held, ""
        if held == ESCAPE and text in BEGINS:
            # A key of its own, or the second byte of a sequence: the next one tells.
            self._hold(held + text, now_s)
            return
        if held == ESCAPE and text[0] not in BEGINS:
            yield _key()
        else:
            text = held + text
        plain = text.rstrip(ESCAPE)
        if plain:
            yield plain
        for _ in range(len(text) - len(plain) - 1):
            yield _key()
        if plain != text:
            self._hold(ESCAPE, now_s)

    def due(self, now_s: float) -> Iterator[str | events.Key]:
        """What was kept, once nothing came after it for so long."""
        if self._held and now_s >= self._until_s:
            typed, self._held = self._held[1:], ""
            yield _key()
            if typed:
                yield typed

    def _hold(self, text: str, now_s: float) -> None:
        self._held, self._until_s = text, now_s + constants.ESCAPE_DELAY


def _key() -> events.Key:
    return events.Key("escape", ESCAPE)
