"""The terminal as the console uses it: never blocking, aware of what is on its way, and of its own end.

Textual's driver blocks the event loop behind a slow terminal, spins when the terminal is gone, and takes held keys
one by one. This reads private parts of it, which is why its version is pinned.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import sys
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, cast

from textual import events
from textual._ansi_sequences import SYNC_END, SYNC_START
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Size
from textual.message import Message

from tui.tty.escapes import Escapes
from tui.tty.pace import Pace
from tui.tty.paste import MAX_PASTE_CHARS, Pastes
from tui.tty.writer import Writer

ASK = "\x1b[6n"
"""Where the cursor is: every terminal answers when it has worked off all that came before."""
WAIT_S = 1.0
"""Until then a terminal has answered for the first time."""
ANSWER_S = 1.0
"""For answers that are on their way when the console ends; they must not reach the shell."""
READ_BYTES = 1 << 16
HELD = frozenset({"j", "k", "up", "down", "pageup", "pagedown", "ctrl+d", "ctrl+u", "ctrl+f", "ctrl+b"})
"""Keys that are held down to move; a run of one is one message."""
MAX_WAITING_KEYS = 2000


class HeldKey(events.Key):
    """A key that came several times at once."""

    __slots__ = ["count"]

    def __init__(self, key: str, character: str | None, count: int) -> None:
        super().__init__(key, character)
        self.count = count


HeldKey.handler_name = events.Key.handler_name
# Textual names a message's handlers after its class: without this nobody would handle it.


class Owner(Protocol):
    """What the driver asks of the app."""

    pace: Pace

    def line_moved(self) -> None:
        """More may be painted."""
        ...

    def terminal_gone(self) -> None: ...

    def paste_cut(self) -> None:
        """A paste was longer than MAX_PASTE_CHARS."""
        ...


class PacedDriver(LinuxDriver):
    """Textual's driver with a writer that never blocks."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._writer: Writer | None = None
        self._frame: list[str] | None = None
        self._last_move = ""
        self._answering: bool | None = None
        """Whether this terminal answers; None while that is not known."""
        self._asked = 0
        self._written_frames = 0
        self._passed = 0
        """Frames that counted as shown without an answer."""
        self._entered = False
        """Whether the terminal is the console's now."""
        self._answers = threading.Condition()
        super().__init__(*args, **options)

    @property
    def owner(self) -> Owner:
        return cast(Owner, self._app)

    # Textual makes a writer of its own here; this one takes its place.
    @property
    def _writer_thread(self) -> Any:
        return self._writer

    @_writer_thread.setter
    def _writer_thread(self, made: object) -> None:
        self._writer = None
        if made is not None:
            assert sys.__stderr__ is not None  # else there is no terminal
            self._writer = Writer(sys.__stderr__.fileno(), self._written, self._lost)
            self._answering = None
            self._asked = self._written_frames = self._passed = 0
            self.owner.pace.forget()

    def start_application_mode(self) -> None:
        self._entered = True
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if self._writer is not None:
            self.begin_frame()
            self.end_frame(ask=True)
            self._loop.call_later(WAIT_S, self._judge, self._writer)
        # Textual's handler reads the size itself: where a second signal interrupts it, the older size is told last.
        self._loop.add_signal_handler(signal.SIGWINCH, self._size_changed)
        # In the loop, not in the midst of a frame.
        self._loop.add_signal_handler(signal.SIGCONT, self._goes_on)

    def stop_application_mode(self) -> None:
        self._entered = False
        super().stop_application_mode()

    def _goes_on(self) -> None:
        """After a SIGSTOP, of which nothing told, or none at all: Textual would enter what it never left, with a
        second reader of keys, and keep the console's modes as those from before.
        """
        if not self._auto_restart:
            return
        if self._entered:
            self.suspend_application_mode()
            self._must_signal_resume = True
        self.resume_application_mode()

    def _size_changed(self) -> None:
        if not self._in_band_window_resize:
            size = Size(*self._get_terminal_size())
            self.send_message(events.Resize(size, size))

    # Frames.

    def begin_frame(self) -> None:
        self._frame = []

    def end_frame(self, *, ask: bool = False) -> None:
        """Send what was written since begin_frame, and the question whether the terminal has it; `ask`: in any
        case.
        """
        pieces, self._frame = self._frame or [], None
        body = [piece for piece in pieces if piece not in (SYNC_START, SYNC_END)]
        if not ask and "".join(body) in ("", self._last_move):
            return
        if body:
            self._last_move = body[-1][body[-1].rfind("\x1b[") :]
        text = "".join(pieces) + ASK
        with self._answers:
            self._asked += 1
        self.owner.pace.sent(len(text.encode("utf-8", "replace")), time.monotonic())
        if self._writer is not None:
            self._writer.write(text, marked=True)

    def write(self, data: str) -> None:
        if self._frame is not None:
            self._frame.append(data)
        elif self._writer is not None:
            self._writer.write(data)

    def _written(self) -> None:
        """From the writer's thread: the operating system has a frame."""
        with self._answers:
            if self._answering is None:
                self._written_frames += 1
            if self._answering is not False:
                return
            self._passed += 1
        self._tell(self._moved, time.monotonic())

    def _told(self) -> None:
        """From the input thread: the terminal has a frame."""
        with self._answers:
            self._answering = True
            self._asked = max(0, self._asked - 1)
            self._answers.notify_all()
            if self._passed:
                self._passed -= 1
                return
        self._tell(self._moved, time.monotonic())

    def _judge(self, writer: Writer) -> None:
        """A terminal that has not answered by now is taken at what the operating system says."""
        with self._answers:
            if self._writer is not writer or self._answering is not None:
                return
            self._answering = False
            self._passed = self._written_frames
        for _ in range(self._passed):
            self._moved(time.monotonic())

    def _moved(self, at_s: float) -> None:
        self.owner.pace.taken(at_s)
        self.owner.line_moved()

    def _lost(self) -> None:
        with self._answers:
            self._asked = 0
            self._answers.notify_all()
        self._tell(self.owner.terminal_gone)

    def _tell(self, what: Callable[..., object], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *arguments)

    # Input.

    def send_message(self, message: Message) -> None:
        # At once: Textual makes a task of each, and waits for it in this thread's stead.
        self._tell(self._app.post_message, message)

    def disable_input(self) -> None:
        if self._writer is not None and not self._writer.dead and not self.exit_event.is_set():
            with self._answers:
                self._answers.wait_for(lambda: self._answering is False or self._asked == 0, ANSWER_S)
        super().disable_input()

    def process_message(self, message: Message) -> None:
        if isinstance(message, events.CursorPosition):
            self._told()
            return
        if isinstance(message, events.Paste) and len(message.text) > MAX_PASTE_CHARS:
            message = events.Paste(message.text[:MAX_PASTE_CHARS])
            self._tell(self.owner.paste_cut)
        super().process_message(message)

    def run_input_thread(self) -> None:
        """Read keys until the console ends, or its terminal."""
        selector = selectors.SelectSelector()
        selector.register(self.fileno, selectors.EVENT_READ)
        parser = XTermParser(self._debug)
        pastes, escapes = Pastes(), Escapes()
        decode = getincrementaldecoder("utf-8")("replace").decode
        try:
            while not self.exit_event.is_set():
                if selector.select(0.1):
                    try:
                        data = os.read(self.fileno, READ_BYTES)
                    except OSError:
                        data = b""
                    if not data:
                        self._lost()
                        return
                    for part in pastes.split(decode(data)):
                        if isinstance(part, events.Paste):
                            self._take_pieces(escapes.due(math.inf), parser)
                            self._take([part])
                            continue
                        self._take_pieces(escapes.split(part, time.monotonic()), parser)
                self._take_pieces(escapes.due(time.monotonic()), parser)
                self._take(parser.tick())
        finally:
            selector.close()

    def _take_pieces(self, pieces: Iterable[str | events.Key], parser: XTermParser) -> None:
        for piece in pieces:
            self._take([piece] if isinstance(piece, events.Key) else parser.feed(piece))

    def _take(self, messages: Iterable[Message]) -> None:
        for message in merged(messages):
            # More keys than can be worked off wait in the terminal.
            while self._app.message_queue_size > MAX_WAITING_KEYS and not self.exit_event.is_set():
                time.sleep(0.01)
            self.process_message(message)


def merged(messages: Iterable[Message]) -> Iterator[Message]:
    """Runs of a key that moves, as one HeldKey."""
    run: list[events.Key] = []
    for message in messages:
        if isinstance(message, events.Key) and message.key in HELD:
            if run and run[0].key != message.key:
                yield _one(run)
                run = []
            run.append(message)
            continue
        if run:
            yield _one(run)
            run = []
        yield message
    if run:
        yield _one(run)


def _one(run: list[events.Key]) -> events.Key:
    return run[0] if len(run) == 1 else HeldKey(run[0].key, run[0].character, len(run))
