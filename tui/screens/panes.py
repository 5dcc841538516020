"""Detail screens: a headline over panes, side by side where there is room, one at a time where there is not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from tui.drawing.draw import Cell, Span
from tui.keyboard.keymap import key_of
from tui.screens.base import ConsoleScreen
from tui.widgets.lines import Lines
from tui.widgets.output import OutputPane
from tui.widgets.table import Table

SPLIT_WIDTH = 140
"""From this width on all panes are shown at once."""


class PanesScreen(ConsoleScreen):
    """Subclasses name their panes, (id, title, name of the action): the last one stands right, the others left."""

    panes: ClassVar[tuple[tuple[str, str, str], ...]]

    def __init__(self, key: str, pane: str) -> None:
        super().__init__()
        self.key = key
        self.pane = pane

    def content(self) -> Iterable[Widget]:
        ellipsis = self.console.glyphs.ellipsis
        yield Lines(self.palette, id="headline", ellipsis=ellipsis)
        yield Lines(self.palette, id="tabs", ellipsis=ellipsis)
        widgets = self.pane_widgets()
        yield Horizontal(Vertical(*widgets[:-1], id="left"), widgets[-1], id="panes")

    def again(self) -> PanesScreen:
        return type(self)(self.key, self.pane)

    def pane_widgets(self) -> list[Widget]:
        """One widget per pane, in the order of `panes`, each with the pane's id."""
        raise NotImplementedError

    def sync_headline(self) -> list[Cell]:
        raise NotImplementedError

    def on_mount(self) -> None:
        self.arrange_panes()
        self.show_pane(self.pane)

    def on_resize(self) -> None:
        self.arrange_panes()

    @property
    def split(self) -> bool:
        return self.size.width >= SPLIT_WIDTH

    def arrange_panes(self) -> None:
        """Decide what is visible: all panes, or the chosen one."""
        split = self.split
        self.set_class(split, "split")
        right = self.panes[-1][0]
        for name, _title, _action in self.panes:
            self.query_one(f"#{name}").display = split or name == self.pane
        self.query_one("#left").display = split or self.pane != right
        self.query_one("#tabs").display = not split

    def show_pane(self, name: str) -> None:
        self.pane = name
        self.arrange_panes()
        self.query_one(f"#{name}").focus()
        self.sync()

    def action_pane(self, name: str) -> None:
        self.show_pane(name)

    def action_next_pane(self) -> None:
        names = [name for name, _, _ in self.panes]
        self.show_pane(names[(names.index(self.pane) + 1) % len(names)])

    def on_descendant_focus(self) -> None:
        # Where one pane is shown at a time it is chosen by key, and the focus follows it.
        focused = self.focused
        if self.split and focused is not None and focused.id in {name for name, _, _ in self.panes}:
            self.pane = str(focused.id)

    def main_table(self) -> Table[Any] | None:
        widget = self.query_one(f"#{self.pane}")
        return widget if isinstance(widget, Table) else None

    def searched(self) -> Table[Any] | OutputPane | None:
        widget = self.query_one(f"#{self.pane}")
        return widget if isinstance(widget, OutputPane) else self.main_table()

    def sync_content(self) -> None:
        headline = self.query_one("#headline", Lines)
        headline.show(self.sync_headline())
        tabs: list[Span] = []
        for name, title, action in self.panes:
            here = name == self.pane
            key = key_of(self.place, action, self.console.key_table)
            tabs += [(self.console.glyphs.cursor if here else " ", "accent"), (key, "key")]
            tabs.append((f" {title}  ", "strong" if here else "dim"))
        self.query_one("#tabs", Lines).show((tuple(tabs),))
