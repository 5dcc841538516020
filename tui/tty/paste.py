"""Bracketed pastes, taken out of the input as a whole: Textual's parser looks at every character by itself."""

from __future__ import annotations

from collections.abc import Iterator

from textual import events

BEGIN, END = "\x1b[200~", "\x1b[201~"
MAX_PASTE_CHARS = 64 * 1024
"""Of one paste; what comes after it is dropped."""


class Pastes:
    """Splits what was typed into plain text and pastes, over any number of reads."""

    def __init__(self) -> None:
        self._held = ""
        self._pasted: list[str] | None = None
        self._size = 0

    def split(self, text: str) -> Iterator[str | events.Paste]:
        text = self._held + text
        self._held = ""
        while text:
            mark = BEGIN if self._pasted is None else END
            before, found, after = text.partition(mark)
            if not found:
                # Outside of a paste a lone escape is a key.
                kept = _tail(text, mark, 1 if self._pasted is not None else 2)
                before, self._held = text[: len(text) - kept], text[len(text) - kept :]
            if self._pasted is not None:
                self._keep(before)
            elif before:
                yield before
            if not found:
                return
            if self._pasted is None:
                self._pasted, self._size = [], 0
            else:
                yield events.Paste("".join(self._pasted).replace("\x00", ""))
                self._pasted = None
            text = after

    def _keep(self, text: str) -> None:
        assert self._pasted is not None
        # One more than is allowed, so that it shows that there was more.
        room = MAX_PASTE_CHARS + 1 - self._size
        if room > 0 and text:
            self._pasted.append(text[:room])
            self._size += min(len(text), room)


def _tail(text: str, mark: str, least: int) -> int:
    """Characters at the end that may be the beginning of the mark."""
    longest = min(len(text), len(mark) - 1)
    return next((size for size in range(longest, least - 1, -1) if text.endswith(mark[:size])), 0)
