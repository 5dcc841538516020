"""What every screen has: top bar, banner, content, filter line and footer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from tui.chrome import banner_line, footer_line, tabs_line, title_line
from tui.columns.base import Draw, TableSpec
from tui.drawing.draw import Cell, count_of, foreign
from tui.keyboard.keymap import Rebound
from tui.lists.grammar import FilterError
from tui.lists.rows import Rows
from tui.messages import CommandClosed, CommandGiven, CommandTyped, FilterChanged, PasteShortened, SortAsked
from tui.operator.themes import Palette
from tui.shell import Shell
from tui.store.once import OnceEach
from tui.store.silence import silent as silent_nodes
from tui.widgets.commandbar import CommandBar
from tui.widgets.facts import Facts
from tui.widgets.filterbar import FilterBar
from tui.widgets.lines import Lines
from tui.widgets.output import OutputPane
from tui.widgets.table import Table


class ConsoleScreen(Rebound, Screen[None]):
    """A full screen of the console. Subclasses say their place in the key table and give the content."""

    place: ClassVar[str]
    shows_causes: ClassVar[bool] = False
    """Whether the causes of dead letters should be up to date while it is shown."""
    ALLOW_SELECT = False
    AUTO_FOCUS = None
    past: Shell | None = None
    """The console as of a past moment, where the screen shows that."""
    _focused_before: Widget | None = None

    def __init__(self) -> None:
        super().__init__()
        self._once = OnceEach()

    @property
    def console(self) -> Shell:
        return self.past or cast(Shell, self.app)

    def drawing(self) -> Draw:
        return self.console.drawing()

    def palette(self) -> Palette:
        return self.console.palette

    def compose(self) -> ComposeResult:
        glyphs = self.console.glyphs
        yield Lines(self.palette, id="top", ellipsis=glyphs.ellipsis)
        yield Lines(self.palette, id="banner", ellipsis=glyphs.ellipsis)
        yield from self.content()
        yield FilterBar(id="filter")
        yield CommandBar(self.console.commands.history, self.console.commands.complete, id="commandbar")
        if self.past is not None:
            yield Lines(self.palette, id="scrub", ellipsis=glyphs.ellipsis)
            self.add_class("past")
        yield Lines(self.palette, id="foot", ellipsis=glyphs.ellipsis)

    def content(self) -> Iterable[Widget]:
        """The widgets between banner and footer."""
        raise NotImplementedError

    def table(self, spec: TableSpec[Any], rows: Rows[Any], **options: Any) -> Table[Any]:
        return Table(spec, rows, self.drawing, self.palette, **options)

    def main_table(self) -> Table[Any] | None:
        """The table that filter, sort and marks concern just now."""
        return None

    def searched(self) -> Table[Any] | OutputPane | None:
        """What `/` filters or searches just now."""
        return self.main_table()

    def focus_rows(self) -> None:
        """Put the focus back where rows are walked, after the filter was asked for."""
        if (searched := self.searched()) is not None:
            searched.focus()

    def undo_target(self) -> str | None:
        """Id of the operation that `u` is about here; None: the last one that this console began."""
        return None

    def stands_still(self) -> bool:
        """Whether only the view, the second and keys change what it shows."""
        return False

    def preparing(self) -> Iterator[None]:
        """After samples came: make what a sync would have to, in parts; between them anything may happen."""
        return iter(())

    def sync(self) -> None:
        """Show what the store holds now. Called ten times a second at most, and only while the screen is shown."""
        if not self.is_mounted or self._pruning or not self.children:
            # A tick may come while the console closes, when there is nothing left to show things in.
            return
        self.console.arrange(self)
        self.sync_content()
        self.sync_chrome()

    def sync_content(self) -> None:
        raise NotImplementedError

    def sync_chrome(self) -> None:
        if not self.is_mounted:
            return
        draw = self.drawing()
        width = self.size.width
        top = self.query_one("#top", Lines)
        # Of the link, the leader and the cluster's name there is no past.
        live = cast(Shell, self.app).drawing()
        if self.past is not None:
            self.query_one("#scrub", Lines).show((self.past.scrub_line(width),))
        top.show((self._title(live, width), self._tabs(draw, width)))
        banner = self.query_one("#banner", Lines)
        line = banner_line(live)
        if banner.display != (line is not None):
            banner.display = line is not None
        banner.show(() if line is None else (line,))
        self.query_one("#foot", Lines).show((self._footer(draw, width),))

    # Each line is made of what it shows: ten times a second, and with each key, most of it is as it was.

    def _title(self, live: Draw, width: int) -> Cell:
        console, view, link = self.console, live.view, live.view.link
        name, notes, role = console.source.name, console.title_notes(), console.name_role()
        silent = int(link.silence_s(live.now_s)) if link.lost(live.now_s) else -1
        told = (view.leader, view.term, view.index, link.ever, silent, live.glyphs)
        return self._once.line(
            "title",
            (name, notes, role, console.read_only, console.moment, width, told, console.key_table),
            lambda: title_line(
                name,
                live,
                read_only=console.read_only,
                width=width,
                moment=console.moment,
                role=role,
                notes=notes,
            ),
        )

    def _tabs(self, draw: Draw, width: int) -> Cell:
        console, right = self.console, self.headline()
        view = draw.view
        told = (view.version, view.live_count(), view.letters.index, silent_nodes(view, draw.now_s), draw.glyphs)
        return self._once.line(
            "tabs",
            (console.view_name, right, width, told, console.key_table),
            lambda: tabs_line(console.view_name, draw, right=right, width=width, table=console.key_table),
        )

    def _footer(self, draw: Draw, width: int) -> Cell:
        console, pending = self.console, self.console.undo_hint()
        note, read_only, table = console.note, console.read_only, console.key_table
        past = self.past is not None
        rows, finds = not isinstance(self.focused, Facts | OutputPane), self.searched() is not None
        return self._once.line(
            "footer",
            (note, read_only, width, pending, past, draw.glyphs, table, rows, finds),
            lambda: footer_line(
                self.place,
                draw,
                note=note,
                read_only=read_only,
                width=width,
                pending=pending,
                table=table,
                past=past,
                rows=rows,
                finds=finds,
            ),
        )

    def headline(self) -> Cell:
        """Right end of the second line: filter, marks and how many rows."""
        glyphs, key = self.console.glyphs, self.drawing().word("app", "filter")
        table = self.searched()
        if isinstance(table, OutputPane):
            found: Cell = ((key, "key"), *foreign(table.filter_text, "accent", glyphs))
            return found if table.filter_text else ()
        if table is None:
            return ()
        count = len(table.listing)
        parts: list[tuple[str, str]] = []
        if table.paused:
            parts += [("paused ", "warn"), (f"{count_of(len(table.listing.pending))} changed  ", "accent")]
        if table.in_range:
            parts += [("range ", "accent")]
        if table.marks:
            parts += [(f"{count_of(len(table.marks))} marked  ", "accent")]
        if table.filter_text:
            parts += [(key, "key"), *foreign(table.filter_text, "accent", glyphs)]
            parts += [(f"  {count_of(count)} of {count_of(table.listing.unfiltered)}", "text")]
        elif count:
            parts += [(f"{count_of(table.cursor + 1)}/{count_of(count)}", "dim")]
        return tuple(parts)

    def on_screen_resume(self) -> None:
        self.sync()

    def on_resize(self) -> None:
        self.sync_chrome()

    # Filter.

    def open_filter(self) -> None:
        searched = self.searched()
        if searched is not None:
            self.query_one(FilterBar).open(searched.filter_text)
        else:
            self.console.say("There is nothing to filter here.", "dim")

    def unbound(self, key: str) -> None:
        """A key that means nothing here."""
        self.console.say(f"{key} does nothing here; {self.drawing().word('app', 'help')} lists the keys.", "dim")

    @on(FilterChanged)
    def _filter_changed(self, message: FilterChanged) -> None:
        message.stop()
        searched = self.searched()
        if searched is None:
            return
        wrong = False
        try:
            searched.apply_filter(message.text)
        except FilterError as error:
            wrong = True
            self.console.say(f"{error}", "warn")
        else:
            self.console.clear_note()
        # What is wrong stays there to be put right.
        if message.cleared or (message.done and not wrong):
            self.query_one(FilterBar).close()
            self.focus_rows()
        self.sync_chrome()

    # Command line.

    def open_command(self, text: str = "") -> None:
        self._focused_before = self.focused
        self.query_one(CommandBar).open(text)

    @on(CommandTyped)
    def _command_typed(self, message: CommandTyped) -> None:
        message.stop()
        self.console.say(self.console.commands.hint(message.text), "dim")

    @on(CommandGiven)
    def _command_given(self, message: CommandGiven) -> None:
        self._command_closed(message)
        self.console.commands.run(message.text)
        self.sync_chrome()

    @on(CommandClosed)
    def _command_closed(self, message: Message) -> None:
        message.stop()
        self.query_one(CommandBar).close()
        self.console.clear_note()
        # At once: the line may press a key.
        self.set_focus(self._focused_before)
        self.sync_chrome()

    @on(PasteShortened)
    def _shortened(self, message: PasteShortened) -> None:
        message.stop()
        self.console.say(message.text, "warn")

    def on_paste(self, event: events.Paste) -> None:
        """It came to no line."""
        event.stop()
        word = self.drawing().word
        self.console.say(
            f"Nothing takes a paste here: {word('app', 'filter')} and {word('app', 'command')} open a line.", "warn"
        )

    @on(SortAsked)
    def _sort_asked(self, message: SortAsked) -> None:
        message.stop()
        if isinstance(message.table, Table):
            self.console.choose_sort(message.table)

    def action_follow(self) -> None:
        """Put the cursor on the first row and keep it there."""
        table = self.main_table()
        if table is not None:
            table.action_top()

    def again(self) -> ConsoleScreen | None:
        """Another screen of the same object; None of a view."""
        key = getattr(self, "key", "")
        return cast(Any, type(self))(key) if key else None

    def moment_changed(self) -> None:
        """Another past moment is shown: ask anew for what is not in the store."""
        load = getattr(self, "load", None)
        if load is not None and self.is_mounted:
            load()

    def step_back(self) -> bool:
        """Undo one thing on the way back: marks, then the filter. False when there was none."""
        searched = self.searched()
        if isinstance(searched, Table) and searched.clear_marks():
            return True
        if searched is not None and searched.filter_text:
            searched.apply_filter("")
            return True
        return False
