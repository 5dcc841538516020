"""How the console paints: only cells that changed, and never more than the terminal takes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rich.console import RenderableType
from textual import events
from textual.app import App
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.widget import Widget

from tui.drawing.draw import Cell
from tui.screens.dialog import Dialog
from tui.tty.driver import HELD, HeldKey, PacedDriver
from tui.tty.frontbuffer import FrontBuffer, through
from tui.tty.pace import Pace
from tui.tty.paste import MAX_PASTE_CHARS
from tui.widgets.virtual import VirtualView

KEY_S = 0.5
"""Longest that a key keeps those typed after it waiting."""
RESIZE_S = 0.25
"""Longest that nothing is painted after another size."""
LAYOUTS = 2
"""That widgets may ask for when they are told their size."""
TERMINAL_GONE = 129
"""Exit status, as after a SIGHUP."""


class Painting(App[int], inherit_bindings=False):
    """Over what the console itself has. Implements tui.tty.driver.Owner."""

    def begin_painting(self, *, vertical_tabs: bool) -> None:
        """`vertical_tabs`: whether the terminal takes them as steps down."""
        self.front = FrontBuffer(vertical_tabs=vertical_tabs)
        self.pace = Pace()
        self.aside = False
        """Whether the terminal is an editor's for a while."""
        self.building = False
        """Whether a view is built for the first time."""
        self._owed = False
        self._resizing = False
        """Whether everything is laid out anew for another size."""
        self._sizes = 0
        """How often the size changed."""
        self._keys: deque[events.Key] = deque()
        """Typed while another key is being handled."""
        self._busy_with_key = False
        self._keys_handled = asyncio.Event()
        self._keys_handled.set()
        self.stirred_s = 0.0
        """Monotonic second at which anything came of the terminal."""
        self.typed_s = 0.0
        """Monotonic second at which the key that is handled now was typed."""
        self._key_alarm: asyncio.TimerHandle | None = None
        self._step = 0
        """Of the way of a key: whoever follows it at another one is late."""
        self._left: tuple[asyncio.Task[None], Callable[[object], None]] | None = None
        """What is waited for on that way, and what is told when that goes away."""
        self._said_pace = ""

    def say(self, text: str, role: str = "text") -> None:
        raise NotImplementedError

    def wake(self) -> None:
        """Have a tick look soon at what there is to show."""
        raise NotImplementedError

    def sync_shown(self) -> None:
        """Bring the shown screen up to date with the store."""
        raise NotImplementedError

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        if self.aside or renderable is None:
            return
        if self._resizing:
            # All of it is painted once everything has its new place.
            self.post_display_hook()
            return
        if not self.pace.may_paint(time.monotonic()):
            # What is left out now is sent when there is room, as far as it differs by then.
            self._owed = True
            self.post_display_hook()
            return
        if isinstance(screen, Dialog):
            screen.painted_s = min(screen.painted_s, time.monotonic())
        driver = self._driver
        if not isinstance(driver, PacedDriver) or self._batch_count:
            super()._display(screen, self.thinned(renderable))
            return
        driver.begin_frame()
        self.front.budget_bytes = self.pace.budget_bytes
        try:
            super()._display(screen, self.thinned(renderable))
        finally:
            driver.end_frame()
            self._owed = self._owed or self.front.cut

    def line_moved(self) -> None:
        if not self._owed or self.aside or not self.is_running or not self.pace.may_paint(time.monotonic()):
            return
        self._owed = False
        self._paint_whole()

    def link_hint(self) -> Cell:
        """How fast the terminal takes what is painted, while that slows the console down."""
        said = self.pace.said()
        return ((said, "warn"),) if said else ()

    def delay_update(self, delay: float = 0.05) -> None:
        """Hold painting back while a view is built for the first time; one that is there is shown at once."""
        if self.building:
            super().delay_update(delay)

    def thinned(self, renderable: RenderableType | None) -> RenderableType | None:
        """The update with only the cells that the terminal does not show already."""
        self.front.fit(*self.size)
        return through(renderable, self.front)

    def repaint_all(self) -> None:
        """Send every cell again: the terminal was resized, resumed, or written to by something else."""
        self.front.forget()
        self.screen.refresh(layout=True)
        for widget in self.screen.walk_children():
            widget.refresh()

    # Another size.

    def _check_resize(self) -> None:
        """Textual tells the screens of it. What they show meanwhile is not painted, but all of it once."""
        if self._resize_event is None or not self.screen_stack:
            super()._check_resize()
            return
        super()._check_resize()
        # A terminal that was small for a moment has lost what it showed, also when it is as large as before.
        self.front.forget()
        if not self.screen.is_mounted or not self.screen.size:
            self.call_later(self.repaint_all)
            return
        self._resizing = True
        self._sizes += 1
        number = self._sizes
        screens: list[Widget] = [self.screen, *self._background_screens]
        asyncio.get_running_loop().call_later(RESIZE_S, self._resized, number)
        self._behind(screens, lambda: self._placed_anew(screens, number, LAYOUTS))

    def _placed_anew(self, screens: Sequence[Widget], number: int, left: int) -> None:
        """The screens have their layout: wait for their widgets, which may ask for another."""
        widgets = [widget for screen in screens for widget in screen.walk_children(Widget)]

        def told() -> None:
            screen = self.screen
            waits = any(widget._layout_required for widget in [*screens, *widgets])
            if number == self._sizes and waits and left and screen.is_mounted:
                for widget in widgets:
                    widget._check_refresh()
                self._behind(screens, lambda: self._laid_out(screens, number, left))
            else:
                self._resized(number)

        self._behind(widgets, told)

    def _laid_out(self, screens: Sequence[Widget], number: int, left: int) -> None:
        if number == self._sizes:
            with self.screen._context():
                self.screen._on_timer_update()
            self._placed_anew(screens, number, left - 1)

    def _behind(self, widgets: Sequence[MessagePump], then: Callable[[], None]) -> None:
        """Do something when all of them have handled what they were sent; those that go away do not count."""
        waiting = len(widgets)

        def one_less() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0:
                then()

        for widget in widgets:
            if not widget.call_later(one_less):
                one_less()
        if not widgets:
            then()

    def _resized(self, number: int) -> None:
        """Paint all of it, unless the size changed again."""
        if number != self._sizes or not self._resizing:
            return
        self._resizing = False
        if self.is_running and self.screen_stack:
            self.sync_shown()
            self.front.forget()
            self._paint_whole()

    def _paint_whole(self) -> None:
        with self._context():
            screen = self.screen
            self._display(
                screen, screen._compositor.render_update(full=True, screen_stack=self._background_screens)
            )

    def action_redraw(self) -> None:
        self.repaint_all()

    # What comes of the terminal.

    def terminal_gone(self) -> None:
        self.exit(TERMINAL_GONE)

    def paste_cut(self) -> None:
        self.say(f"The paste was cut to {MAX_PASTE_CHARS:,} characters.", "warn")

    async def on_event(self, event: events.Event) -> None:
        """Keys are handled one after the other: what one opens has the focus before the next comes."""
        self.stirred_s = time.monotonic()
        self.wake()
        if not isinstance(event, events.Key) or event.is_forwarded:
            await super().on_event(event)
        elif self._busy_with_key:
            self._keys.append(event)
        else:
            await self._hand_out(event)

    async def keys_first(self) -> None:
        """Between parts of a long work: let what was typed be handled."""
        await asyncio.sleep(0)
        await self._keys_handled.wait()

    async def _hand_out(self, event: events.Key) -> None:
        self._busy_with_key = True
        self._keys_handled.clear()
        self.typed_s = event.time
        if isinstance(event, HeldKey) and not isinstance(self.focused, VirtualView):
            singles = [events.Key(event.key, event.character) for _ in range(event.count)]
            for single in singles:
                single.set_sender(self)
            event = singles[0]
            self._keys.extendleft(reversed(singles[1:]))
        way: list[MessagePump] = []
        pump: MessagePump | None = self.focused or self.screen
        while pump is not None and pump is not self:
            way.append(pump)
            pump = pump._parent
        await super().on_event(event)
        # A widget that goes away on the way takes the way with it.
        self._key_alarm = asyncio.get_running_loop().call_later(KEY_S, self._next_key)
        self._step += 1
        moves = isinstance(self.focused, VirtualView) and event.key in HELD

        def looked_at() -> None:
            # What a key's action asks for is done by the console, too: a second round lets that happen.
            done = moves and event._stop_propagation
            self._follow_key([] if done else [*way[1:], self, self], self._step, self._key_handled)

        self._follow_key(way[:1], self._step, looked_at)

    def _follow_key(self, way: list[MessagePump], step: int, then: Callable[[], None]) -> None:
        """Go the way of a key, behind it, and do something `then`."""
        if step != self._step:
            return
        self._step += 1
        if self._left is not None:
            self._left[0].remove_done_callback(self._left[1])
            self._left = None
        for at, pump in enumerate(way):
            go_on = partial(self._follow_key, way[at + 1 :], self._step, then)
            if pump.call_later(go_on):
                if pump is not self and pump._task is not None:
                    # What the key closes may end before it comes to that.
                    self._left = (pump._task, lambda _task, go_on=go_on: go_on())
                    pump._task.add_done_callback(self._left[1])
                return
        then()

    def _key_handled(self) -> None:
        """A key was handled everywhere; what came of it is told to its screen before that is painted."""
        if self._keys:
            self._next_key()
        else:
            self._follow_key([self.focused or self.screen, self.screen], self._step, self._next_key)

    def _next_key(self) -> None:
        self._step += 1
        if self._key_alarm is not None:
            self._key_alarm.cancel()
            self._key_alarm = None
        self._busy_with_key = bool(self._keys)
        if self._keys:
            self.call_later(self._hand_out, self._keys.popleft())
        else:
            self._paint_now()
            self._keys_handled.set()

    def _paint_now(self) -> None:
        """What a key changed is shown before anything else is done, not at a later turn of Textual's timer.

        Where something is laid out anew that is left to Textual.
        """
        screen = self.screen
        if self._batch_count or not screen.is_mounted or not screen.is_current:
            return
        widgets = [screen, *screen.walk_children(Widget)]
        if any(widget._layout_required or widget._scroll_required for widget in widgets):
            return
        for widget in widgets:
            if widget._repaint_required:
                widget._repaint_required = widget is screen
                if widget.display and widget in screen._compositor:
                    screen._dirty_widgets.add(widget)
        if screen._dirty_widgets or screen._repaint_required:
            with screen._context():
                screen._on_timer_update()

    async def _on_key(self, event: events.Key) -> None:
        # Textual runs what a key is bound to once, after this.
        for _ in range(event.count - 1 if isinstance(event, HeldKey) else 0):
            await self._check_bindings(event.key)
