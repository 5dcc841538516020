"""All keys of a place, out of the key table, and the filter grammar."""

from __future__ import annotations

from collections.abc import Iterable

from textual.widget import Widget

from tui.chrome import help_groups
from tui.draw import Cell
from tui.keymap import PLACES, bindings, reachable, shown_keys
from tui.screens.dialog import Dialog
from tui.text import fit
from tui.widgets.facts import Facts
from tui.widgets.lines import Lines

GRAMMAR: tuple[tuple[str, str], ...] = (
    ("web nightly", "both words, anywhere in the row"),
    ("!web", "not this word"),
    ("/^db-\\d+/", "a regular expression"),
    ("state=running", "a field; != ~ !~ too"),
    ("cpu>90 age<2h", "comparisons"),
    ("a or (b !c)", "or, parentheses"),
)


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
        self.query_one("#keys", Facts).show(self._lines())
        self.query_one("#keys").focus()

    def _lines(self) -> list[Cell]:
        mark_glyph = self.console.glyphs.mark
        lines: list[Cell] = []
        for place, keys in help_groups(self._place, reachable(self._place)):
            lines += [(), ((f" {PLACES[place].title}", "title"),)]
            for key in keys:
                mark = (mark_glyph if key.changes else " ", "accent")
                names = (f" {fit(shown_keys(key), 14)}", "key")
                lines.append((mark, names, (fit(key.label, 14), "strong"), (key.help, "text")))
        lines += [(), ((mark_glyph, "accent"), (" changes the cluster, after a preview", "dim"))]
        lines += [(), ((" Filter", "title"),)]
        lines += [((f"  {fit(example, 14)}", "key"), (said, "text")) for example, said in GRAMMAR]
        if self._fields:
            lines.append((("  fields here   ", "key"), (" ".join(self._fields), "text")))
        return lines

    def action_give_up(self) -> None:
        self.dismiss(None)
