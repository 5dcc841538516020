"""What /proc says of processes that are not our children."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _state_and_parent(pid)[0] != "Z"


def arguments_of(pid: int) -> list[str]:
    """The command line of a living process; empty when it is gone. Pids are used again, arguments tell."""
    if not is_alive(pid):
        return []
    try:
        return [os.fsdecode(part) for part in (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")]
    except OSError:
        return []


def all_pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def parent_of(pid: int) -> int:
    """0 when it is gone."""
    return _state_and_parent(pid)[1]


def descendants(pid: int) -> list[int]:
    """Pids of all children and their children, as far as they have not left the tree."""
    children: dict[int, list[int]] = {}
    for candidate in all_pids():
        children.setdefault(_state_and_parent(candidate)[1], []).append(candidate)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _state_and_parent(pid: int) -> tuple[str, int]:
    """State letter and parent's pid; ("", 0) when it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return "", 0
    # The second field is the name in parentheses, which may hold anything.
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[1])
