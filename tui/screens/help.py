"""All keys of a place, out of the key table, and the filter grammar."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from textual.events import Resize
from textual.geometry import Size
from textual.widget import Widget

from tui.chrome import help_groups
from tui.drawing.draw import Cell, cell_width
from tui.drawing.text import fit
from tui.keyboard.keymap import bindings, reachable, shown_keys
from tui.keyboard.keys import Key
from tui.keyboard.keytable import PLACES
from tui.screens.dialog import Dialog
from tui.widgets.facts import Facts
from tui.widgets.lines import Lines

TWO_COLUMNS = 170
"""From this width of the screen on the groups stand in two columns."""
KEYS_WIDTH = 14
LABEL_WIDTH = 14
HEAD = KEYS_WIDTH + LABEL_WIDTH + 2
"""Cells left of what a key does."""
COLUMN = 82
DIALOG, DIALOG_SHARE, FRAME = 96, 0.96, 5
"""Most cells of the dialog, its share of the screen, and what its frame and the bar take."""

GRAMMAR: tuple[tuple[str, str], ...] = (
    ("web nightly", "both words, anywhere in the row"),
    ("!web", "not this word"),
    ("/^db-\\d+/", "a regular expression"),
    ("state=running", "a field; != ~ !~ too"),
    ("cpu>90 age<2h", "comparisons, with units"),
    ("a or (b !c)", "or, parentheses"),
)


def wrap_words(words: Sequence[str], width: int) -> list[str]:
    """The words in lines of at most `width` characters."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def side_by_side(left: Sequence[Cell], right: Sequence[Cell], width: int) -> list[Cell]:
    """Two columns, the right one `width` cells from the left edge."""
    lines: list[Cell] = []
    for at in range(max(len(left), len(right))):
        first = left[at] if at < len(left) else ()
        second = right[at] if at < len(right) else ()
        lines.append((*first, (" " * max(1, width - cell_width(first)), "text"), *second))
    return lines


class HelpScreen(Dialog[None]):
    BINDINGS = bindings("help")

    def __init__(self, place: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._place = place
        self._fields = fields

    def content(self) -> Iterable[Widget]:
        yield self.lines("title")
        yield Facts(self.drawing, self.palette, id="keys")

    def on_mount(self) -> None:
        self.query_one("#title", Lines).show((((f" Keys in {PLACES[self._place].title}", "accent"),),))
        self.query_one("#keys").focus()
        self._fill(self.app.size)  # before the first frame, which else would be of another shape

    def on_resize(self, event: Resize) -> None:
        self._fill(event.size)

    def _fill(self, size: Size) -> None:
        wide = size.width >= TWO_COLUMNS
        room = (COLUMN if wide else min(DIALOG, int(size.width * DIALOG_SHARE)) - FRAME) - HEAD
        self.set_class(wide, "wide")
        groups = [
            self._group(place, keys, room)
            for place, keys in help_groups(self._place, reachable(self._place, self.console.key_table))
        ]
        last = self._filter_lines(60 if wide else max(20, size.width - 40))
        if wide:
            left = [line for group in groups[:-1] for line in group]
            lines = side_by_side(left, [*groups[-1], *last], COLUMN)
        else:
            lines = [line for group in [*groups, last] for line in group]
        self.query_one("#keys", Facts).show(lines)

    def _group(self, place: str, keys: Sequence[Key], room: int) -> list[Cell]:
        mark = self.console.glyphs.mark
        lines: list[Cell] = [(), ((f" {PLACES[place].title}", "title"),)]
        for key in keys:
            head = (mark if key.changes else " ", "accent")
            names = (f" {fit(shown_keys(key), KEYS_WIDTH)}", "key")
            first, *rest = textwrap.wrap(key.help, max(20, room - 1)) or [""]
            lines.append((head, names, (fit(key.label, LABEL_WIDTH), "strong"), (first, "text")))
            lines += [((" " * HEAD, "text"), (piece, "text")) for piece in rest]
        return lines

    def _filter_lines(self, width: int) -> list[Cell]:
        lines: list[Cell] = [(), ((" Filter", "title"),)]
        lines += [((f"  {fit(example, KEYS_WIDTH)}", "key"), (said, "text")) for example, said in GRAMMAR]
        for at, line in enumerate(wrap_words(self._fields, width) if self._fields else []):
            label = "fields here" if at == 0 else ""
            lines.append(((f"  {fit(label, KEYS_WIDTH)}", "key"), (line, "text")))
        mark = self.console.glyphs.mark
        return [*lines, (), ((mark, "accent"), (" changes the cluster, after a preview", "dim"))]

    def action_give_up(self) -> None:
        self.dismiss(None)
