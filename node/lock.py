"""The lock of a data folder: one process at a time works on it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.core.faults import Code, Fault


@contextmanager
def only_one(data: Path) -> Iterator[None]:
    """Hold the data folder's lock; the folder is made. Raises Fault when it is held, or cannot be written."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"The data folder {data} cannot be written: {error.strerror}."
        raise Fault(Code.INVALID, message, "Make it writable, or name another with --data.") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        message = f"Another cortexd already runs on the data folder {data}."
        raise Fault(Code.WRONG_STATE, message, "Stop it first, or name another folder with --data.") from None
    try:
        yield
    finally:
        os.close(handle)
