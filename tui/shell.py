"""What screens ask of the console that they are part of; the app implements it.

It stands between them and `tui.app`, which knows every screen: so no screen needs to know the app.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from textual.screen import Screen

from tui.actions.base import Stage
from tui.columns.base import Draw
from tui.commands import Actions
from tui.drawing.draw import Cell, Glyphs
from tui.keyboard.cmdline import History
from tui.keyboard.keys import Key
from tui.keyboard.options import Option
from tui.operator.themes import Palette
from tui.source import Moment
from tui.store.view import ClusterView
from tui.widgets.table import Table


class CommandLine(Protocol):
    """What stands behind the line `:`."""

    history: History

    def run(self, text: str) -> None:
        """Do what the line says, or say what is wrong with it."""
        ...

    def hint(self, text: str) -> str:
        """What the line would do, or how it may go on."""
        ...

    def complete(self, text: str) -> Sequence[str]:
        """Lines that it may become."""
        ...


class Shell(Stage, Protocol):
    """The console around a screen."""

    view: ClusterView
    glyphs: Glyphs
    palette: Palette
    actions: Actions
    key_table: Sequence[Key]
    """The keys as the operator has them."""
    commands: CommandLine
    typed_s: float
    """Monotonic second at which the key that is handled now was typed."""
    note: Cell | None
    """A sentence in the footer, while it is shown."""

    @property
    def view_name(self) -> str:
        """Place of the view below everything."""
        ...

    def drawing(self) -> Draw:
        """What drawing needs; the same object until the next tick, so that all cells agree."""
        ...

    @property
    def moment(self) -> str:
        """Which past moment is shown, in words; empty for now."""
        ...

    def scrub_line(self, width: int) -> Cell:
        """Where that lies among all that are kept."""
        ...

    def clear_note(self) -> None: ...

    def name_role(self) -> str:
        """Role that the cluster's name is drawn in."""
        ...

    def title_notes(self) -> Cell:
        """What the top line says of what waits, and of the line to the terminal."""
        ...

    def undo_hint(self) -> Cell:
        """What `u` would take back, while there is something."""
        ...

    def choose(self, title: str, options: Sequence[Option], current: str, then: Callable[[str], None]) -> None:
        """Show a list; `then` is told the value that was chosen, and not called when none was."""
        ...

    def choose_sort(self, table: Table[Any]) -> None: ...

    def arrange(self, screen: Screen[None]) -> None:
        """Arrange its table as it was left, when it is seen for the first time."""
        ...

    def open_screen(self, screen: Screen[None]) -> None:
        """Put a screen on top."""
        ...

    def open_task(self, key: str, pane: str = "facts") -> None: ...

    def open_node(self, key: str, pane: str = "facts") -> None: ...

    def open_workflow(self, key: str, task: str = "") -> None:
        """Show its DAG, with the cursor on the task with that id."""
        ...

    def open_why(self, task: str, at: Moment | None = None) -> None:
        """Why the task is placed where it is, or would have been as of `at`."""
        ...

    def open_operation(self, key: str) -> None: ...
