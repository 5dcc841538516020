"""Writes runs of cells to a terminal in as few bytes as can be. Pure.

A frame is shown at once, so its runs may come in any order: all of one style follow each other, and each is reached
from the one before by the shortest move. Styles are SGR codes without their frame, `1;38;2;0;0;0`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

MAX_CHANGES = 4096
"""Steps from one style to another that are kept."""

NEAR_LINES = 3
"""How far below the last run the next is looked for."""
NEAR_CELLS = 6

_OFF = {"1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "7": "27", "8": "28", "9": "29"} | {
    "fore": "39",
    "back": "49",
}
"""What takes an attribute or colour away."""


class Run(NamedTuple):
    """Cells of one style: line, first cell and the one behind the last, from 0."""

    code: str
    y: int
    x: int
    end: int
    text: str


class Pen:
    """Says of styles only what differs from the one before, and of places only how to get there."""

    def __init__(self, *, vertical_tabs: bool = True) -> None:
        """`vertical_tabs`: whether the terminal takes a vertical tab as a step down."""
        self._vertical_tabs = vertical_tabs
        self._changes: dict[tuple[str, str], str] = {}

    def draw(self, runs: Iterable[Run], width: int) -> str:
        """What writes the runs, wherever the cursor is and with no style before or after."""
        by_style: dict[str, list[Run]] = {}
        for run in runs:
            by_style.setdefault(run.code, []).append(run)
        sent: list[str] = []
        before, place = "", None
        for code, found in by_style.items():
            for run in _chained(found):
                sent.append(_move(place, run.y, run.x, self._vertical_tabs))
                if code != before:
                    sent.append(self._change(before, code))
                    before = code
                sent.append(run.text)
                # Behind the last cell of a line terminals differ, and behind characters of others' making, too.
                place = (run.y, run.end) if run.end < width and _plain(run.text) else None
        sent.append(self._change(before, ""))
        return "".join(sent)

    def _change(self, before: str, after: str) -> str:
        if before == after:
            return ""
        step = (before, after)
        change = self._changes.get(step)
        if change is None:
            if len(self._changes) >= MAX_CHANGES:
                self._changes.clear()
            change = self._changes[step] = _shortest_change(*step)
        return change


def _chained(runs: list[Run]) -> Iterable[Run]:
    """The runs, given from the top, one below the other as far as they stand in columns."""
    lines: dict[int, list[Run]] = {}
    for run in runs:
        lines.setdefault(run.y, []).append(run)
    for waiting in lines.values():
        while waiting:
            following: Run | None = waiting.pop(0)
            while following is not None:
                yield following
                following = _below(following, lines)


def _below(run: Run, lines: dict[int, list[Run]]) -> Run | None:
    """The next one under a run, which is taken; None when nothing stands near."""
    for y in range(run.y + 1, run.y + 1 + NEAR_LINES):
        for at, one in enumerate(lines.get(y, ())):
            if abs(one.x - run.x) <= NEAR_CELLS:
                return lines[y].pop(at)
            if one.x > run.x:
                break
    return None


def _plain(text: str) -> bool:
    """Whether every terminal gives each character one cell: ASCII, and lines and blocks of the console's own."""
    return text.isascii() or all(character < "\x7f" or "\u2500" <= character <= "\u259f" for character in text)


def _move(place: tuple[int, int] | None, y: int, x: int, vertical_tabs: bool) -> str:
    """The shortest way there; `place` None = from anywhere."""
    to = f"\x1b[{y + 1};{x + 1}H"
    if place is None:
        return to
    down, right = y - place[0], x - place[1]
    # Never a backspace alone: what stands in names and output may have some, and none of them acts.
    aside = "\b" * -right if down and -3 <= right < 0 else _steps(right, "C", "D")
    # Not line feeds: the system would make new lines of them.
    way = ("\v" * down if vertical_tabs and 0 < down < 4 else _steps(down, "B", "A")) + aside
    return min(way, to, f"\x1b[{x + 1}G" if not down else to, key=len)


def _steps(count: int, forth: str, back: str) -> str:
    if not count:
        return ""
    return f"\x1b[{abs(count) if abs(count) > 1 else ''}{forth if count > 0 else back}"


def _shortest_change(before: str, after: str) -> str:
    if not after:
        return "\x1b[0m"
    old, new = _parts(before), _parts(after)
    anew = f"\x1b[0;{after}m"
    gone = [kind for kind in old if kind not in new]
    if any(kind not in _OFF for kind in gone):
        return anew
    off = list(dict.fromkeys(_OFF[kind] for kind in gone))
    # Bold and dim go away together.
    on = [part for kind, part in new.items() if old.get(kind) != part or (kind in ("1", "2") and "22" in off)]
    return min(f"\x1b[{';'.join([*off, *on])}m" if off or on else "", anew, key=len)


def _parts(code: str) -> dict[str, str]:
    """A style's attributes and colours, each by what it replaces."""
    found: dict[str, str] = {}
    words = code.split(";") if code else []
    while words:
        word = words.pop(0)
        if word in ("38", "48"):
            count = 4 if words[:1] == ["2"] else 2
            found["fore" if word == "38" else "back"] = ";".join([word, *words[:count]])
            del words[:count]
        elif len(word) == 3 or (len(word) == 2 and word[0] == "4"):
            found["back"] = word
        elif len(word) == 2 and word[0] in "39":
            found["fore"] = word
        else:
            found[word] = word
    return found
