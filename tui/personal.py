"""What of the console is the operator's own: theme, copies, exports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from textual.app import App
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widgets import Input

from tui.actions.base import Question
from tui.alerts import Alerts
from tui.arrange import Arrangement, Arrangements, Columns
from tui.chrome import VIEWS
from tui.clipboard import osc52, wrapped
from tui.columns.base import Draw
from tui.commanding import Commanded, Commands
from tui.draw import count_of
from tui.export import FORMATS, Sheet, csv_line, json_line, tab_separated
from tui.keep import Keep, KeepError
from tui.keymap import reachable, rebind
from tui.keys import Key
from tui.options import Option, actions_of
from tui.preferences import Preferences
from tui.screens.base import ConsoleScreen
from tui.screens.choose import ChooseScreen
from tui.screens.columns import ColumnsScreen
from tui.source import Source
from tui.terminal import Terminal
from tui.text import clean
from tui.theme_list import THEME_NOTES, THEMES
from tui.themes import Palette, WithoutColor, palette
from tui.view import ClusterView
from tui.widgets.table import Table

VIEW_PLACES = frozenset(place for place, _, _ in VIEWS)
_EXPORT_ROWS = 500
"""Rows written before something else may run."""


class Personal(App[int], inherit_bindings=False):
    """Over what the console itself has."""

    source: Source
    terminal: Terminal
    keep: Keep
    preferences: Preferences
    key_table: Sequence[Key]
    palette: Palette
    read_only: bool
    commands: Commands
    view: ClusterView
    clock: Callable[[], float]
    _to_say = ""
    _alerts: Alerts | None = None

    # What the console has.

    def say(self, text: str, role: str = "text") -> None:
        raise NotImplementedError

    def ask(self, question: Question, then: Callable[[str], None]) -> None:
        raise NotImplementedError

    def fresh_drawing(self) -> Draw:
        raise NotImplementedError

    def choose(self, title: str, options: Sequence[Option], current: str, then: Callable[[str], None]) -> None:
        raise NotImplementedError

    def start(self, group: str, work: Coroutine[Any, Any, None]) -> None:
        raise NotImplementedError

    @property
    def view_name(self) -> str:
        raise NotImplementedError

    @property
    def place(self) -> str:
        """Of the screen with the keys of the console that is on top, below all dialogs."""
        shown = [screen for screen in self.screen_stack if isinstance(screen, ConsoleScreen)]
        return shown[-1].place if shown else "app"

    # Theme.

    def use_preferences(self) -> None:
        rebind(self, self.key_table)
        self.set_class(self.terminal.ascii_only, "ascii")
        self.commands = Commands(cast(Commanded, self))
        for theme in THEMES.values():
            self.register_theme(theme)
        usual = "ansi" if self.terminal.few_colors else "light" if self.terminal.light else "dark"
        self.arrangements = Arrangements(self.keep)
        self._to_say = self.arrangements.problem
        self._arranged: set[str] = set()
        self._choices: dict[str, Any] = {}
        try:
            self._choices = self.keep.read(self.keep.choices)
        except KeepError as error:
            self._to_say = self._to_say or str(error)
        chosen = str(self._choices.get("theme") or self.preferences.theme)
        self.theme = THEMES.get(chosen, THEMES[usual]).name

    def on_mount(self) -> None:
        if self.preferences.bell or self.preferences.notify:
            self._alerts = Alerts(self.view, self.preferences.actor)
        if self._to_say:
            self.say(self._to_say, "warn")

    def restyle(self) -> None:
        self.palette = palette(self.theme_variables, no_color=self.terminal.no_color)
        for screen in [screen for stack in self._screen_stacks.values() for screen in stack]:
            for widget in screen.walk_children():
                if isinstance(widget, Table):
                    widget.redraw()
                else:
                    widget.refresh()
            screen.refresh(layout=False)

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = super().get_line_filters()
        return [WithoutColor()] if self.terminal.no_color else filters

    def theme_names(self) -> Sequence[str]:
        return list(THEMES)

    def use_theme(self, name: str) -> None:
        """Paint in it from now on, also after the next start."""
        self.theme = THEMES[name].name
        self._choices = {**self._choices, "theme": name}
        try:
            self.keep.write(self.keep.choices, self._choices)
        except KeepError as error:
            self.say(f"{error}", "warn")

    def action_theme(self) -> None:
        current = next((name for name, theme in THEMES.items() if theme.name == self.theme), "")
        options = [Option(name, name, note=THEME_NOTES[name]) for name in THEMES]
        self.choose("Theme", options, current, self.use_theme)

    # What there is to choose.

    def action_palette(self) -> None:
        screen = self.screen
        if not isinstance(screen, ConsoleScreen):
            return
        keys = {key.action: key for key in reachable(screen.place, self.key_table)}

        def press(chosen: str | None) -> None:
            if chosen is not None:
                self.perform(keys[chosen])

        options = actions_of(keys.values(), read_only=self.read_only)
        self.push_screen(ChooseScreen("What to do", options), press)

    def choose_sort(self, table: Table[Any]) -> None:
        options = [Option(column.id, column.title.strip() or column.id) for column in table.spec.sortable]

        def sort(chosen: str | None) -> None:
            if chosen is None:
                return
            column = table.spec.column(chosen)
            same = column is table.sort_column
            table.sort_by(column, not table.listing.descending if same else column.descending)

        self.push_screen(ChooseScreen("Sort by", options, table.sort_column.id), sort)

    def perform(self, key: Key) -> None:
        """Do what a key of the shown screen does, also one that has no key."""
        if key.keys:
            # Later, for a key that a screen sends does not come to the console's own bindings.
            self.call_later(self.simulate_key, key.keys[0])
        else:
            self.call_later(self.run_action, key.action, self if key.place == "app" else self.screen)

    def action_command(self) -> None:
        if isinstance(self.screen, ConsoleScreen):
            self.screen.open_command()

    # How views are arranged.

    def arrange(self, screen: Screen[None]) -> None:
        view, table = _view(screen)
        if table is None or view in self._arranged:
            return
        self._arranged.add(view)
        wanted = self.arrangements.of(view)
        if wanted is None:
            return
        if problem := table.rearrange(wanted):
            self.say(problem, "warn")
        elif wanted.filter:
            self.say("The filter of last time is on; esc clears it.", "dim")

    def looked_after(self) -> None:
        """What is to be done ten times a second at most."""
        self._remember()
        if self._alerts is not None and (text := self._alerts.news(self.clock())):
            if self.preferences.bell:
                self.send("\x07")
            if self.preferences.notify:
                self.send(
                    wrapped(f"\x1b]9;cortex {clean(self.source.name)}: {text}\x07", self.terminal.multiplexer)
                )

    def _remember(self) -> None:
        """Keep how the shown view is arranged now; not while a line is being written."""
        view, table = _view(self.screen)
        if table is None or view not in self._arranged or isinstance(self.focused, Input):
            return
        self.arrangements.remember(view, table.arrangement())
        self._keep_arrangements()

    def _keep_arrangements(self) -> None:
        try:
            self.arrangements.flush()
        except KeepError as error:
            self.say(f"{error}", "warn")

    def saved_names(self) -> Sequence[str]:
        return self.arrangements.names(_view(self.screen)[0])

    def save_view(self, name: str) -> None:
        view, table = _view(self.screen)
        if table is None:
            self.say("Only the numbered views can be saved.", "warn")
            return
        wrong = self.arrangements.save(view, name, table.arrangement())
        self.say(wrong or f"Saved as {name}; :load {name} brings it back.", "warn" if wrong else "ok")
        self._keep_arrangements()

    def load_view(self, name: str) -> None:
        view, table = _view(self.screen)
        if table is not None:
            problem = table.rearrange(self.arrangements.saved(view, name))
            self.say(problem or f"Arranged as {name}.", "warn" if problem else "dim")

    def forget_view(self, name: str) -> None:
        self.arrangements.forget(_view(self.screen)[0], name)
        self.say(f"{name} is forgotten.", "dim")
        self._keep_arrangements()

    def action_reset(self) -> None:
        table = self.table()
        if table is not None:
            table.rearrange(Arrangement())
            self.say("Arranged as usual.", "dim")

    def action_columns(self) -> None:
        table = self.table()
        if table is None:
            self.say("There is no table here.", "warn")
            return

        def chosen(columns: Columns | None) -> None:
            if columns is not None:
                table.show_columns(columns)

        self.push_screen(ColumnsScreen(table.spec.columns, table.columns), chosen)

    def action_pause(self) -> None:
        table = self.table()
        if table is None:
            self.say("There is no table here.", "warn")
            return
        table.pause(not table.paused)
        if isinstance(self.screen, ConsoleScreen):
            self.screen.sync_chrome()

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

    def table(self) -> Table[Any] | None:
        screen = self.screen
        return screen.main_table() if isinstance(screen, ConsoleScreen) else None

    def _sheet(self, table: Table[Any]) -> Sheet:
        return Sheet(table.spec, table.shown_columns(), self.fresh_drawing())


def _view(screen: Screen[Any]) -> tuple[str, Table[Any] | None]:
    """Name and table of a numbered view of now; no table elsewhere."""
    if not isinstance(screen, ConsoleScreen) or screen.place not in VIEW_PLACES or screen.past is not None:
        return "", None
    table = screen.main_table()
    if table is None:
        return screen.place, None
    return (screen.place if table.id == "rows" else f"{screen.place}/{table.id}"), table


def _wrong_path(answer: str) -> str:
    path = Path(answer).expanduser()
    if not answer or path.suffix[1:] not in FORMATS:
        return f"{answer or 'That'} does not end in .csv, .json or .svg. Give the file such a name."
    if path.exists():
        return f"{path} exists already. Choose another name."
    if not path.absolute().parent.is_dir():
        return f"There is no folder {path.absolute().parent}. Make it first, or choose another."
    return ""
