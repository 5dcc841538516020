"""Signals as readable bytes, so that one poll waits for everything."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def wake_fd(on_quit: Callable[..., None]) -> int:
    """A descriptor that becomes readable when a child has ended or the process is asked to quit."""
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, on_quit)
    signal.signal(signal.SIGINT, on_quit)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return reading
