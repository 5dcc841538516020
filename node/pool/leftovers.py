"""What a handler leaves in its worker: threads and processes that would go on beside the next task."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

_NAME_CHARS = 100
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
# Of other environments than the worker's own, too: a handler's PYTHONPATH, the system's, the user's.
_PACKAGES = frozenset({"site-packages", "dist-packages"})


def left(before: Collection[threading.Thread], modules: Sequence[str]) -> str:
    """What there is beside the threads of `before`, in words; empty for nothing.

    Daemon threads of libraries (monitors, connection pools) are kept warm on purpose and do not count; those that
    run code of the handlers' own do, as do all others: what they print would be the next task's.
    """
    for each in threading.enumerate():
        if each not in before and (not each.daemon or _is_own(each, modules)):
            return f"a thread ({each.name[:_NAME_CHARS]})"
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ""
        if pid == 0:
            return "a process"


def _is_own(thread: threading.Thread, modules: Sequence[str]) -> bool:
    """Whether it runs what belongs to `modules`, or to no library."""
    if isinstance(thread, threading._DummyThread):
        return False  # of a C library
    # A thread lets go of its target as it ends, and a timer has another name for it.
    runs = [getattr(thread, name, None) for name in ("_target", "function")]
    if type(thread) not in (threading.Thread, threading.Timer):
        runs.append(type(thread))
    return any(_belongs(each, modules) for each in runs if each is not None)


def _belongs(runs: Any, modules: Sequence[str]) -> bool:
    while isinstance(runs, functools.partial):
        runs = runs.func
    name = str(getattr(runs, "__module__", None) or "")
    if any(name == one or name.startswith(f"{one}.") for one in modules):
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    if not isinstance(file, str):
        return False
    return not file.startswith(_LIBRARIES) and _PACKAGES.isdisjoint(Path(file).parts)
