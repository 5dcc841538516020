"""Screens of facts and a table: one above the other, or side by side where there is room."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual.containers import Container
from textual.widget import Widget

from tui.drawing.draw import Cell
from tui.screens.base import ConsoleScreen
from tui.screens.panes import SPLIT_WIDTH
from tui.widgets.facts import Facts
from tui.widgets.lines import Lines
from tui.widgets.table import Table


class TwofoldScreen(ConsoleScreen):
    """The focus is on one of the two, and says what the keys are about."""

    def content(self) -> Iterable[Widget]:
        yield Lines(self.palette, id="headline", ellipsis=self.console.glyphs.ellipsis)
        yield Container(
            Facts(self.drawing, self.palette, self.facts_title(), id="about"), self.members(), id="twofold"
        )

    def facts_title(self) -> str:
        raise NotImplementedError

    def members(self) -> Table[Any]:
        """The table, with the id `rows`."""
        raise NotImplementedError

    def sync_headline(self) -> list[Cell]:
        raise NotImplementedError

    def facts(self, width: int) -> list[Cell]:
        raise NotImplementedError

    def on_mount(self) -> None:
        self.query_one("#about").focus()

    def on_resize(self) -> None:
        self.set_class(self.size.width >= SPLIT_WIDTH, "split")
        super().on_resize()

    @property
    def at_members(self) -> bool:
        """Whether the focus is on the table."""
        return bool(self.query_one("#rows").has_focus)

    def main_table(self) -> Table[Any]:
        return self.query_one("#rows", Table)

    def sync_content(self) -> None:
        self.query_one("#headline", Lines).show(self.sync_headline())
        facts = self.query_one("#about", Facts)
        facts.show(self.facts(max(20, facts.size.width - 1)))
        self.main_table().sync()

    def action_next_pane(self) -> None:
        (self.query_one("#about") if self.at_members else self.query_one("#rows")).focus()
        self.sync()

    def on_descendant_focus(self) -> None:
        self.sync()
