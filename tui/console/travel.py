"""Time travel: the views over a past moment instead of now, and the line that is scrubbed along."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

from textual.app import App
from textual.await_complete import AwaitComplete
from textual.screen import Screen
from textual.widget import AwaitMount

from cortex.v1 import types_pb2
from tui.actions.base import Question
from tui.columns.base import Draw
from tui.drawing.draw import Cell, age, clock, count_of
from tui.keyboard.wording import KeyWord
from tui.operator.arrange import Arrangements
from tui.past.loading import index_at, load_moment, load_rest, oldest_moment
from tui.past.moments import Moment, MomentError, clock_of, read_moment
from tui.past.timeline import Timeline, scrub_line
from tui.past.view import Loaded, PastSource, PastView
from tui.screens.base import ConsoleScreen
from tui.screens.differences import DifferencesScreen
from tui.shell import Shell
from tui.source import Source, SourceError
from tui.store.view import ClusterView
from tui.widgets.table import Table

PAST = "past:"
"""What the names of views over the past begin with."""
SECOND_US = 1_000_000
REPAINT_EVERY = 8
"""Answers about the line after which it is painted again."""


@dataclass
class Travel:
    """One journey."""

    view: PastView
    console: PastConsole
    wanted: Moment
    """Where the cursor of the line is; shown as soon as it is read."""
    now_us: int
    line: Timeline | None = None
    held: Moment | None = None
    loading: bool = False
    reading_on: bool = field(default=False)
    """Whether more rows of the shown moment are still to come."""

    @property
    def position_us(self) -> int:
        return self.wanted.at_us or self.view.at.at_us


class PastConsole:
    """The console as screens over the past see it: with another store and source, and all else as it is.

    Implements tui.shell.Shell.
    """

    def __init__(self, shell: Shell, view: PastView, travel: Callable[[], Travel | None]) -> None:
        self._shell = shell
        self._travel = travel
        self.view = view
        self.source = PastSource(shell.source, view)
        self._drawn: tuple[Draw, Draw] | None = None
        self._arrangements: Arrangements = self.arrangements
        self._arranged: set[Table[Any]] = set()

    def drawing(self) -> Draw:
        """As of the moment; the same object as long as the live one is the same."""
        live = self._shell.drawing()
        drawn = self._drawn
        if drawn is None or drawn[0] is not live or drawn[1].now_us != self.view.at.at_us:
            drawn = self._drawn = (live, Draw(self.view.at.at_us, live.now_s, live.glyphs, self.view, live.word))
        return drawn[1]

    def fresh_drawing(self) -> Draw:
        return self.drawing()

    def arrange(self, screen: Screen[None]) -> None:
        """Once for each table: as that of now is arranged."""
        table = screen.main_table() if isinstance(screen, ConsoleScreen) else None
        if table is None or table in self._arranged or not isinstance(screen, ConsoleScreen):
            return
        self._arranged.add(table)
        view = screen.place if table.id == "rows" else f"{screen.place}/{table.id}"
        wanted = self._arrangements.of(view) if screen.again() is None else None
        if wanted is not None:
            table.rearrange(wanted)

    @property
    def moment(self) -> str:
        travel = self._travel()
        if travel is None or not self.view.ready:
            return "reading it"
        live = self._shell.drawing()
        at = self.view.at
        brief = travel.line is not None and travel.line.step_us < SECOND_US
        time = clock(at.at_us)[:10] if brief else clock_of(at.at_us)
        return f"as of {time}, index {count_of(at.index)}, {age(live.now_us - at.at_us)} ago"

    def scrub_line(self, width: int) -> Cell:
        travel = self._travel()
        if travel is None or travel.line is None:
            return ((" Asking how far back the past is kept.", "dim"),)
        held_us = travel.held.at_us if travel.held is not None else 0
        known, total = len(self.view.tasks), self.view.total
        going = f"{count_of(known)} of {count_of(total)} tasks" if known < total else ""
        if travel.loading:
            going = f"reading {clock_of(travel.position_us)}"
        elif travel.reading_on:
            going = "reading more"
        return scrub_line(travel.line, travel.position_us, held_us, going, self._shell.glyphs, width)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shell, name)


class Traveling(App[int], inherit_bindings=False):
    """Over what the console itself has."""

    source: Source
    view: ClusterView
    word: KeyWord
    travel: Travel | None = None

    # What the console has.

    def say(self, text: str, role: str = "text") -> None:
        raise NotImplementedError

    def ask(self, question: Question, then: Callable[[str], None]) -> None:
        raise NotImplementedError

    def drawing(self) -> Draw:
        raise NotImplementedError

    def start(self, group: str, work: Coroutine[Any, Any, None]) -> None:
        raise NotImplementedError

    @property
    def view_name(self) -> str:
        raise NotImplementedError

    # Screens over the past.

    @property
    def in_past(self) -> bool:
        return self.travel is not None

    @property
    def moment(self) -> str:
        return self.travel.console.moment if self.travel is not None else ""

    def scrub_line(self, width: int) -> Cell:
        return self.travel.console.scrub_line(width) if self.travel is not None else ()

    def mode_of(self, view: str) -> str:
        """Name of the mode that shows a view: of now, or of the moment."""
        return f"{PAST}{view}" if self.in_past else view

    def switch_mode(self, mode: str) -> AwaitMount:
        waiting = super().switch_mode(mode)
        if mode.startswith(PAST):
            self._bind(self._screen_stacks[mode][0])
        return waiting

    def push_screen(self, screen: Any, *arguments: Any, **options: Any) -> Any:
        if self.in_past and isinstance(screen, ConsoleScreen):
            self._bind(screen)
        return super().push_screen(screen, *arguments, **options)

    def _bind(self, screen: Screen[Any]) -> None:
        if self.travel is not None and isinstance(screen, ConsoleScreen) and screen.past is None:
            screen.past = cast(Shell, self.travel.console)

    def _screens(self) -> list[ConsoleScreen]:
        stacks = [stack for mode, stack in self._screen_stacks.items() if mode.startswith(PAST)]
        return [screen for stack in stacks for screen in stack if isinstance(screen, ConsoleScreen)]

    # There and back.

    def action_time_travel(self) -> None:
        if self.in_past:
            self.return_to_now()
        else:
            self.depart()

    def depart(self, to: Moment | None = None) -> None:
        """Show the cluster as of a moment; None: as it is now, and from there on it stands still."""
        screen = self.screen
        if not isinstance(screen, ConsoleScreen):
            return
        if not self.view.ready:
            self.say("Nothing is known of the cluster yet; its past can be shown once it answers.", "warn")
            return
        now_us = self.view.heard_us
        view = PastView(link=self.view.link, awaiting="Reading that moment.")
        console = PastConsole(cast(Shell, self), view, lambda: self.travel)
        self.travel = Travel(view, console, Moment(at_us=now_us), now_us)
        place = self.view_name
        for name, made in self.MODES.items():
            self.add_mode(f"{PAST}{name}", made)
        self.switch_mode(self.mode_of(place))
        again = screen.again()
        if again is not None:
            self.push_screen(again)
        self.start("past-line", self._survey(self.travel))
        self._go(to or self.travel.wanted)

    def return_to_now(self) -> None:
        travel, self.travel = self.travel, None
        if travel is None:
            return
        for group in ("past", "past-line", "past-rest"):
            self.workers.cancel_group(self, group)
        self.switch_mode(self.view_name)
        gone = [self.remove_mode(mode) for mode in list(self._modes) if mode.startswith(PAST)]
        self.start("past-end", _all_of(gone))
        self.say("This is now again.", "ok")

    # Moving.

    def action_past_step(self, steps: int) -> None:
        travel = self._traveling()
        if travel is None:
            return
        if travel.line is None:
            self.say("Still asking how far back the past is kept.", "dim")
            return
        at_us = travel.line.stepped(travel.position_us, steps)
        if at_us == travel.position_us:
            back = f"That is now: {self.word('app', 'time_travel')} returns to it."
            end = back if steps > 0 else "That is the oldest moment that is kept."
            self.say(end, "dim")
            return
        self._go(Moment(at_us=at_us))

    def action_past_ask(self) -> None:
        """Asks for a moment, and goes there."""
        initial = ""
        screen = self.screen
        if isinstance(screen, ConsoleScreen) and (table := screen.main_table()) is not None:
            row = table.cursor_row
            initial = str(row.index) if isinstance(row, types_pb2.Event) else ""
        question = Question(
            "Show the cluster as it was",
            "A log index, a time (2026-01-31T12:00:00Z), or how long ago (30m).",
            initial,
            "Events are kept for 24 hours, unless the setting events_kept_s says otherwise.",
            self._wrong_moment,
        )
        self.ask(question, self.travel_to)

    def travel_to(self, text: str) -> None:
        """Show the moment that a text names. Raises MomentError."""
        moment = read_moment(text, self.view.heard_us)
        if self.in_past:
            self._go(moment)
        else:
            self.depart(moment)

    def _wrong_moment(self, text: str) -> str:
        try:
            read_moment(text, self.view.heard_us)
        except MomentError as error:
            return f"{error.message} {error.remedy}"
        return ""

    def action_past_zoom(self) -> None:
        travel = self._traveling()
        if travel is not None and travel.line is not None:
            before, travel.line = travel.line, travel.line.zoomed(travel.position_us)
            if travel.line.begin_us == before.begin_us and travel.line.end_us == before.end_us:
                self.say("All that is kept is shorter than the shortest line.", "dim")
            self._repaint()
            self.start("past-line", self._survey(travel))

    def action_past_hold(self) -> None:
        """Keep the shown moment, to compare another one with it."""
        travel = self._traveling()
        if travel is None:
            return
        if travel.held == travel.view.at:
            travel.held = None
            self.say("No moment is held any more.")
        else:
            travel.held = travel.view.at
            self.say(f"Held: index {count_of(travel.held.index)}. % compares it with the moment that is shown.")

    def action_past_differences(self) -> None:
        """What is not the same now, or at the moment that is held."""
        travel = self._traveling()
        if travel is None:
            return
        if not travel.view.ready:
            self.say("The moment is still being read.", "dim")
            return
        begin, end = travel.view.at, travel.held
        if end is not None and end.index < begin.index:
            begin, end = end, begin
        self.push_screen(DifferencesScreen(begin, end))

    def _traveling(self) -> Travel | None:
        if self.travel is None:
            self.say(f"That is a key of the past: {self.word('app', 'time_travel')} goes there.", "dim")
        return self.travel

    # Reading.

    def _go(self, moment: Moment) -> None:
        travel = self.travel
        if travel is None:
            return
        travel.wanted = moment
        self.workers.cancel_group(self, "past-rest")
        if travel.line is not None and moment.at_us:
            before, travel.line = travel.line, travel.line.around(moment.at_us)
            if before is not travel.line:
                self.start("past-line", self._survey(travel))
        if not travel.loading:
            travel.loading = True
            self.start("past", self._read(travel))
        self._repaint()

    async def _read(self, travel: Travel) -> None:
        """One moment at a time: whoever scrubs on meanwhile sees only the last one asked for."""
        try:
            while self.travel is travel:
                wanted = travel.wanted
                try:
                    loaded = await load_moment(self.source, wanted)
                except SourceError as error:
                    if self.travel is travel and wanted is travel.wanted:
                        self._refused_moment(travel, error)
                        return
                    continue
                if self.travel is not travel:
                    return
                if wanted is travel.wanted:
                    travel.view.show(loaded)
                    travel.reading_on = bool(loaded.cursor)
                    if travel.line is not None:
                        travel.line = travel.line.around(loaded.at.at_us)
                    self.start("past-rest", self._read_on(travel, loaded))
                    break
        finally:
            travel.loading = False
        for screen in self._screens():
            screen.moment_changed()
        self._repaint()

    def _refused_moment(self, travel: Travel, error: SourceError) -> None:
        """A moment that is not kept: the one that is shown stays, or now."""
        if travel.view.ready:
            travel.wanted = travel.view.at
        else:
            self.return_to_now()
        self.say(f"{error.message} {error.remedy}".strip(), "bad")

    async def _read_on(self, travel: Travel, loaded: Loaded) -> None:
        try:
            await load_rest(self.source, loaded, travel.view)
        except SourceError as error:
            self.say(f"Not all tasks of that moment could be read. {error.message}", "warn")
        travel.reading_on = False

    async def _survey(self, travel: Travel) -> None:
        """How far back the past is kept, and where in the window much happened. Left out where none can tell."""
        try:
            if travel.line is None:
                oldest = await oldest_moment(self.source) or Moment(at_us=travel.now_us)
                travel.line = Timeline(oldest, travel.now_us).around(travel.position_us)
                self._repaint()
            for number, at_us in enumerate(travel.line.unknown()):
                index = await index_at(self.source, at_us)
                travel.line = travel.line.with_index(at_us, index)
                if number % REPAINT_EVERY == REPAINT_EVERY - 1:
                    self._repaint()
        except SourceError:
            return
        self._repaint()

    def _repaint(self) -> None:
        if isinstance(self.screen, ConsoleScreen):
            self.screen.sync()


async def _all_of(waiting: list[AwaitComplete]) -> None:
    for one in waiting:
        await one
