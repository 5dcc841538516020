"""What is typed right behind the escape key is not lost, and sequences are not torn apart."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from unittest.mock import Mock, patch

import pytest
from textual import events
from textual._xterm_parser import XTermParser
from textual.message import Message

from tui.tty.driver import PacedDriver
from tui.tty.escapes import Escapes

DELAY_S = 0.2


def keys_of(reads: list[str], pause_s: float) -> list[str]:
    """Keys that come of these reads, each `pause_s` after the one before, and of the time after them."""
    escapes, parser, now_s = Escapes(), XTermParser(), 0.0
    found: list[str] = []

    def take(parts: Iterable[str | events.Key]) -> None:
        for part in parts:
            came = [part] if isinstance(part, events.Key) else parser.feed(part)
            found.extend(one.key for one in came if isinstance(one, events.Key))

    for read in reads:
        take(escapes.due(now_s))
        take(escapes.split(read, now_s))
        now_s += pause_s
    take(escapes.due(now_s + DELAY_S))
    return found


@pytest.mark.parametrize(
    ("reads", "keys"),
    [
        (["\x1b"], ["escape"]),
        (["\x1b", "/"], ["escape", "slash"]),
        (["\x1b", "j"], ["escape", "j"]),
        (["\x1b", "["], ["escape", "left_square_bracket"]),
        (["\x1b", "O"], ["escape", "O"]),
        (["\x1b", "\x1b", "q"], ["escape", "escape", "q"]),
        (["k\x1b\x1b", "q"], ["k", "escape", "escape", "q"]),
        (["\x1b[A"], ["up"]),
        (["\x1b", "[A"], ["up"]),
        (["\x1b[", "A"], ["up"]),
        (["\x1bOA"], ["up"]),
        (["\x1b", "OA", "j"], ["up", "j"]),
        ([*"\x1b[A", "j"], ["up", "j"]),
        ([*"\x1bOA"], ["up"]),
        ([*"\x1b[1;5A"], ["ctrl+up"]),
        ([*"\x1b[12;40R", "j"], ["j"]),
        ([*"\x1b[200~", "Q", *"\x1b[201~", "j"], ["j"]),
        (["\x1b", "\x10", *"quit"], ["escape", "ctrl+p", *"quit"]),
    ],
)
@pytest.mark.parametrize("pause_s", [0.0, 0.03])
def test_keys_behind_an_escape(reads: list[str], keys: list[str], pause_s: float) -> None:
    assert keys_of(reads, pause_s) == keys


def test_an_escape_comes_before_what_is_pasted_behind_it() -> None:
    came: list[Message] = []
    reads, writes = os.pipe()
    os.write(writes, b"\x1b\x1b[200~pasted\x1b[201~")
    os.close(writes)
    driver = PacedDriver.__new__(PacedDriver)
    driver.fileno, driver.exit_event, driver._debug = reads, threading.Event(), False
    with (
        patch.object(driver, "_app", Mock(message_queue_size=0), create=True),
        patch.object(driver, "process_message", came.append),
        patch.object(driver, "_lost"),
    ):
        driver.run_input_thread()
    os.close(reads)
    assert [type(one) for one in came] == [events.Key, events.Paste]
