"""The console: one stream into one store, one refresh at most ten times a second."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual.screen import Screen

from tui.actions.base import Question, Review
from tui.chrome import VIEWS
from tui.columns.base import Draw
from tui.commands import Actions
from tui.console.causes import CausesFeed
from tui.console.contexts import Context
from tui.console.editing import edit_aside
from tui.console.linked import Linked
from tui.console.painting import Painting
from tui.console.personal import Personal
from tui.console.ticking import Ticking
from tui.console.travel import PAST, Traveling
from tui.console.undo import OwnOperations
from tui.drawing.draw import Cell, foreign
from tui.keyboard.keymap import bindings
from tui.keyboard.options import Option
from tui.operator.editor import forget
from tui.operator.keep import Keep
from tui.operator.preferences import Preferences
from tui.operator.themes import Palette, palette
from tui.plans.base import Done
from tui.screens.ask import AskScreen
from tui.screens.base import ConsoleScreen
from tui.screens.choose import ChooseScreen
from tui.screens.dag import DagScreen
from tui.screens.drain import DrainScreen
from tui.screens.drain_progress import DrainProgressScreen
from tui.screens.events import EventsScreen
from tui.screens.help import HelpScreen
from tui.screens.letters import LettersScreen
from tui.screens.node import NodeScreen
from tui.screens.nodes import NodesScreen
from tui.screens.operations import OperationScreen, OperationsScreen
from tui.screens.preview import PreviewScreen
from tui.screens.queue import QueueScreen
from tui.screens.submit import SubmitScreen
from tui.screens.task import TaskScreen
from tui.screens.why import WhyScreen
from tui.screens.workflows import WorkflowsScreen
from tui.source import Moment, Source, Timed
from tui.store.view import ClusterView
from tui.tty.driver import PacedDriver
from tui.tty.memory import collect_less, settle
from tui.tty.terminal import Terminal, as_started, detect

NOTE_S = 6.0
SHORT_ID = 12
"""Characters of an operation's id that a note has where there is no room for all; enough to name it."""
ROOM_BESIDE = 30
"""Cells of a note that are not its sentence or an id: the countdown, and a word."""
WARM_ROWS = 1000
"""Texts made per tick for a filter to come; a few milliseconds."""


class Console(Ticking, Painting, Traveling, Linked, Personal, inherit_bindings=False):
    """The operator's console over a source."""

    CSS_PATH = Path(__file__).with_name("app.tcss")
    TITLE = "cortex"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = bindings("app")
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "nodes": NodesScreen,
        "queue": QueueScreen,
        "workflows": WorkflowsScreen,
        "letters": LettersScreen,
        "events": EventsScreen,
    }
    DEFAULT_MODE = "nodes"

    def __init__(
        self,
        source: Source,
        *,
        terminal: Terminal | None = None,
        clock: Callable[[], float] = time.monotonic,
        read_only: bool = False,
        ticking: bool = True,
        keep: Keep | None = None,
        preferences: Preferences | None = None,
        contexts: Sequence[Context] = (),
        context: str = "",
        settle: Callable[[], None] = lambda: None,
        note_clock: Callable[[], float] | None = None,
    ) -> None:
        """`settle` is called when many rows came to stay. `note_clock`: where notes go by another clock."""
        self.terminal = terminal or Terminal()
        self.keep = keep or Keep()
        self.preferences = preferences or Preferences()
        self.key_table = self.preferences.keys
        self.begin_painting(vertical_tabs=self.terminal.vertical_tabs)
        self.begin_ticking()
        self.begin_links(contexts, context)
        super().__init__(driver_class=PacedDriver)
        self.source = source
        self.view = ClusterView()
        self.glyphs = self.terminal.glyphs
        self.clock = clock
        self.note_clock = note_clock or clock
        self.settle = settle
        self.read_only = read_only
        self.palette: Palette = palette({}, no_color=True)
        self.actions = Actions(self)
        self.causes = CausesFeed()
        self.own = OwnOperations()
        self.note: Cell | None = None
        self._note_until_s = 0.0
        self._ticking = ticking
        self._drawn: Draw | None = None
        self.use_preferences()

    # Life.

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, lambda _theme: self.restyle())
        self.app_resume_signal.subscribe(self, lambda _app: self.repaint_all())
        self.restyle()
        self.follow_cluster()
        if self._ticking:
            self.keep_ticking()

    def drawing(self) -> Draw:
        """What drawing needs, as of now; the same object until the next tick, so that all cells agree."""
        if self._drawn is None:
            now_s = self.clock()
            self._drawn = Draw(self.view.now_us(now_s), now_s, self.glyphs, self.view, self.word)
        return self._drawn

    def fresh_drawing(self) -> Draw:
        """As drawing, but of this very moment."""
        self._drawn = None
        return self.drawing()

    def clear_marks(self) -> None:
        for screen in self.screen_stack:
            if not isinstance(screen, ConsoleScreen) or not screen.is_mounted:
                continue
            if (table := screen.main_table()) is not None:
                table.clear_marks()

    def begin_tick(self) -> None:
        self._drawn = None

    def hints(self) -> tuple[Cell, Cell]:
        return self.link_hint(), self.player_hint()

    def tick(self) -> None:
        """Bring the shown screen up to date with the store."""
        if not self.is_running:
            # It closes, and a tick was due: there is nothing left to show things in.
            return
        self._drawn = None
        self.view.warm(WARM_ROWS)
        if self.note is not None and self.note_clock() >= self._note_until_s:
            self.note = None
        for text, role in self.own.news(self.drawing()):
            self.say(text, role)
        self.look_at_intents()
        shown = self._shown()
        if self.causes.due(self.view, self.clock(), shown=shown is not None and shown.shows_causes):
            self.start("causes", self.causes.ask(self.source, self.view, self.clock))
        self.put_off = not self.pace.due(time.monotonic())
        if shown is not None and not self.put_off:
            shown.sync()
            if isinstance(self.screen, PreviewScreen):
                self.screen.tick()
        self.looked_after()

    def sync_shown(self) -> None:
        if (shown := self._shown()) is not None:
            shown.sync()

    def _shown(self) -> ConsoleScreen | None:
        return next((one for one in reversed(self.screen_stack) if isinstance(one, ConsoleScreen)), None)

    # Where actions show themselves.

    def ask(self, question: Question, then: Callable[[str], None]) -> None:
        def answered(answer: str | None) -> None:
            if answer is not None:
                then(answer)

        self.push_screen(AskScreen(question), answered)

    def rehearse(self, node: str, number: int, count: int, then: Callable[[Done | None], None]) -> None:
        self.push_screen(DrainScreen(node, number, count), then)

    def refresh_preview(self) -> None:
        if isinstance(self.screen, PreviewScreen):
            self.screen.remake()

    async def edit(self, text: str, name: str) -> tuple[str, Path]:
        self.aside = True
        try:
            return await edit_aside(self, text, name)
        finally:
            self.aside = False
            self.repaint_all()

    def forget_edit(self, path: Path) -> None:
        forget(path)

    def submit_form(self, review: Review) -> SubmitScreen:
        form = SubmitScreen(review)
        self.push_screen(form)
        return form

    def start(self, group: str, work: Coroutine[Any, Any, None]) -> None:
        self.run_worker(work, group=group, exclusive=True)

    def carried_out(self, done: Done) -> None:
        self.clear_marks()
        self.own.add((*done.audit, done.operation))
        ids = done.audit or ((done.operation,) if done.operation else ())
        room = self.size.width - len(done.said) - ROOM_BESIDE
        short = sum(len(key) + 1 for key in ids) > room
        shown = " ".join(key[:SHORT_ID] if short else key for key in ids)
        self.say(f"{done.said} Operation {shown}." if ids else done.said, "ok")

    # Notes.

    def say(self, text: str, role: str = "text") -> None:
        """Show a sentence in the footer for a few seconds."""
        self.note = foreign(text, role, self.glyphs)
        self._note_until_s = self.note_clock() + NOTE_S
        if isinstance(self.screen, ConsoleScreen):
            self.screen.sync_chrome()

    def clear_note(self) -> None:
        self.note = None

    def undo_hint(self) -> Cell:
        return self.player_hint() or self.own.hint(self.drawing(), short=self.note is not None)

    # Views.

    @property
    def view_name(self) -> str:
        return str(self.current_mode).removeprefix(PAST).partition("@")[0]

    def action_view(self, name: str) -> None:
        if name not in {place for place, _, _ in VIEWS}:
            return
        if name == self.view_name:
            self._back_to_rows()
            return
        self._previous_view = self.view_name
        if self.note and all(role == "dim" for _, role in self.note):
            # What a key had to say was about the view that is left; what became of a change stays.
            self.note = None
        self.switch_mode(self.mode_of(name))
        if isinstance(self.screen, ConsoleScreen):
            # At once: the next key may have been typed already, and means what is there now.
            self.screen.sync()

    def _back_to_rows(self) -> None:
        """From whatever is open over a view to the view itself."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        if isinstance(self.screen, ConsoleScreen):
            self.screen.sync()

    def action_last_view(self) -> None:
        self.action_view(self._previous_view)

    def action_filter(self) -> None:
        if isinstance(self.screen, ConsoleScreen):
            self.screen.open_filter()

    def action_step_back(self) -> None:
        screen = self.screen
        if isinstance(screen, ConsoleScreen) and not screen.step_back():
            self.action_close()

    def action_close(self) -> None:
        if len(self.screen_stack) > 1:
            self.pop_screen()
        elif self.in_past:
            self.return_to_now()
        else:
            self.say(f"Press {self.word('app', 'quit')} to quit; the cluster goes on without the console.", "dim")

    async def action_quit(self) -> None:
        self.exit(0)

    def action_read_only(self) -> None:
        self.read_only = not self.read_only
        self.say(
            f"Read-only: nothing can be changed until {self.word('app', 'read_only')} is pressed again."
            if self.read_only
            else "Changes are possible again."
        )

    def action_submit(self) -> None:
        self.actions.submit()

    def action_undo(self) -> None:
        chosen = self.screen.undo_target() if isinstance(self.screen, ConsoleScreen) else None
        pending = self.own.pending(self.view)
        self.actions.undo(chosen if chosen is not None else pending[0].id if pending else "")

    def action_operations(self) -> None:
        if not isinstance(self.screen, OperationsScreen):
            self.push_screen(OperationsScreen())

    def action_help(self) -> None:
        screen = self.screen
        if isinstance(screen, ConsoleScreen):
            table = screen.main_table()
            fields = tuple(field.name for field in table.spec.fields) if table is not None else ()
            self.push_screen(HelpScreen(screen.place, fields))

    def choose(self, title: str, options: Sequence[Option], current: str, then: Callable[[str], None]) -> None:
        self.push_screen(ChooseScreen(title, options, current), lambda chosen: then(chosen) if chosen else None)

    def open_screen(self, screen: Screen[None]) -> None:
        self.push_screen(screen)

    def open_task(self, key: str, pane: str = "facts") -> None:
        self.push_screen(TaskScreen(key, pane))

    def open_workflow(self, key: str, task: str = "") -> None:
        self.push_screen(DagScreen(key, task))

    def open_node(self, key: str, pane: str = "facts") -> None:
        self.push_screen(NodeScreen(key, pane))

    def open_drain(self, operation: str) -> None:
        self.push_screen(DrainProgressScreen(operation))

    def open_why(self, task: str, at: Moment | None = None) -> None:
        self.push_screen(WhyScreen(task, at))

    def open_operation(self, key: str) -> None:
        self.push_screen(OperationScreen(key))


def run_console(
    source: Source,
    *,
    read_only: bool = False,
    preferences: Preferences | None = None,
    keep: Keep | None = None,
    contexts: Sequence[Context] = (),
    context: str = "",
) -> int:
    """Run the console on this terminal until it is left; returns the exit status. Always restores the terminal."""
    app = Console(
        source,
        terminal=detect(as_started(os.environ)),
        read_only=read_only,
        preferences=preferences,
        keep=keep,
        contexts=contexts,
        context=context,
        settle=settle,
        clock=source.clock if isinstance(source, Timed) else time.monotonic,
        note_clock=time.monotonic,
    )
    collect_less()

    def leave(number: int) -> None:
        # Ctrl-C in an editor is the editor's.
        if number != signal.SIGINT or not app.aside:
            app.exit(128 + number)

    async def run() -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, leave, number)
        status = await app.run_async(mouse=app.preferences.mouse)
        return app.return_code or 0 if status is None else status

    return asyncio.run(run())
