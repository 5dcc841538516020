"""What was pressed: an entry of a recording, and how a replay names it. Pure."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass

from tui.drawing.draw import EMPTY, Cell, Glyphs, cell_width, foreign
from tui.drawing.text import skip_cells, width_of

MAX_TEXT_CHARS = 4096
MAX_KEPT = 200
SHOWN_S = 5.0
"""Of the recording at its own speed: so long stands what was pressed."""
PAUSE_S = 3.0
"""After so long without a key the next one begins anew."""
LINE = "line"
"""Place of what is typed line by line."""


@dataclass(frozen=True)
class Pressed:
    """A key, so many times at once; with `text` a letter of a line, or a whole one."""

    place: str
    key: str
    count: int = 1
    text: bool = False

    def written(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def read(content: bytes) -> Pressed | None:
    """The entry; None when it is none that this version knows."""
    try:
        found = json.loads(content)
        place, key, count, text = (found[name] for name in ("place", "key", "count", "text"))
        return Pressed(str(place), str(key)[:MAX_TEXT_CHARS], int(count), bool(text))
    except (ValueError, KeyError, TypeError):
        return None


class LastPressed:
    """The last keys of a recording, as far as it was played."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Pressed]] = deque(maxlen=MAX_KEPT)

    def add(self, at_s: float, one: Pressed) -> None:
        """`at_s` is the second of the recording."""
        if self._kept and (at_s - self._kept[-1][0] > PAUSE_S or self._kept[-1][1].place != one.place):
            self._kept.clear()
        self._kept.append((at_s, one))

    def clear(self) -> None:
        self._kept.clear()

    def cell(self, position_s: float, speed: float, width: int, glyphs: Glyphs) -> Cell:
        """As `queue j×3 K`, the last that fits; empty when nothing was pressed for a while."""
        if not self._kept or position_s - self._kept[-1][0] > SHOWN_S * max(1.0, speed):
            return EMPTY
        head = foreign(f"{self._kept[-1][1].place} ", "dim", glyphs)
        said = foreign(self._words(glyphs), "strong", glyphs)
        room = max(1, width - cell_width(head))
        whole = "".join(text for text, _ in said)
        if width_of(whole) <= room:
            return (*head, *said)
        # What was pressed last is what matters.
        ellipsis = glyphs.ellipsis
        return (*head, (ellipsis + skip_cells(whole, width_of(whole) + width_of(ellipsis) - room), "strong"))

    def _words(self, glyphs: Glyphs) -> str:
        words: list[str] = []
        joins = False
        for _, one in self._kept:
            times = "x" if glyphs.ascii_only else "×"
            word = f"{one.key}{times}{one.count}" if one.count > 1 else one.key
            if one.text and joins:
                words[-1] += word
            else:
                words.append(word)
            joins = one.text and one.place != LINE
        return " ".join(words)
