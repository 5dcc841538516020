"""A gate for commands under test: what waits at it holds still until the test goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def gate_in(folder: Path) -> Path:
    """A FIFO that nobody has open: a command that runs `: <GATE` waits there, without a process more."""
    path = folder / "gate"
    os.mkfifo(path)
    return path


@contextmanager
def opened(gate: Path) -> Iterator[None]:
    """Lets all through who wait at the gate, or come to it meanwhile."""
    handle = os.open(gate, os.O_RDWR)
    try:
        yield
    finally:
        os.close(handle)
