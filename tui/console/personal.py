"""What of the console is the operator's own: keys, theme, how views are arranged, what he is told of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from textual.filter import LineFilter
from textual.screen import Screen
from textual.widgets import Input

from tui.chrome import VIEWS
from tui.console.commanding import Commanded, Commands
from tui.console.playing import Playing
from tui.console.takeaway import TakingAway
from tui.drawing.text import clean
from tui.keyboard.keymap import reachable, rebind
from tui.keyboard.keys import Key
from tui.keyboard.options import Option, actions_of
from tui.keyboard.wording import KeyWord, shown, wording
from tui.operator.alerts import Alerts
from tui.operator.arrange import Arrangement, Arrangements, Columns
from tui.operator.keep import Keep, KeepError
from tui.operator.preferences import Preferences
from tui.operator.theme_list import THEME_NOTES, THEMES
from tui.operator.themes import Palette, WithoutColor, palette
from tui.screens.base import ConsoleScreen
from tui.screens.choose import ChooseScreen
from tui.screens.columns import ColumnsScreen
from tui.screens.preview import PreviewScreen
from tui.store.view import ClusterView
from tui.tty.clipboard import wrapped
from tui.widgets.table import Table

VIEW_PLACES = frozenset(place for place, _, _ in VIEWS)


class Personal(Playing, TakingAway, inherit_bindings=False):
    """Over what the console itself has."""

    preferences: Preferences
    key_table: Sequence[Key]
    word: KeyWord
    palette: Palette
    read_only: bool
    commands: Commands
    view: ClusterView
    clock: Callable[[], float]
    _to_say = ""
    _alerts: Alerts | None = None
    _led: tuple[ClusterView, str] | None = None
    """Who led last, of the cluster that is looked at."""

    # What the console has.

    def choose(self, title: str, options: Sequence[Option], current: str, then: Callable[[str], None]) -> None:
        raise NotImplementedError

    @property
    def place(self) -> str:
        """Of the screen with the keys of the console that is on top, below all dialogs."""
        shown = [screen for screen in self.screen_stack if isinstance(screen, ConsoleScreen)]
        return shown[-1].place if shown else "app"

    # Theme.

    def use_preferences(self) -> None:
        rebind(self, self.key_table)
        self.word = wording(self.key_table)
        self.use_player()
        self.set_class(self.terminal.ascii_only, "ascii")
        self.commands = Commands(cast(Commanded, self))
        for theme in THEMES.values():
            self.register_theme(theme)
        usual = "ansi" if self.terminal.few_colors else "light" if self.terminal.light else "dark"
        self._kept: dict[Keep, Arrangements] = {}
        self._arranged: set[tuple[Keep, str]] = set()
        self._to_say = self.arrangements.problem
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
        elif self.keep.choices is not None and not self._choices.get("welcomed"):
            self._welcome()

    def _welcome(self) -> None:
        """To who opens a console for the first time."""
        word = self.word
        views = f"{word('app', VIEWS[0][1])} to {word('app', VIEWS[-1][1])} are the views"
        opens, back = word("table", "open"), word("app", "step_back")
        leaves = f"{word('app', 'help')} helps, {word('app', 'quit')} leaves"
        self.say(f"Welcome: {views}, {opens} opens, {back} goes back, {leaves}.", "accent")
        self._choices = {**self._choices, "welcomed": True}
        # Where it cannot be kept it is said again.
        with suppress(KeepError):
            self.keep.write(self.keep.choices, self._choices)

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
        draw = table.draw()
        options = [Option(column.id, name) for column in table.spec.sortable if (name := column.named(draw))]

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

    async def _check_bindings(self, key: str, priority: bool = False) -> bool:
        done = await super()._check_bindings(key, priority)
        if not done and not priority and isinstance(self.screen, ConsoleScreen | PreviewScreen):
            # Textual asks the focus and all that it is in, and then the console: nobody had it.
            self.screen.unbound(shown(key))
        return done

    def action_command(self) -> None:
        if isinstance(self.screen, ConsoleScreen):
            self.screen.open_command()

    # How views are arranged.

    @property
    def arrangements(self) -> Arrangements:
        """Those of the cluster that is shown."""
        if self.keep not in self._kept:
            self._kept[self.keep] = Arrangements(self.keep)
        return self._kept[self.keep]

    def arrange(self, screen: Screen[None]) -> None:
        view, table = _view(screen)
        if table is None or (self.keep, view) in self._arranged:
            return
        self._arranged.add((self.keep, view))
        wanted = self.arrangements.of(view)
        if wanted is None:
            return
        if problem := table.rearrange(wanted):
            self.say(problem, "warn")
        elif wanted.filter:
            self.say(f"The filter of last time is on; {self.word('app', 'step_back')} clears it.", "dim")

    def looked_after(self) -> None:
        """What is to be done ten times a second at most."""
        self._remember()
        self._tell_leader()
        if self._alerts is not None and self._alerts.view is not self.view:
            # Another cluster is looked at.
            self._alerts.close()
            self._alerts = Alerts(self.view, self.preferences.actor)
        if self._alerts is not None and (text := self._alerts.news(self.clock())):
            if self.preferences.bell:
                self.send("\x07")
            if self.preferences.notify:
                self.send(
                    wrapped(f"\x1b]9;cortex {clean(self.source.name)}: {text}\x07", self.terminal.multiplexer)
                )

    def _tell_leader(self) -> None:
        """Say when another node leads than the one that did."""
        view, leader = self.view, self.view.leader
        before = self._led[1] if self._led is not None and self._led[0] is view else ""
        if leader:
            self._led = (view, leader)
        if leader and before and leader != before:
            self.say(f"{leader} leads now; {before} did before.")

    def _remember(self) -> None:
        """Keep how the shown view is arranged now; not while a line is being written."""
        view, table = _view(self.screen)
        if table is None or (self.keep, view) not in self._arranged or isinstance(self.focused, Input):
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

        self.push_screen(ColumnsScreen(table.spec.columns, table.columns, table.draw()), chosen)

    def action_pause(self) -> None:
        table = self.table()
        if table is None:
            self.say("There is no table here.", "warn")
            return
        table.pause(not table.paused)
        if isinstance(self.screen, ConsoleScreen):
            self.screen.sync_chrome()


def _view(screen: Screen[Any]) -> tuple[str, Table[Any] | None]:
    """Name and table of a numbered view of now; no table elsewhere, nor before it is built."""
    if (
        not isinstance(screen, ConsoleScreen)
        or not screen.is_mounted
        or screen.place not in VIEW_PLACES
        or screen.past is not None
    ):
        return "", None
    table = screen.main_table()
    if table is None:
        return screen.place, None
    return (screen.place if table.id == "rows" else f"{screen.place}/{table.id}"), table
