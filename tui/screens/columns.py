"""Which columns a table shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from textual.widget import Widget

from tui.columns.base import Column, Draw
from tui.drawing.draw import Cell
from tui.drawing.text import fit
from tui.keyboard.keymap import bindings, key_of
from tui.operator.arrange import Columns
from tui.screens.dialog import Dialog
from tui.widgets.facts import Facts
from tui.widgets.lines import Lines


class ColumnsScreen(Dialog[Columns | None]):
    """Returns what was chosen, or None."""

    BINDINGS = bindings("columns")

    def __init__(self, columns: Sequence[Column[Any]], chosen: Columns, draw: Draw) -> None:
        super().__init__()
        self._draw = draw
        self._columns = [column for column in columns if column.named(draw)]
        self._chosen = chosen
        self._at = 0

    def content(self) -> Iterable[Widget]:
        yield self.lines("title")
        listed = Facts(self.drawing, self.palette, id="columns")
        listed.can_focus = False
        yield listed

    def on_mount(self) -> None:
        self.query_one("#title").styles.height = 1
        self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        table = self.console.key_table
        keys = ", ".join(
            f"{key_of('columns', name, table)} {said}"
            for name, said in (
                ("show_or_hide", "shows or hides"),
                ("accept", "keeps it"),
                ("give_up", "leaves it as it was"),
            )
        )
        self.query_one("#title", Lines).show((((" Columns   ", "accent"), (keys, "dim")),))
        listed = self.query_one("#columns", Facts)
        height = max(1, min(len(self._columns), self.size.height - 4))
        listed.styles.height = height
        listed.show([self._line(at, column) for at, column in enumerate(self._columns)])
        listed.scroll_lines_to(max(0, self._at - height // 2))

    def _line(self, at: int, column: Column[Any]) -> Cell:
        glyphs = self.console.glyphs
        here = at == self._at
        shown = column.id not in self._chosen.hidden
        always = column.id in self._chosen.pinned or not column.rank
        said = "" if not shown else "always" if always else "where there is room"
        return (
            (f"{glyphs.cursor if here else ' '} ", "accent"),
            ("[x] " if shown else "[ ] ", "key"),
            (fit(column.named(self._draw), 16), "strong" if here else "text"),
            (said, "dim"),
        )

    def action_down(self) -> None:
        self._move(self._at + 1)

    def action_up(self) -> None:
        self._move(self._at - 1)

    def action_top(self) -> None:
        self._move(0)

    def action_bottom(self) -> None:
        self._move(len(self._columns) - 1)

    def _move(self, at: int) -> None:
        self._at = max(0, min(at, len(self._columns) - 1))
        self._show()

    def action_show_or_hide(self) -> None:
        """Hide it; or show it, and then always. One column stays."""
        name = self._columns[self._at].id
        shown = [column for column in self._columns if column.id not in self._chosen.hidden]
        if name in self._chosen.hidden or len(shown) > 1:
            self._chosen = self._chosen.toggled(name)
            self._show()

    def action_usual(self) -> None:
        self._chosen = Columns()
        self._show()

    def action_accept(self) -> None:
        self.dismiss(self._chosen)

    def action_give_up(self) -> None:
        self.dismiss(None)
