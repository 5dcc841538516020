"""What an operator takes out of the console: copies in the clipboard, and files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from textual.app import App

from tui.actions.base import Question
from tui.columns.base import Draw
from tui.columns.export import FORMATS, Sheet, csv_line, json_line, tab_separated
from tui.drawing.draw import count_of
from tui.operator.keep import Keep, KeepError
from tui.screens.base import ConsoleScreen
from tui.source import Source
from tui.tty.clipboard import osc52
from tui.tty.terminal import Terminal
from tui.widgets.table import Table

_EXPORT_ROWS = 500
"""Rows written before something else may run."""


class TakingAway(App[int], inherit_bindings=False):
    """Over what the console itself has."""

    source: Source
    terminal: Terminal
    keep: Keep

    # What the console has.

    def say(self, text: str, role: str = "text") -> None:
        raise NotImplementedError

    def ask(self, question: Question, then: Callable[[str], None]) -> None:
        raise NotImplementedError

    def fresh_drawing(self) -> Draw:
        raise NotImplementedError

    def start(self, group: str, work: Coroutine[Any, Any, None]) -> None:
        raise NotImplementedError

    @property
    def view_name(self) -> str:
        raise NotImplementedError

    def table(self) -> Table[Any] | None:
        screen = self.screen
        return screen.main_table() if isinstance(screen, ConsoleScreen) else None

    # Copies.

    def send(self, sequence: str) -> None:
        """Write an escape sequence to the terminal that moves and shows nothing."""
        if self._driver is not None:
            self._driver.write(sequence)
            self._driver.flush()

    def action_copy_cell(self) -> None:
        """Copies the id of the row under the cursor, or of what the screen is about."""
        table = self.table()
        key = table.cursor_key if table is not None else str(getattr(self.screen, "key", ""))
        if key:
            self.copy(key, key)
        else:
            self.say("There is nothing to copy here.", "warn")

    def action_copy_rows(self) -> None:
        table = self.table()
        keys = table.chosen() if table is not None else []
        if table is None or not keys:
            self.say("There are no rows to copy here.", "warn")
            return
        places = [at for key in keys if (at := table.listing.position(key)) is not None]
        rows = [row for at in places if (row := table.listing.row(at)) is not None]
        what = "1 row" if len(rows) == 1 else f"{count_of(len(rows))} rows"
        self.copy(tab_separated(self._sheet(table), rows), what)

    def copy(self, text: str, what: str) -> None:
        """Into the terminal's clipboard, or into a file where it has none or the text is too long."""
        sequence = osc52(text, self.terminal.multiplexer) if self.terminal.clipboard else ""
        if sequence:
            self.send(sequence)
            self.say(f"Copied {what}.", "ok")
            return
        why = "too long for a clipboard" if self.terminal.clipboard else "this terminal has no clipboard"
        try:
            path = self.keep.copy(text)
        except KeepError as error:
            self.say(f"{error}", "bad")
        else:
            self.say(f"{what} in {path}: {why}.", "ok")

    # Exports.

    def action_export(self) -> None:
        """Asks for a path; what it ends in says the format."""
        question = Question(
            "Export what is shown",
            "The end of the name says what is written: .csv, .json or .svg (the screen).",
            f"{self.view_name}.csv",
            "An existing file is not written over.",
            _wrong_path,
        )
        self.ask(question, lambda answer: self.export(Path(answer).expanduser()))

    def export(self, path: Path) -> None:
        if path.suffix == ".svg":
            # When the dialog is gone.
            self.call_after_refresh(self._export_screen, path)
            return
        table = self.table()
        if table is None:
            self.say("There is no table here; .svg exports the screen.", "warn")
            return
        rows = list(table.listing.items())
        self.start("export", self._export_rows(path, self._sheet(table), rows))

    def _export_screen(self, path: Path) -> None:
        self._exported(path, iter([self.export_screenshot(title=f"cortex {self.source.name}")]), "the screen")

    async def _export_rows(self, path: Path, sheet: Sheet, rows: Sequence[tuple[str, Any]]) -> None:
        as_json = path.suffix == ".json"
        lines = [] if as_json else [csv_line(sheet.titles)]
        for at, (key, row) in enumerate(rows):
            lines.append(json_line(sheet.record(key, row)) if as_json else csv_line(sheet.cells(row)))
            if at % _EXPORT_ROWS == _EXPORT_ROWS - 1:
                await asyncio.sleep(0)
        if as_json:
            lines = ["[\n", ",\n".join(lines), "\n]\n"]
        self._exported(path, iter(lines), f"{count_of(len(rows))} rows")

    def _exported(self, path: Path, parts: Iterator[str], what: str) -> None:
        try:
            with open(path, "x", encoding="utf-8", errors="replace") as file:
                file.writelines(parts)
        except FileExistsError:
            self.say(f"{path} exists already and is left as it is; choose another name.", "warn")
        except OSError as error:
            self.say(f"{path} cannot be written: {error.strerror}. Choose another folder.", "bad")
        else:
            self.say(f"Wrote {what} to {path.absolute()}.", "ok")

    def _sheet(self, table: Table[Any]) -> Sheet:
        screen = self.screen
        draw = screen.drawing() if isinstance(screen, ConsoleScreen) and screen.past else self.fresh_drawing()
        return Sheet(table.spec, table.shown_columns(), draw)


def _wrong_path(answer: str) -> str:
    path = Path(answer).expanduser()
    if not answer or path.suffix[1:] not in FORMATS:
        return f"{answer or 'That'} does not end in .csv, .json or .svg. Give the file such a name."
    if path.exists():
        return f"{path} exists already. Choose another name."
    if not path.absolute().parent.is_dir():
        return f"There is no folder {path.absolute().parent}. Make it first, or choose another."
    return ""
